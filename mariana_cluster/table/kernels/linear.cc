// See linear_kernels.h.
#include <immintrin.h>

#include <cstdint>
#include <cstring>

#include "common/device/formulas.h"
#include "mariana_cluster/table/linear_kernels.h"
#include "mariana_cluster/table/row_math.h"

#define MARIANA_NAME_OF(x) #x
#define MARIANA_NAME(x) MARIANA_NAME_OF(x)

namespace mariana::MARIANA_ISA {
namespace {

constexpr uint32_t kLanes = 8;
constexpr size_t kNobodyBytes = 32;   // all that a row may have
constexpr int64_t kSamplesAhead = 4;  // whose rows are fetched

// f(k) for every lane: one vector.
template <class F>
[[gnu::always_inline]] inline void Lanes(const F& f) {
#pragma GCC ivdep
#pragma GCC unroll 1
  for (uint32_t k = 0; k < kLanes; ++k) f(k);
}

// ---- the (z, n) of eight rows <-> vectors
[[gnu::always_inline]] inline __m128 LoadTwo(const char* p, const char* q) {
  const __m128 first = _mm_castsi128_ps(_mm_loadl_epi64(reinterpret_cast<const __m128i_u*>(p)));
  return _mm_loadh_pi(first, reinterpret_cast<const __m64*>(q));
}

[[gnu::always_inline]] inline void LoadRows(char* const* at, int32_t offset, LinearBlock* block) {
  const auto two = [=](int k) { return LoadTwo(at[k] + offset, at[k + 1] + offset); };
  const __m256 even = _mm256_set_m128(two(4), two(0)), odd = _mm256_set_m128(two(6), two(2));
  _mm256_store_ps(block->z, _mm256_shuffle_ps(even, odd, _MM_SHUFFLE(2, 0, 2, 0)));
  _mm256_store_ps(block->n, _mm256_shuffle_ps(even, odd, _MM_SHUFFLE(3, 1, 3, 1)));
}

[[gnu::always_inline]] inline void StoreTwo(__m128 pairs, char* p, char* q) {
  _mm_storel_pi(reinterpret_cast<__m64*>(p), pairs);
  _mm_storeh_pi(reinterpret_cast<__m64*>(q), pairs);
}

[[gnu::always_inline]] inline void StoreRows(const float* z, const float* n, char* const* at,
                                             int32_t offset) {
  const __m256 first = _mm256_load_ps(z), second = _mm256_load_ps(n);
  const __m256 even = _mm256_unpacklo_ps(first, second), odd = _mm256_unpackhi_ps(first, second);
  const auto two = [=](__m128 pairs, int k) {
    StoreTwo(pairs, at[k] + offset, at[k + 1] + offset);
  };
  two(_mm256_castps256_ps128(even), 0);
  two(_mm256_castps256_ps128(odd), 2);
  two(_mm256_extractf128_ps(even, 1), 4);
  two(_mm256_extractf128_ps(odd, 1), 6);
}

// ---- blocks of eight features
struct Rule {
  const LayoutPart part;
  // Adds each lane's part of the logit by the learning rate.
  [[gnu::always_inline]] __m256 Read(char* const* at, const float* x, LinearBlock* block,
                                     __m256 sums) const {
    LoadRows(at, part.offset, block);
    alignas(32) float terms[kLanes];
    Lanes([&](uint32_t k) {
      const float root = __builtin_sqrtf(block->n[k]);
      const float direction = row_math::FtrlDirection(part, block->z[k], root);
      block->root[k] = root;
      block->direction[k] = direction;
      terms[k] = direction * x[k];
    });
    return _mm256_add_ps(sums, _mm256_load_ps(terms));
  }
  [[gnu::always_inline]] void Update(float g, char* const* at, const float* x,
                                     const LinearBlock& block) const {
    alignas(32) float z[kLanes], n[kLanes];
    Lanes([&](uint32_t k) {
      float new_z = block.z[k], new_n = block.n[k];
      row_math::FtrlStep(g * x[k], block.direction[k], block.root[k], &new_z, &new_n);
      z[k] = new_z;
      n[k] = new_n;
    });
    StoreRows(z, n, at, part.offset);
  }
};

// Up to seven features, and one lane's row with value 1; the rest is nobody.
struct Part {
  alignas(32) char* at[kLanes];
  alignas(32) float x[kLanes];

  // No branches and no stores narrower than what is loaded again: count is anybody's guess.
  [[gnu::always_inline]] Part(const LinearSamples& s, uint32_t first, uint32_t count, char* bias) {
    for (uint32_t half = 0; half < kLanes; half += 4) {
      const __m256i lanes = _mm256_setr_epi64x(half, half + 1, half + 2, half + 3);
      const __m256i end = _mm256_set1_epi64x(count);
      const __m256i there = _mm256_cmpgt_epi64(end, lanes), last = _mm256_cmpeq_epi64(end, lanes);
      const auto* rows = reinterpret_cast<const long long*>(s.rows + first + half);
      const auto value = [](char* p) { return _mm256_set1_epi64x(reinterpret_cast<intptr_t>(p)); };
      const __m256i others = _mm256_blendv_epi8(value(s.nobody), value(bias), last);
      const __m256i mine = _mm256_maskload_epi64(rows, there);
      _mm256_store_si256(reinterpret_cast<__m256i*>(at + half),
                         _mm256_blendv_epi8(others, mine, there));
    }
    const __m256i lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
    const __m256i end = _mm256_set1_epi32(static_cast<int>(count));
    const __m256 last = _mm256_castsi256_ps(_mm256_cmpeq_epi32(end, lanes));
    const __m256 mine = _mm256_maskload_ps(s.value + first, _mm256_cmpgt_epi32(end, lanes));
    _mm256_store_ps(x, _mm256_blendv_ps(mine, _mm256_set1_ps(1), last));
  }
};

[[gnu::always_inline]] inline float SumOf(__m256 v) {
  alignas(32) float x[kLanes];
  _mm256_store_ps(x, v);
  return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]));
}

[[gnu::always_inline]] inline float Slope(const LinearSamples& s, int64_t r, float logit) {
  const float slope = s.squared ? logit - s.label[r] : formulas::LogisticSlope(logit, s.label[r]);
  return s.weight[r] * slope;
}

// Reads again what an earlier feature of the sample may have changed.
void UpdateOneByOne(const LinearSamples& s, const Rule& rule, uint32_t begin, uint32_t end,
                    float g) {
  const auto update = [&](char* row, float x) {
    char* at[kLanes];
    alignas(32) float xs[kLanes] = {x};
    at[0] = row;
    for (uint32_t k = 1; k < kLanes; ++k) at[k] = s.nobody;
    rule.Read(at, xs, s.scratch, _mm256_setzero_ps());
    rule.Update(g, at, xs, *s.scratch);
  };
  for (uint32_t i = begin; i < end; ++i) update(s.rows[i], s.value[i]);
  update(s.bias, 1);
}

void Learn(const LinearSamples& s, float* logits) {
  const Rule rule{s.layout->part[0]};
  const uint32_t first = s.begin[0], features = s.begin[s.samples] - first;
  uint32_t fetched = 0;
  for (int64_t r = 0; r < s.samples; ++r) {
    const int64_t ahead = r + kSamplesAhead;
    const uint32_t wanted = ahead < s.samples ? s.begin[ahead + 1] - first : features;
    for (; fetched < wanted; ++fetched) __builtin_prefetch(s.rows[fetched], 1);
    const uint32_t begin = s.begin[r] - first, end = s.begin[r + 1] - first;
    std::memset(s.nobody, 0, kNobodyBytes);
    const uint32_t whole = begin + (end - begin) / kLanes * kLanes;
    const Part last(s, whole, end - whole, s.bias);
    __m256 sums = _mm256_setzero_ps();
    LinearBlock* block = s.scratch;
    for (uint32_t i = begin; i < whole; i += kLanes) {
      sums = rule.Read(s.rows + i, s.value + i, block++, sums);
    }
    sums = rule.Read(last.at, last.x, block, sums);
    logits[r] = rule.part.learning_rate * SumOf(sums);
    const float g = Slope(s, r, logits[r]);
    if (s.one_by_one) {
      UpdateOneByOne(s, rule, begin, end, g);
    } else {
      block = s.scratch;
      for (uint32_t i = begin; i < whole; i += kLanes) {
        rule.Update(g, s.rows + i, s.value + i, *block++);
      }
      rule.Update(g, last.at, last.x, *block);
    }
    if (s.layout->header_bytes != 12) continue;
    for (uint32_t i = begin; i < end; ++i) std::memcpy(s.rows[i] + 8, &s.stamp, 4);
    std::memcpy(s.bias + 8, &s.stamp, 4);
  }
}

}  // namespace

LinearKernels MakeLinearKernels() { return {MARIANA_NAME(MARIANA_ISA), Learn}; }

}  // namespace mariana::MARIANA_ISA
