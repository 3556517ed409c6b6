// TraceBoard: what each process of a node does, told by itself in shared memory while it works, for
// whoever looks on: state, place in the data, counters, and, only while somebody traces, a ring of
// its last spans (stage, begin, end). Steps, samples and times of workers are RunProgress's.
//
//   TraceBoard board = TraceBoard::Create(members);          // the agent; members as Board has
//   them TraceWriter trace = TraceBoard::Attach(fd).writer(me);   // a member
//   trace.SetState(ProcessState::kTraining);
//   trace.AddKeys(read, updated);
//
// Threading: a member's counters are written by its process alone, in any of its threads, and read
// by all; each counter by itself is right, two of them may be a moment apart. All is relaxed
// atomics on the member's own cache lines: a call costs nanoseconds, and none waits.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "mariana_cluster/run_progress.h"
#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

// What a process says it does; whether it lives the kernel says.
enum class ProcessState : int {
  kStarting,
  kIdle,  // waits for a command
  kTraining,
  kWaiting,  // for slower workers
  kEvaluating,
  kSaving,
  kServing,
  kEnded,
  kCount
};
const char* Name(ProcessState state);

// Where the time of a server's threads goes.
enum class ServerStage : int { kIdle, kPull, kPush, kApply, kSnapshot, kCount };
const char* Name(ServerStage stage);

// A stage as spans name it.
int SpanOf(WorkerStage stage);
int SpanOf(ServerStage stage);
const char* SpanName(int span);

// Staleness: how many steps of others began between a step's reading of parameters and its update.
// Bucket 0 counts 0, bucket b 2^(b-1) .. 2^b - 1.
constexpr int kStalenessBuckets = 16;

struct Span {
  int64_t begin_ns = 0, end_ns = 0;  // Clock::Real()
  int32_t what = 0;                  // SpanOf
  int32_t thread = 0;                // of the process: 0 is its own
};

// One process's counters, as read.
struct TraceCounters {
  ProcessState state = ProcessState::kStarting;
  int64_t lane = -1, batch = -1;                           // of the epoch's data; -1: none
  int64_t queued = 0, queue_capacity = 0;                  // batches ready, or requests to answer
  int64_t keys_read = 0, keys_updated = 0;                 // distinct keys of batches
  int64_t bytes_in = 0, bytes_out = 0;                     // over the network
  int64_t staleness[kStalenessBuckets] = {};               // steps
  int64_t ns[static_cast<int>(ServerStage::kCount)] = {};  // a server's
};

// A process's own part; copies write the same. One that was not given by a board tells nobody.
class TraceWriter {
 public:
  TraceWriter() = default;
  void SetState(ProcessState state);
  void SetPlace(int64_t lane, int64_t batch);
  void SetQueue(int64_t queued, int64_t capacity);
  void AddKeys(int64_t read, int64_t updated);
  void AddBytes(int64_t in, int64_t out);
  void AddStaleness(int64_t steps);
  // Adds [begin, end) to the stage's time, and to the spans where somebody traces.
  void AddServerTime(ServerStage stage, int64_t begin_ns, int64_t end_ns, int thread = 0);
  void AddSpan(int what, int64_t begin_ns, int64_t end_ns, int thread = 0);

 private:
  friend class TraceBoard;
  struct Slot;
  struct Ring;
  TraceWriter(const std::atomic<int64_t>* traced_until_ns, Slot* slot, Ring* ring)
      : traced_until_ns_(traced_until_ns), slot_(slot), ring_(ring) {}

  const std::atomic<int64_t>* traced_until_ns_ = nullptr;
  Slot* slot_ = nullptr;
  Ring* ring_ = nullptr;
};

class TraceBoard {
 public:
  static TraceBoard Create(int members);
  static TraceBoard Attach(int fd);  // takes the descriptor over
  int fd() const { return memory_.fd(); }
  int members() const;

  TraceWriter writer(int member) const;
  TraceCounters Read(int member) const;

  // Spans are kept from now until then (Clock::Real()); a trace that nobody ends ends by itself.
  void TraceUntil(int64_t ns);
  // Those since the last call, by whom `cursor` (from 0) is kept; adds to `*lost` how many were
  // overwritten before they could be read.
  std::vector<Span> TakeSpans(int member, uint64_t* cursor, int64_t* lost) const;

 private:
  struct Shared;
  explicit TraceBoard(SharedMemory memory);
  TraceWriter::Ring* ring(int member) const;

  SharedMemory memory_;
  Shared* shared_;
};

}  // namespace mariana
