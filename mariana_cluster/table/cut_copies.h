// CutCopies: shared memory that many processes go on writing while one of them reads it as it was
// at one moment, the cut. Whoever is about to write a part of 256 bytes for the first time after
// the cut copies it aside first; the reader takes a part's copy where there is one, and the memory
// itself where there is none yet. Beside that, for snapshots of changes alone: which parts were
// written between the last two cuts.
//
// A part has one word, [number of the cut | slot of the copy]. A writer fills a slot and publishes
// it by one compare-and-swap, before it writes the part: no part is written before its copy is
// published, so the copy of whoever is first is clean, that of a second one is dropped, and a
// process that is killed at any moment leaves a slot behind and nothing else. No lock, and nobody
// waits for a writer. The reader copies a part and then looks whether a copy has been published
// meanwhile.
//
// Slots take memory as they are used, half of what they guard at most, and give it back at the
// cut's end. A writer that finds none left waits until the cut is let go: back-pressure.
//
// While nothing is held and no changes are kept, writers pay one load a batch (watching()).
// Memory on top: 1/64 of what is guarded for words, 1/256 for changes (where they are kept).
//
// Threading: Keep in any thread and process; Begin by the owner while nobody writes, and End by the
// owner at any time; Read and Changed between them, in any thread. A batch of writes must not
// straddle Begin.
#pragma once

#include <atomic>
#include <cstdint>

#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

class CutCopies {
 public:
  static constexpr int64_t kPartBytes = 256;

  // In the shared memory's header; zero at first.
  struct Shared {
    std::atomic<uint32_t>
        watch;                   // the number of the cut that is held, 0: none | the bit of changes
    uint32_t last;               // number of the last cut
    std::atomic<int64_t> limit;  // parts that were in use at the cut
    std::atomic<int64_t> slots;  // taken
    std::atomic<int64_t> slots_committed;
    int64_t words_committed;         // bytes
    std::atomic<int64_t> waited_ns;  // by writers, for the end of cuts
  };
  // Of address space that the words and copies of so many bytes take.
  static int64_t BytesFor(int64_t guarded_bytes);

  CutCopies() = default;
  // Guards `bytes` from `begin` on; its own memory begins at `offset`.
  CutCopies(const SharedMemory* memory, Shared* shared, char* begin, int64_t bytes, int64_t offset);
  // From now on changes are kept. Once, by who created the memory.
  void KeepChanges() { shared_->watch = kFirstBit; }

  // ---- writers
  // Whether writes must be told of.
  bool watching() const { return shared_->watch.load(std::memory_order_acquire) != 0; }
  // Before [at, at + bytes) is written. What lies outside is nobody's business.
  void Keep(const char* at, int64_t bytes) const;
  // The same for each of rows; null is none.
  void Keep(char* const* rows, int64_t n, int64_t bytes) const;

  // ---- the owner
  // `used`: bytes that were ever written. Error(kIo) when memory ends: then no cut is held.
  void Begin(int64_t used);
  // `saved`: the changes before the cut need not be told again.
  void End(bool saved);
  bool held() const { return (shared_->watch.load(std::memory_order_acquire) & kCutMask) != 0; }
  // Memory that copies take, and how long writers waited for room, since the beginning.
  int64_t copied_bytes() const;
  double waited_seconds() const;

  // ---- while a cut is held
  void Read(const char* at, int64_t bytes, char* to) const;
  // Whether any of it was written between the last cut and this one.
  bool Changed(const char* at, int64_t bytes) const;

 private:
  static constexpr uint32_t kCutMask = 0xFF, kFirstBit = 0x100, kSecondBit = 0x200;
  static constexpr uint32_t kBits = kFirstBit | kSecondBit;

  void NoteChange(int64_t part, uint8_t bit) const;
  void CopyAside(int64_t part, uint32_t cut) const;
  int64_t TakeSlot() const;
  void WaitForEnd(uint32_t cut) const;
  const char* CopyOf(uint32_t word) const { return pool_ + (word >> 8) * kPartBytes; }

  const SharedMemory* memory_ = nullptr;
  Shared* shared_ = nullptr;
  char* begin_ = nullptr;
  int64_t bytes_ = 0, max_slots_ = 0;
  std::atomic<uint32_t>* words_ = nullptr;   // slot << 8 | cut
  std::atomic<uint8_t>* changes_ = nullptr;  // 1: before an odd cut, 2: before an even one
  char* pool_ = nullptr;
};

}  // namespace mariana
