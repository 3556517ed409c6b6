#include "common/train/signals.h"

#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <initializer_list>

namespace mariana {
namespace {

// A signal handler can reach nothing but statics; all it does with them is async-signal-safe.
std::atomic<int> stop_signal{0};
std::atomic<int> interrupts{0};
char notice[256];
std::atomic<int> notice_bytes{0};

void OnSignal(int signal) {
  const int saved_errno = errno;
  int none = 0;
  if (stop_signal.compare_exchange_strong(none, signal)) {
    const ssize_t ignored = write(STDERR_FILENO, notice, static_cast<size_t>(notice_bytes));
    static_cast<void>(ignored);
  }
  if (signal == SIGINT && ++interrupts >= 2) _exit(128 + SIGINT);
  errno = saved_errno;
}

}  // namespace

void HandleStopSignals(const char* program, StopNotice said) {
  // On a terminal the line that a progress bar is on gives way.
  const int n =
      std::snprintf(notice, sizeof(notice), "%s%s: stopping%s (interrupt again to exit at once)\n",
                    isatty(STDERR_FILENO) ? "\r\033[K" : "", program,
                    said == StopNotice::kSaves ? " after saving a checkpoint" : "");
  notice_bytes = n < static_cast<int>(sizeof(notice)) ? n : static_cast<int>(sizeof(notice)) - 1;
  if (said == StopNotice::kNone) notice_bytes = 0;
  struct sigaction action = {};
  action.sa_handler = OnSignal;
  action.sa_flags = SA_RESTART;
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) sigaction(signal, &action, nullptr);
  std::signal(SIGPIPE, SIG_IGN);
}

bool StopRequested() { return stop_signal.load(std::memory_order_relaxed) != 0; }

int StopSignal() { return stop_signal.load(); }

void RequestStop(int signal) {
  int none = 0;
  stop_signal.compare_exchange_strong(none, signal);
}

void ForgetStopRequest() {
  stop_signal = 0;
  interrupts = 0;
}

}  // namespace mariana
