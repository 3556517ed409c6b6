// Sightings: how often each key has been seen, roughly, in little memory: a counting filter
// (count-min sketch with conservative update, Estan and Varghese 2002) of one cache line a key. A
// key gets a row of the table only after some sightings, so that the many keys that occur once
// take no memory. It never counts too few (but for two threads at one counter at one moment, and
// above 255), at times too many: some keys are admitted early.
//
// Lies in shared memory; threads and processes count at once, with relaxed loads and stores.
#pragma once

#include <algorithm>
#include <atomic>
#include <cstdint>

namespace mariana {

class Sightings {
 public:
  static constexpr int64_t kLineBytes = 64;

  Sightings() = default;
  // Lines [first, first + lines) of 2^line_bits; `counters` is the first one's.
  Sightings(char* counters, int line_bits, int64_t first, int64_t lines)
      : counters_(reinterpret_cast<std::atomic<uint8_t>*>(counters)),
        shift_(64 - line_bits),
        first_(first),
        lines_(lines) {}

  // Counts one more; how often the key has been seen now.
  int Count(uint64_t key) {
    std::atomic<uint8_t>* line = counters_ + (LineOf(key) - first_) * kLineBytes;
    const uint64_t hash = key * 0x9E3779B97F4A7C15u;
    std::atomic<uint8_t>* place[] = {line + (hash >> 58), line + (hash >> 52 & 63),
                                     line + (hash >> 46 & 63)};
    int least = 255;
    for (const auto* p : place) least = std::min<int>(least, p->load(std::memory_order_relaxed));
    if (least == 255) return least;
    for (auto* p : place) {
      if (p->load(std::memory_order_relaxed) == least) {
        p->store(static_cast<uint8_t>(least + 1), std::memory_order_relaxed);
      }
    }
    return least + 1;
  }

  // Halves all counts, so that what is admitted was seen of late.
  void Decay() {
    for (int64_t i = 0; i < lines_ * kLineBytes; ++i) {
      counters_[i].store(counters_[i].load(std::memory_order_relaxed) / 2,
                         std::memory_order_relaxed);
    }
  }

  // What Count changes: a line.
  const char* LineFor(uint64_t key) const { return data() + (LineOf(key) - first_) * kLineBytes; }

  // The counters, for checkpoints.
  char* data() const { return reinterpret_cast<char*>(counters_); }
  int64_t bytes() const { return lines_ * kLineBytes; }

 private:
  int64_t LineOf(uint64_t key) const { return static_cast<int64_t>(key >> shift_); }

  std::atomic<uint8_t>* counters_ = nullptr;
  int shift_ = 0;
  int64_t first_ = 0, lines_ = 0;
};

}  // namespace mariana
