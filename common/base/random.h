// Counter-based random numbers: Philox4x32-10 (Salmon et al., "Parallel random numbers: as
// easy as 1, 2, 3", SC'11). A number is a pure function of (seed, stream, index), so any
// thread, worker or device draws the same one without shared state. Header-only and free of
// the standard library's engines so that every device's compiler can use it.
#pragma once

#include <cstdint>

#if defined(__CUDACC__)
#define MARIANA_HOST_DEVICE __host__ __device__
#else
// Always inlined: kernels are compiled once per instruction set, and must not share one
// out-of-line copy.
#define MARIANA_HOST_DEVICE [[gnu::always_inline]]
#endif

namespace mariana {

struct Philox4 {
  uint32_t v[4];
};

// Four independent 32-bit words for (seed, stream, index).
MARIANA_HOST_DEVICE inline Philox4 Philox(uint64_t seed, uint64_t stream, uint64_t index) {
  uint32_t k0 = static_cast<uint32_t>(seed), k1 = static_cast<uint32_t>(seed >> 32);
  Philox4 c{{static_cast<uint32_t>(index), static_cast<uint32_t>(index >> 32),
             static_cast<uint32_t>(stream), static_cast<uint32_t>(stream >> 32)}};
  for (int round = 0; round < 10; ++round) {
    const uint64_t p0 = uint64_t{0xD2511F53u} * c.v[0];
    const uint64_t p1 = uint64_t{0xCD9E8D57u} * c.v[2];
    c = {{static_cast<uint32_t>(p1 >> 32) ^ c.v[1] ^ k0, static_cast<uint32_t>(p1),
          static_cast<uint32_t>(p0 >> 32) ^ c.v[3] ^ k1, static_cast<uint32_t>(p0)}};
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return c;
}

// 32 random bits -> [0, 1), 24 bits of resolution.
MARIANA_HOST_DEVICE inline float ToUnit(uint32_t bits) {
  return static_cast<float>(bits >> 8) * (1.0f / 16777216.0f);
}

// Streams, so that two uses of one seed never meet. Layers add their op index.
enum RandomStream : uint64_t {
  kInitStream = uint64_t{1} << 32,     // + parameter index
  kDropoutStream = uint64_t{2} << 32,  // + op index; index = sample * width + column
  kShuffleStream = uint64_t{3} << 32,  // data order
  kNoiseStream = uint64_t{4} << 32,    // dither
  kImageStream = uint64_t{5} << 32,    // + sample: crops, flips, colours
  kShareStream = uint64_t{6} << 32,    // + epoch: which worker reads what
};

// Sequential draws from one (seed, stream); a value type. Not thread-safe.
class RandomSequence {
 public:
  RandomSequence(uint64_t seed, uint64_t stream) : seed_(seed), stream_(stream) {}
  uint32_t Bits();
  float Uniform() { return ToUnit(Bits()); }  // [0, 1)
  float Normal();                             // mean 0, variance 1 (Box-Muller)
  uint64_t Below(uint64_t n);                 // [0, n), unbiased

 private:
  uint64_t seed_, stream_, index_ = 0;
  Philox4 block_{};
  int left_ = 0;
};

}  // namespace mariana
