// The inner loops of click models over the features of a batch, compiled once per instruction set
// (kernels/*.cc) and chosen at run time. Nothing here throws or allocates. Thread-safe: no state.
//
// Formulas, over the features i of a row, with values x_i:
//   linear   sum_i w_i x_i
//   fm       0.5 (|s|^2 - sum_i |x_i v_i|^2), s = sum_i x_i v_i            (Rendle 2010)
//   pooling  of a field: sum_i x_i v_i over its features, or their mean
//   ffm      field_factors.h
#pragma once

#include <cstdint>
#include <vector>

namespace mariana {

constexpr int64_t kMostFloats = 1024;  // of a vector

// The features of a batch that live in one table, and the weights of their keys. Row r's features
// are [begin[r], begin[r + 1]) of index, field and value.
struct TermView {
  int64_t rows;
  const uint32_t* begin;
  const uint32_t* index;  // of a key
  const uint16_t* field;
  const float* value;
  const float* weights;  // [keys, width]
  float* gradients;      // [keys, width], added to; null in a forward pass
  int64_t width;
};

// Embeddings in the net's input.
struct PoolView {
  int64_t at, size;       // in a key's weights
  const int32_t* column;  // of the input, by field
  bool mean;
};

// The features of one field in a row, for ffm: one feature, or the sum of several.
struct FactorGroup {
  const float* v;  // [factor fields, size]
  float* dv;       // likewise, added to; null in a forward pass
  float x;         // times v
  int32_t field;   // among those with factors
};

struct ClickKernels {
  const char* isa;
  // Forward passes add to logits [rows]; g [rows] is a gradient by logit. `at`: where the part
  // begins in a key's weights.
  void (*linear)(const TermView& t, int64_t at, float* logits);
  void (*linear_backward)(const TermView& t, int64_t at, const float* g);
  // Adds to s [rows, size], and -0.5 sum |x v|^2 to the logits; fm_finish adds 0.5 |s|^2.
  void (*fm)(const TermView& t, int64_t at, int64_t size, float* s, float* logits);
  void (*fm_finish)(const float* s, int64_t rows, int64_t size, float* logits);
  void (*fm_backward)(const TermView& t, int64_t at, int64_t size, const float* s, const float* g);
  // Adds the embeddings of row r to x, one row of the input; and back.
  void (*pool)(const TermView& t, const PoolView& p, int64_t r, float* x);
  void (*pool_backward)(const TermView& t, const PoolView& p, int64_t r, const float* dx);
  // The sum over pairs of groups of <v_a[b], v_b[a]> x_a x_b.
  float (*ffm)(const FactorGroup* groups, int64_t n, int64_t size);
  void (*ffm_backward)(const FactorGroup* groups, int64_t n, int64_t size, float g);
  // Of each row, times its weight; gradients by logit may be null.
  void (*logistic)(const float* logits, const float* label, const float* weight, int64_t rows,
                   float* losses, float* gradients);
  void (*squared)(const float* logits, const float* label, const float* weight, int64_t rows,
                  float* losses, float* gradients);
  void (*to_bf16)(const float* x, uint16_t* y, int64_t n);
  void (*from_bf16)(const uint16_t* x, float* y, int64_t n);
};

// What this CPU can run, the best first. Error(kUsage) when it lacks AVX2.
const std::vector<ClickKernels>& UsableClickKernels();

}  // namespace mariana
