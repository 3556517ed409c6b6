#include "mariana_cluster/trace/trace_board.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "common/base/clock.h"
#include "mariana_cluster/process/board.h"

namespace mariana {
namespace {

constexpr int kServerSpans = 64;  // spans below are WorkerStages
constexpr uint64_t kRingSpans = 32768;
constexpr auto kRelaxed = std::memory_order_relaxed;
static_assert(static_cast<int>(WorkerStage::kCount) <= kServerSpans);

using Counter = std::atomic<int64_t>;

int StalenessBucket(int64_t steps) {
  int bucket = 0;
  for (; steps > 0 && bucket < kStalenessBuckets - 1; steps >>= 1) ++bucket;
  return bucket;
}

}  // namespace

const char* Name(ProcessState state) {
  switch (state) {
    case ProcessState::kStarting: return "starting";
    case ProcessState::kIdle: return "idle";
    case ProcessState::kTraining: return "training";
    case ProcessState::kWaiting: return "waiting";
    case ProcessState::kEvaluating: return "evaluating";
    case ProcessState::kSaving: return "saving";
    case ProcessState::kServing: return "serving";
    case ProcessState::kEnded: return "ended";
    case ProcessState::kCount: break;
  }
  return "?";
}

const char* Name(ServerStage stage) {
  switch (stage) {
    case ServerStage::kIdle: return "idle";
    case ServerStage::kPull: return "pull";
    case ServerStage::kPush: return "push";
    case ServerStage::kApply: return "apply";
    case ServerStage::kSnapshot: return "snapshot";
    case ServerStage::kCount: break;
  }
  return "?";
}

int SpanOf(WorkerStage stage) { return static_cast<int>(stage); }
int SpanOf(ServerStage stage) { return kServerSpans + static_cast<int>(stage); }
const char* SpanName(int span) {
  return span < kServerSpans ? Name(static_cast<WorkerStage>(span))
                             : Name(static_cast<ServerStage>(span - kServerSpans));
}

// ---- what lies in the shared memory: counters first, then a ring for each member, which takes
// memory once somebody traces

struct alignas(64) TraceWriter::Slot {
  std::atomic<int> state;
  Counter lane, batch;
  Counter queued, queue_capacity;
  Counter keys_read, keys_updated, bytes_in, bytes_out;
  Counter staleness[kStalenessBuckets];
  Counter ns[static_cast<int>(ServerStage::kCount)];
  std::atomic<uint64_t> spans;  // put into the ring so far
};

struct TraceWriter::Ring {
  struct Entry {
    std::atomic<uint64_t> ticket;  // 1 + the number of the span in it; 0 while it is written
    Counter begin_ns, end_ns;
    std::atomic<uint64_t> what;  // [thread | what]
  } entry[kRingSpans];
};

struct TraceBoard::Shared {
  int32_t members;
  alignas(64) Counter traced_until_ns;
  TraceWriter::Slot slot[kMaxMembers];
  static constexpr int64_t RingsAt() {
    return (int64_t{sizeof(Shared)} + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes;
  }
};

// ---- writing

void TraceWriter::SetState(ProcessState state) {
  if (slot_ != nullptr) slot_->state.store(static_cast<int>(state), kRelaxed);
}

void TraceWriter::SetPlace(int64_t lane, int64_t batch) {
  if (slot_ == nullptr) return;
  slot_->lane.store(lane, kRelaxed);
  slot_->batch.store(batch, kRelaxed);
}

void TraceWriter::SetQueue(int64_t queued, int64_t capacity) {
  if (slot_ == nullptr) return;
  slot_->queued.store(queued, kRelaxed);
  slot_->queue_capacity.store(capacity, kRelaxed);
}

void TraceWriter::AddKeys(int64_t read, int64_t updated) {
  if (slot_ == nullptr) return;
  slot_->keys_read.fetch_add(read, kRelaxed);
  slot_->keys_updated.fetch_add(updated, kRelaxed);
}

void TraceWriter::AddBytes(int64_t in, int64_t out) {
  if (slot_ == nullptr) return;
  slot_->bytes_in.fetch_add(in, kRelaxed);
  slot_->bytes_out.fetch_add(out, kRelaxed);
}

void TraceWriter::AddStaleness(int64_t steps) {
  if (slot_ != nullptr) slot_->staleness[StalenessBucket(steps)].fetch_add(1, kRelaxed);
}

void TraceWriter::AddServerTime(ServerStage stage, int64_t begin_ns, int64_t end_ns, int thread) {
  if (slot_ == nullptr) return;
  slot_->ns[static_cast<int>(stage)].fetch_add(end_ns - begin_ns, kRelaxed);
  AddSpan(SpanOf(stage), begin_ns, end_ns, thread);
}

void TraceWriter::AddSpan(int what, int64_t begin_ns, int64_t end_ns, int thread) {
  if (slot_ == nullptr || end_ns >= traced_until_ns_->load(kRelaxed)) return;
  const uint64_t number = slot_->spans.fetch_add(1, kRelaxed);
  Ring::Entry& e = ring_->entry[number % kRingSpans];
  e.ticket.store(0, kRelaxed);
  std::atomic_thread_fence(std::memory_order_release);
  e.begin_ns.store(begin_ns, kRelaxed);
  e.end_ns.store(end_ns, kRelaxed);
  e.what.store(static_cast<uint64_t>(thread) << 32 | static_cast<uint32_t>(what), kRelaxed);
  e.ticket.store(number + 1, std::memory_order_release);
}

// ---- the board

TraceBoard TraceBoard::Create(int members) {
  CHECK(members > 0 && members <= kMaxMembers) << members;
  const int64_t rings = members * int64_t{sizeof(TraceWriter::Ring)};
  TraceBoard board(SharedMemory::Create("mariana trace", Shared::RingsAt() + rings));
  board.memory_.Commit(0, sizeof(Shared));
  board.shared_->members = members;
  for (int i = 0; i < members; ++i) board.writer(i).SetPlace(-1, -1);
  return board;
}

TraceBoard TraceBoard::Attach(int fd) {
  return TraceBoard(SharedMemory::Attach(fd, "mariana trace"));
}

TraceBoard::TraceBoard(SharedMemory memory)
    : memory_(std::move(memory)), shared_(reinterpret_cast<Shared*>(memory_.data())) {}

int TraceBoard::members() const { return shared_->members; }

TraceWriter::Ring* TraceBoard::ring(int member) const {
  return reinterpret_cast<TraceWriter::Ring*>(memory_.data() + Shared::RingsAt()) + member;
}

TraceWriter TraceBoard::writer(int member) const {
  CHECK(member >= 0 && member < members()) << member;
  return {&shared_->traced_until_ns, &shared_->slot[member], ring(member)};
}

TraceCounters TraceBoard::Read(int member) const {
  const TraceWriter::Slot& slot = shared_->slot[member];
  TraceCounters c;
  c.state = static_cast<ProcessState>(slot.state.load(kRelaxed));
  c.lane = slot.lane.load(kRelaxed);
  c.batch = slot.batch.load(kRelaxed);
  c.queued = slot.queued.load(kRelaxed);
  c.queue_capacity = slot.queue_capacity.load(kRelaxed);
  c.keys_read = slot.keys_read.load(kRelaxed);
  c.keys_updated = slot.keys_updated.load(kRelaxed);
  c.bytes_in = slot.bytes_in.load(kRelaxed);
  c.bytes_out = slot.bytes_out.load(kRelaxed);
  const auto copy = [](const Counter& from) { return from.load(kRelaxed); };
  std::transform(std::begin(slot.staleness), std::end(slot.staleness), c.staleness, copy);
  std::transform(std::begin(slot.ns), std::end(slot.ns), c.ns, copy);
  return c;
}

void TraceBoard::TraceUntil(int64_t ns) {
  const int64_t rings = members() * int64_t{sizeof(TraceWriter::Ring)};
  if (ns > Clock::Real()->NowNs()) memory_.Commit(Shared::RingsAt(), rings);
  shared_->traced_until_ns.store(ns, std::memory_order_release);
}

std::vector<Span> TraceBoard::TakeSpans(int member, uint64_t* cursor, int64_t* lost) const {
  const uint64_t end = shared_->slot[member].spans.load(std::memory_order_acquire);
  const uint64_t oldest = end > kRingSpans ? end - kRingSpans : 0;
  if (*cursor < oldest) {
    *lost += static_cast<int64_t>(oldest - *cursor);
    *cursor = oldest;
  }
  std::vector<Span> spans;
  for (; *cursor < end; ++*cursor) {
    const TraceWriter::Ring::Entry& e = ring(member)->entry[*cursor % kRingSpans];
    const uint64_t ticket = e.ticket.load(std::memory_order_acquire);
    const uint64_t what = e.what.load(kRelaxed);
    const Span span = {e.begin_ns.load(kRelaxed), e.end_ns.load(kRelaxed),
                       static_cast<int32_t>(what), static_cast<int32_t>(what >> 32)};
    std::atomic_thread_fence(std::memory_order_acquire);
    if (ticket == *cursor + 1 && e.ticket.load(kRelaxed) == ticket) {
      spans.push_back(span);
    } else {
      ++*lost;
    }
  }
  return spans;
}

}  // namespace mariana
