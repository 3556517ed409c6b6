#include "mariana_cluster/table/cut_copies.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

#include "common/base/clock.h"
#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int kPartBits = 8;
constexpr uint32_t kCuts = 255;  // numbers before they come again
constexpr int64_t kMostSlots = (int64_t{1} << 24) - 1;
constexpr int64_t kLeastPool = int64_t{64} << 20;
constexpr int64_t kSlotsAtOnce = kHugePageBytes / CutCopies::kPartBytes;
constexpr int64_t kPatienceNs = 1'000'000;
constexpr int64_t kAhead = 32;  // rows whose words are fetched

int64_t RoundUp(int64_t n) { return (n + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes; }
int64_t Parts(int64_t bytes) { return (bytes + CutCopies::kPartBytes - 1) >> kPartBits; }
int64_t Slots(int64_t bytes) {
  return std::min(kMostSlots, std::max(std::min(bytes, kLeastPool), bytes / 2) >> kPartBits);
}

// Of memory that others may be writing: what comes of that is thrown away (see the header), and no
// instrument need look at it. `bytes`: a multiple of 4, as the addresses are.
[[gnu::no_sanitize_thread]] void CopyShared(const char* from, int64_t bytes, char* to) {
  for (int64_t i = 0; i < bytes; i += 4) {
    const uint32_t four =
        __atomic_load_n(reinterpret_cast<const uint32_t*>(from + i), __ATOMIC_RELAXED);
    __atomic_store_n(reinterpret_cast<uint32_t*>(to + i), four, __ATOMIC_RELAXED);
  }
}

}  // namespace

int64_t CutCopies::BytesFor(int64_t guarded_bytes) {
  const int64_t parts = Parts(guarded_bytes);
  return RoundUp(parts * 4) + RoundUp(parts) + RoundUp(Slots(guarded_bytes) * kPartBytes);
}

CutCopies::CutCopies(const SharedMemory* memory, Shared* shared, char* begin, int64_t bytes,
                     int64_t offset)
    : memory_(memory), shared_(shared), begin_(begin), bytes_(bytes), max_slots_(Slots(bytes)) {
  const int64_t parts = Parts(bytes);
  char* own = memory->data() + offset;
  words_ = reinterpret_cast<std::atomic<uint32_t>*>(own);
  changes_ = reinterpret_cast<std::atomic<uint8_t>*>(own + RoundUp(parts * 4));
  pool_ = own + RoundUp(parts * 4) + RoundUp(parts);
}

// ---- writers
void CutCopies::Keep(const char* at, int64_t bytes) const {
  char* row = const_cast<char*>(at);
  Keep(&row, 1, bytes);
}

// What costs a batch most is that a word for each row has to be fetched.
void CutCopies::Keep(char* const* rows, int64_t n, int64_t bytes) const {
  const uint32_t watch = shared_->watch.load(std::memory_order_acquire), cut = watch & kCutMask;
  const auto bit = static_cast<uint8_t>((watch & kBits) >> 8);
  const auto begin = reinterpret_cast<uintptr_t>(begin_);
  const auto guarded = static_cast<uintptr_t>(bytes_);
  for (int64_t i = 0; i < n; ++i) {
    if (i + kAhead < n) {  // of no row it is a hint that comes to nothing
      const uintptr_t ahead = reinterpret_cast<uintptr_t>(rows[i + kAhead]) - begin;
      __builtin_prefetch(words_ + (ahead >> kPartBits));
    }
    const uintptr_t at = reinterpret_cast<uintptr_t>(rows[i]) - begin;
    if (at >= guarded) continue;
    const auto last = static_cast<int64_t>((at + static_cast<uintptr_t>(bytes) - 1) >> kPartBits);
    for (auto part = static_cast<int64_t>(at >> kPartBits); part <= last; ++part) {
      if (bit != 0) NoteChange(part, bit);
      if (cut != 0 && (words_[part].load(std::memory_order_acquire) & kCutMask) != cut) {
        CopyAside(part, cut);
      }
    }
  }
}

void CutCopies::NoteChange(int64_t part, uint8_t bit) const {
  std::atomic<uint8_t>& changes = changes_[part];
  if ((changes.load(std::memory_order_relaxed) & bit) == 0) {
    changes.fetch_or(bit, std::memory_order_relaxed);
  }
}

void CutCopies::CopyAside(int64_t part, uint32_t cut) const {
  std::atomic<uint32_t>& word = words_[part];
  if (part >= shared_->limit.load(std::memory_order_relaxed)) return;  // there was nothing yet
  uint32_t seen = word.load(std::memory_order_acquire);
  if ((seen & kCutMask) == cut) return;
  const int64_t slot = TakeSlot();
  if (slot < 0) return WaitForEnd(cut);
  CopyShared(begin_ + (part << kPartBits), kPartBytes, pool_ + slot * kPartBytes);
  // Fails when another was first; from here on the part may be written.
  word.compare_exchange_strong(seen, static_cast<uint32_t>(slot) << 8 | cut,
                               std::memory_order_acq_rel);
}

// -1: there is no room.
int64_t CutCopies::TakeSlot() const {
  if (shared_->slots.load(std::memory_order_relaxed) >= max_slots_) return -1;
  const int64_t slot = shared_->slots.fetch_add(1, std::memory_order_relaxed);
  if (slot >= max_slots_) return -1;
  int64_t committed = shared_->slots_committed.load(std::memory_order_acquire);
  while (slot >= committed) {
    // Several may do so at once: the same ones.
    try {
      memory_->Commit(pool_ - memory_->data() + committed * kPartBytes, kHugePageBytes);
    } catch (const Error& e) {
      LOG(WARNING) << "no memory for what a snapshot needs copied: " << e.message();
      return -1;
    }
    shared_->slots_committed.compare_exchange_strong(committed, committed + kSlotsAtOnce,
                                                     std::memory_order_acq_rel);
    committed = shared_->slots_committed.load(std::memory_order_acquire);
  }
  return slot;
}

void CutCopies::WaitForEnd(uint32_t cut) const {
  const int64_t begin = Clock::Real()->NowNs();
  while ((shared_->watch.load(std::memory_order_acquire) & kCutMask) == cut) {
    Clock::Real()->SleepFor(kPatienceNs);
  }
  shared_->waited_ns.fetch_add(Clock::Real()->NowNs() - begin, std::memory_order_relaxed);
}

// ---- the owner
void CutCopies::Begin(int64_t used) {
  CHECK(!held()) << "one cut at a time";
  const int64_t parts = Parts(std::min(used, bytes_)), words = RoundUp(parts * 4);
  if (words > shared_->words_committed) {
    const int64_t offset = reinterpret_cast<char*>(words_) - memory_->data();
    memory_->Commit(offset + shared_->words_committed, words - shared_->words_committed);
    shared_->words_committed = words;
  }
  if (shared_->last == kCuts) {  // words of old cuts would be taken for those of new ones
    std::memset(static_cast<void*>(words_), 0, static_cast<size_t>(shared_->words_committed));
    shared_->last = 0;
  }
  const uint32_t bits = shared_->watch.load() & kBits;
  shared_->slots = 0;
  shared_->limit = parts;
  shared_->watch.store(++shared_->last | (bits == 0 ? 0 : bits ^ kBits), std::memory_order_release);
}

void CutCopies::End(bool saved) {
  const uint32_t bits = shared_->watch.load() & kBits;
  shared_->watch.store(bits, std::memory_order_release);
  // A writer that has not noticed yet fills a slot that nobody reads.
  const int64_t offset = pool_ - memory_->data();
  shared_->slots_committed = 0;
  memory_->Release(offset, RoundUp(max_slots_ * kPartBytes));
  if (!saved || bits == 0) return;
  const auto kept = static_cast<uint8_t>(bits >> 8);  // the other bit goes
  for (int64_t part = 0, n = shared_->limit; part < n; ++part) {
    if ((changes_[part].load(std::memory_order_relaxed) & ~kept) != 0)
      changes_[part].fetch_and(kept);
  }
}

int64_t CutCopies::copied_bytes() const {
  return std::min(shared_->slots.load(), max_slots_) * kPartBytes;
}
double CutCopies::waited_seconds() const {
  return static_cast<double>(shared_->waited_ns.load()) * 1e-9;
}

// ---- while a cut is held
void CutCopies::Read(const char* at, int64_t bytes, char* to) const {
  const uint32_t cut = shared_->watch.load(std::memory_order_relaxed) & kCutMask;
  while (bytes > 0) {
    const int64_t in_part = (at - begin_) & (kPartBytes - 1);
    const int64_t n = std::min(bytes, kPartBytes - in_part);
    const std::atomic<uint32_t>& word = words_[(at - begin_) >> kPartBits];
    uint32_t seen = word.load(std::memory_order_acquire);
    if ((seen & kCutMask) != cut) {
      CopyShared(at, n, to);
      std::atomic_thread_fence(std::memory_order_acquire);
      seen = word.load(std::memory_order_acquire);
    }
    if ((seen & kCutMask) == cut) CopyShared(CopyOf(seen) + in_part, n, to);
    at += n;
    to += n;
    bytes -= n;
  }
}

bool CutCopies::Changed(const char* at, int64_t bytes) const {
  const uint32_t before = ~shared_->watch.load(std::memory_order_relaxed) & kBits;
  const int64_t last = (at - begin_ + bytes - 1) >> kPartBits;
  for (int64_t part = (at - begin_) >> kPartBits; part <= last; ++part) {
    if ((changes_[part].load(std::memory_order_relaxed) & before >> 8) != 0) return true;
  }
  return false;
}

}  // namespace mariana
