// Stop requests: SIGINT, SIGTERM and SIGUSR1 set a flag that every loop polls once a step. The
// first says so once on stderr; a second SIGINT exits at once with 130. SIGPIPE is ignored, so
// that a closed pipe is an I/O error. The flag belongs to the process, as signals do.
#pragma once

namespace mariana {

// What the first request is answered on stderr: that the program saves a checkpoint and stops, that
// it stops, or nothing (another rank speaks).
enum class StopNotice { kSaves, kStops, kNone };
void HandleStopSignals(const char* program, StopNotice said);

bool StopRequested();  // lock-free; any thread
// The signal that asked first, 0 if none.
int StopSignal();
void RequestStop(int signal);  // as if it had come (a peer asked; tests)
void ForgetStopRequest();      // between runs in one process

}  // namespace mariana
