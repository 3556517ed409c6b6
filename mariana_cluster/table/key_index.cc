#include "mariana_cluster/table/key_index.h"

#include <glog/logging.h>
#include <sched.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>
#include <vector>

namespace mariana {
namespace {

constexpr uint64_t kBuckets = 1024, kSlots = 8, kPlaces = kBuckets * kSlots;
constexpr int64_t kSegmentBytes = kPlaces * 8;
constexpr int64_t kInfoBytes = 16;
constexpr uint64_t kProbes = 16 * kSlots;  // an insert that finds no place in these splits
constexpr uint64_t kRowBits = 40, kRowMask = (uint64_t{1} << kRowBits) - 1;
constexpr uint64_t kFrozen = ~kRowMask;  // no insert succeeds here
constexpr uint32_t kGenerations = (1 << 24) - 2;
enum Phase : uint32_t { kIdle, kFilling, kPublishing };

int64_t RoundUp(int64_t n, int64_t to) { return (n + to - 1) / to * to; }

// An entry is tag << 40 | row + 1; an empty one generation << 40.
bool IsRow(uint64_t entry) { return (entry & kRowMask) != 0; }
int64_t RowOf(uint64_t entry) { return static_cast<int64_t>(entry & kRowMask) - 1; }
uint64_t Empty(uint64_t generation) { return generation << kRowBits; }

// The directory is addressed by the first bits of a position, so places in a segment are chosen
// by bits that depend on all of it.
struct Hash {
  explicit Hash(uint64_t position) : value(position * 0x9E3779B97F4A7C15u) {}
  uint64_t place() const { return (value >> 54) * kSlots; }
  uint64_t tag() const { return (value >> 14) & 0xFFFFFF; }
  uint64_t value;
};

bool IsAlive(uint32_t pid) { return kill(static_cast<pid_t>(pid), 0) == 0 || errno != ESRCH; }

}  // namespace

int64_t KeyIndex::Shape::bytes() const {
  return RoundUp((int64_t{8} << directory_bits) + max_segments * kInfoBytes, kHugePageBytes) +
         max_segments * kSegmentBytes;
}

KeyIndex::Shape KeyIndex::ShapeFor(int64_t max_rows) {
  Shape shape;
  // Segments are between 45 % and 90 % full; three bits more let their numbers of keys differ.
  shape.directory_bits = 3;
  while ((int64_t{1} << (shape.directory_bits - 3)) * static_cast<int64_t>(kPlaces) * 2 / 5 <
         max_rows) {
    ++shape.directory_bits;
  }
  // Those that a split works on or a killed process left behind, too.
  shape.max_segments = (int64_t{1} << shape.directory_bits) + 64;
  return shape;
}

KeyIndex::KeyIndex(const SharedMemory* memory, Shared* shared, const Shape& shape,
                   const char* key_of_row, int64_t stride, uint64_t first_key, uint64_t scale)
    : memory_(memory),
      shared_(shared),
      shape_(shape),
      key_of_row_(key_of_row),
      stride_(stride),
      first_key_(first_key),
      scale_(scale),
      shift_(static_cast<int>(64 - shape.directory_bits)) {
  char* begin = memory->data() + shape.offset;
  directory_ = reinterpret_cast<std::atomic<uint64_t>*>(begin);
  info_ = reinterpret_cast<SegmentInfo*>(begin + (int64_t{8} << shape.directory_bits));
  segments_ = memory->data() + shape.offset + shape.bytes() - shape.max_segments * kSegmentBytes;
}

void KeyIndex::Create() {
  memory_->Commit(shape_.offset,
                  (int64_t{8} << shape_.directory_bits) + shape_.max_segments * kInfoBytes);
  shared_->target[0] = TakeSegment(0);
  shared_->target[1] = shared_->target[0].load();
  for (uint64_t i = 0; i < kPlaces; ++i) Segment(0)[i].store(Empty(info_[0].generation));
  Publish();
}

KeyIndex::Entry* KeyIndex::Segment(uint64_t word) const {
  return reinterpret_cast<Entry*>(segments_ + (word & 0xFFFFFFFF) * kSegmentBytes);
}

const KeyIndex::Entry* KeyIndex::Home(uint64_t key) const {
  const uint64_t position = Position(key);
  const uint64_t word = directory_[position >> shift_].load(std::memory_order_acquire);
  return Segment(word) + Hash(position).place();
}

uint64_t KeyIndex::KeyOf(uint64_t entry) const {
  uint64_t key;
  std::memcpy(&key, key_of_row_ + RowOf(entry) * stride_, sizeof(key));
  return key;
}

int64_t KeyIndex::Guess(uint64_t key, const Entry* bucket) const {
  const uint64_t tag = Hash(Position(key)).tag();
  for (uint64_t i = 0; i < kSlots; ++i) {
    const uint64_t entry = bucket[i].load(std::memory_order_acquire);
    if (entry >> kRowBits == tag && IsRow(entry)) return RowOf(entry);
  }
  return kNone;
}

int64_t KeyIndex::Find(uint64_t key) const {
  const uint64_t position = Position(key);
  const Hash hash(position);
  for (;;) {
    const uint64_t word = directory_[position >> shift_].load(std::memory_order_acquire);
    const Entry* segment = Segment(word);
    for (uint64_t i = 0; i < kPlaces; ++i) {
      const uint64_t entry = segment[(hash.place() + i) % kPlaces].load(std::memory_order_acquire);
      if (!IsRow(entry)) break;
      if (entry >> kRowBits == hash.tag() && KeyOf(entry) == key) return RowOf(entry);
    }
    if (directory_[position >> shift_].load(std::memory_order_acquire) == word) return kNone;
  }
}

bool KeyIndex::CanSplit(uint64_t word) const {
  return info_[word & 0xFFFFFFFF].depth < shape_.directory_bits;
}

int64_t KeyIndex::Insert(uint64_t key, int64_t row) {
  const uint64_t position = Position(key), slot = position >> shift_;
  const Hash hash(position);
  const uint64_t mine = hash.tag() << kRowBits | static_cast<uint64_t>(row + 1);
  for (;;) {
    const uint64_t word = directory_[slot].load(std::memory_order_acquire);
    Entry* segment = Segment(word);
    const uint64_t probes = CanSplit(word) ? kProbes : kPlaces;
    bool rebuilt = false;
    for (uint64_t i = 0; i < probes && !rebuilt; ++i) {
      Entry& place = segment[(hash.place() + i) % kPlaces];
      uint64_t entry = place.load(std::memory_order_acquire);
      if (entry == Empty(word >> 32)) {
        if (place.compare_exchange_strong(entry, mine, std::memory_order_acq_rel)) return row;
      }
      if (!IsRow(entry)) {
        rebuilt = true;  // frozen, or in use again
      } else if (entry >> kRowBits == hash.tag() && KeyOf(entry) == key) {
        return RowOf(entry);
      }
    }
    if (rebuilt) {
      WaitForRebuild();
    } else if (CanSplit(word)) {
      Split(slot, word);
    } else if (directory_[slot].load(std::memory_order_acquire) == word) {
      return kNone;
    }
  }
}

void KeyIndex::WaitForRebuild() {
  Lock();
  Unlock();
}

void KeyIndex::Lock() {
  const auto me = static_cast<uint32_t>(getpid());
  for (int spins = 1;; ++spins) {
    uint32_t holder = 0;
    if (shared_->lock.compare_exchange_weak(holder, me, std::memory_order_acquire)) return;
    if (holder != 0 && spins % 256 == 0 && !IsAlive(holder) &&
        shared_->lock.compare_exchange_strong(holder, me, std::memory_order_acquire)) {
      LOG(WARNING) << "process " << holder << " died while it changed the index of a table; going "
                   << "on in its place";
      Recover();
      return;
    }
    sched_yield();
  }
}

uint32_t KeyIndex::TakeSegment(uint32_t depth) {
  uint32_t segment = shared_->free_segment.load();
  if (segment != 0) {
    shared_->free_segment = info_[--segment].next_free.load();
  } else {
    segment = shared_->segments.load();
    CHECK_LT(segment, shape_.max_segments);
    const int64_t offset = segments_ - memory_->data() + segment * kSegmentBytes;
    memory_->Commit(offset, kSegmentBytes);
    shared_->segments = segment + 1;
  }
  shared_->generation = shared_->generation % kGenerations + 1;
  info_[segment].depth = depth;
  info_[segment].generation = shared_->generation.load();
  return segment;
}

void KeyIndex::Split(uint64_t slot, uint64_t word) {
  Lock();
  try {
    if (directory_[slot].load() == word) Rebuild(slot, true, nullptr);
  } catch (...) {  // no memory: nothing has been changed
    Unlock();
    throw;
  }
  Unlock();
}

void KeyIndex::Rebuild(uint64_t slot, bool split, const std::function<bool(int64_t row)>& keep) {
  const auto source = static_cast<uint32_t>(directory_[slot].load());
  const uint32_t depth = info_[source].depth + (split ? 1 : 0);
  shared_->target[0] = TakeSegment(depth);
  shared_->target[1] = split ? TakeSegment(depth) : shared_->target[0].load();
  shared_->source = source;
  const uint64_t span = uint64_t{1} << (shape_.directory_bits - info_[source].depth);
  shared_->slot = static_cast<uint32_t>(slot / span * span);
  shared_->phase.store(kFilling, std::memory_order_release);
  Fill(keep);
  shared_->phase.store(kPublishing, std::memory_order_release);
  Publish();
  info_[source].next_free = shared_->free_segment.load();
  shared_->phase.store(kIdle, std::memory_order_release);
  shared_->free_segment = source + 1;
}

// Copies the source's entries to the targets. May run again from the start (Recover).
void KeyIndex::Fill(const std::function<bool(int64_t row)>& keep) {
  const uint32_t target[2] = {shared_->target[0], shared_->target[1]};
  for (const uint32_t t : target) {
    const uint64_t empty = Empty(info_[t].generation);
    for (uint64_t i = 0; i < kPlaces; ++i) Segment(t)[i].store(empty, std::memory_order_relaxed);
  }
  const auto bit = static_cast<int>(64 - info_[target[0]].depth);
  Entry* source = Segment(shared_->source);
  for (uint64_t i = 0; i < kPlaces; ++i) {
    uint64_t entry = source[i].load(std::memory_order_acquire);
    while (!IsRow(entry) && entry != kFrozen) {
      if (source[i].compare_exchange_weak(entry, kFrozen, std::memory_order_acq_rel)) break;
    }
    if (!IsRow(entry) || (keep && !keep(RowOf(entry)))) continue;
    const uint64_t position = Position(KeyOf(entry));
    const int half = target[0] == target[1] ? 0 : static_cast<int>(position >> bit & 1);
    Entry* to = Segment(target[half]);
    uint64_t place = Hash(position).place();
    while (IsRow(to[place % kPlaces].load(std::memory_order_relaxed))) ++place;
    to[place % kPlaces].store(entry, std::memory_order_relaxed);
  }
}

// Switches the directory to the targets. May run again.
void KeyIndex::Publish() {
  const uint32_t target[2] = {shared_->target[0], shared_->target[1]};
  const bool split = target[0] != target[1];
  const uint64_t span = uint64_t{1} << (shape_.directory_bits - info_[target[0]].depth);
  const uint64_t begin = shared_->slot;
  for (uint64_t half = 0; half < (split ? 2 : 1); ++half) {
    const uint64_t generation = info_[target[half]].generation;
    const uint64_t word = generation << 32 | target[half];
    for (uint64_t i = 0; i < span; ++i) {
      directory_[begin + half * span + i].store(word, std::memory_order_release);
    }
  }
}

void KeyIndex::Recover() {
  const uint32_t phase = shared_->phase;
  if (phase == kIdle) return;
  if (phase == kFilling) {
    Fill(nullptr);
    shared_->phase.store(kPublishing, std::memory_order_release);
  }
  Publish();
  info_[shared_->source].next_free = shared_->free_segment.load();
  shared_->phase.store(kIdle, std::memory_order_release);
  shared_->free_segment = shared_->source + 1;
}

// f(slot, segment) once for each segment, in the directory's order.
template <class F>
void KeyIndex::EachSegment(const F& f) const {
  for (uint64_t slot = 0; slot >> shape_.directory_bits == 0;) {
    const uint64_t word = directory_[slot].load(std::memory_order_acquire);
    const uint64_t span = uint64_t{1} << (shape_.directory_bits - info_[word & 0xFFFFFFFF].depth);
    f(slot, Segment(word));
    slot += span;
  }
}

void KeyIndex::ForEach(const std::function<void(uint64_t key, int64_t row)>& f) const {
  std::vector<std::pair<uint64_t, int64_t>> found;
  for (uint64_t slot = 0; slot >> shape_.directory_bits == 0;) {
    const uint64_t word = directory_[slot].load(std::memory_order_acquire);
    const uint64_t span = uint64_t{1} << (shape_.directory_bits - info_[word & 0xFFFFFFFF].depth);
    const Entry* segment = Segment(word);
    found.clear();
    for (uint64_t i = 0; i < kPlaces; ++i) {
      const uint64_t entry = segment[i].load(std::memory_order_acquire);
      if (IsRow(entry)) found.emplace_back(KeyOf(entry), RowOf(entry));
    }
    // A split publishes the first half first: as long as this word stands, the segment is whole.
    if (directory_[slot].load(std::memory_order_acquire) != word) continue;
    std::sort(found.begin(), found.end());
    for (const auto& [key, row] : found) f(key, row);
    slot += span;
  }
}

void KeyIndex::Keep(const std::function<bool(int64_t row)>& keep,
                    const std::function<void(int64_t row)>& dropped) {
  Lock();
  std::vector<int64_t> gone;
  try {
    EachSegment([&](uint64_t slot, const Entry* segment) {
      gone.clear();
      for (uint64_t i = 0; i < kPlaces; ++i) {
        const uint64_t entry = segment[i].load(std::memory_order_relaxed);
        if (IsRow(entry) && !keep(RowOf(entry))) gone.push_back(RowOf(entry));
      }
      if (gone.empty()) return;
      Rebuild(slot, false, keep);
      for (const int64_t row : gone) dropped(row);
    });
  } catch (...) {
    Unlock();
    throw;
  }
  Unlock();
}

}  // namespace mariana
