// KeyIndex: from 64-bit keys to row numbers, in shared memory, for several processes at once, and
// growing without moving rows: extendible hashing (Fagin et al. 1979; over segments as in CCEH,
// Nam et al., FAST 2019).
//
// A directory of 2^directory_bits words, addressed by the key's first bits, names segments of
// 64 KB: 1024 buckets of one cache line, 8 entries each of 24 bits of hash and 40 of row number.
// A full segment is split in two by the next bit of the key. Directory and segments lie in
// reserved address space; only what is used takes memory (about 12 bytes a row).
//
// Keys must be well mixed hashes (RowBatch's are): their first bits choose the segment. So the
// segments in the directory's order hold keys in ascending order, and ForEach streams them sorted.
//
// Threading, across processes too:
// - Find takes no lock and never waits.
// - Insert publishes an entry by one compare-and-swap into the first empty place of the key's probe
//   sequence. Places never become empty again, so two inserts of one key meet at one place and one
//   of them wins: no key has two rows.
// - A split fills two new segments and then switches directory words. It first freezes the empty
//   places of the old segment, so that no insert can go there unseen, and an empty place carries
//   its segment's generation, so that a late one fails in a segment that was used again. A reader
//   that finds nothing looks whether the directory has changed meanwhile.
// - One process splits at a time, under a lock that names it. If it is killed, the next one takes
//   the lock over and finishes or repeats its split: the old segment stays whole until the
//   directory has changed.
// - ForEach reads a segment and then looks whether the directory still names it; else it reads what
//   took its place. So a full segment is seen whole, however it is split meanwhile.
// - Keep needs that nobody inserts meanwhile.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>

#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

class KeyIndex {
 public:
  // The part that lies in the table's header; zero at first.
  struct Shared {
    std::atomic<uint32_t> lock;    // pid of who changes the directory, 0: nobody
    std::atomic<uint32_t> phase;   // of a rebuild
    std::atomic<uint32_t> slot;    // a directory word of the segment that is rebuilt ...
    std::atomic<uint32_t> source;  // ... this one, into these (equal: one)
    std::atomic<uint32_t> target[2];
    std::atomic<uint32_t> generation;
    std::atomic<uint32_t> segments;      // ever taken
    std::atomic<uint32_t> free_segment;  // head of the list of those to use again, + 1
  };
  struct Shape {
    int64_t directory_bits = 0;
    int64_t max_segments = 0;
    int64_t offset = 0;  // in the shared memory; a multiple of 2 MB
    int64_t bytes() const;
  };
  static Shape ShapeFor(int64_t max_rows);

  // `key_of_row`: address of row 0's key, which must be written before Insert; rows follow each
  // other every `stride`. Keys begin at `first_key`; times `scale` they
  // fill the 64 bits from there, or half of them at least.
  KeyIndex(const SharedMemory* memory, Shared* shared, const Shape& shape, const char* key_of_row,
           int64_t stride, uint64_t first_key, uint64_t scale);
  void Create();  // once, by who created the memory

  static constexpr int64_t kNone = -1;
  int64_t Find(uint64_t key) const;
  // The row of `key`: `row`, or the one it had. kNone when there is no room (shape too small, or
  // keys that are not hashes). Error(kIo) when memory ends.
  int64_t Insert(uint64_t key, int64_t row);

  // f(key, row) by ascending key. Of keys that are inserted meanwhile it is left open whether they
  // come.
  void ForEach(const std::function<void(uint64_t key, int64_t row)>& f) const;
  // Forgets the rows that keep(row) is false for, after which dropped(row) is called: nothing
  // refers to it any more. Nobody else may use the index meanwhile.
  void Keep(const std::function<bool(int64_t row)>& keep,
            const std::function<void(int64_t row)>& dropped);

  // Pipelined look-up, in three steps that each fetch what the next one reads.
  void FetchDirectory(uint64_t key) const {
    __builtin_prefetch(&directory_[Position(key) >> shift_]);
  }
  const std::atomic<uint64_t>* FetchBucket(uint64_t key) const {
    const std::atomic<uint64_t>* bucket = Home(key);
    __builtin_prefetch(bucket);
    return bucket;
  }
  // The row that the first bucket shows, most likely the key's; kNone: ask Find.
  int64_t Guess(uint64_t key, const std::atomic<uint64_t>* bucket) const;

  int64_t segments() const { return shared_->segments.load(std::memory_order_relaxed); }

 private:
  struct SegmentInfo {
    std::atomic<uint32_t> depth;       // bits of the key that all its keys share
    std::atomic<uint32_t> generation;  // in its empty places
    std::atomic<uint32_t> next_free;   // + 1
    uint32_t unused;
  };
  using Entry = std::atomic<uint64_t>;

  uint64_t Position(uint64_t key) const { return (key - first_key_) * scale_; }
  Entry* Segment(uint64_t word) const;
  const Entry* Home(uint64_t key) const;
  uint64_t KeyOf(uint64_t entry) const;
  void Split(uint64_t slot, uint64_t word);
  bool CanSplit(uint64_t word) const;
  void WaitForRebuild();
  uint32_t TakeSegment(uint32_t depth);
  void Rebuild(uint64_t slot, bool split, const std::function<bool(int64_t row)>& keep);
  void Fill(const std::function<bool(int64_t row)>& keep);
  void Publish();
  void Recover();
  void Lock();
  void Unlock() { shared_->lock.store(0, std::memory_order_release); }
  template <class F>
  void EachSegment(const F& f) const;

  const SharedMemory* memory_;
  Shared* shared_;
  Shape shape_;
  std::atomic<uint64_t>* directory_;  // generation << 32 | segment
  SegmentInfo* info_;
  char* segments_;
  const char* key_of_row_;
  int64_t stride_;
  uint64_t first_key_, scale_;
  int shift_;
};

}  // namespace mariana
