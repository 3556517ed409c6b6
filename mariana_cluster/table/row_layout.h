// What a row of a sparse table holds: parts, each a few weights that one optimizer updates, with
// the optimizer's state beside them, so that one cache line brings all that a step needs.
//
//   linear model           {{"linear", 1, ftrl}}                              z n
//   factorisation machine  {{"linear", 1, ftrl}, {"factors", 8, adagrad}}     z n w0..w7 s0..s7
//   embedding              {{"embedding", 16, rowwise_adagrad}}               w0..w15 s
//
// In memory a row is [header | part 0 | part 1 ...]. Rows of up to 64 bytes take a power of two,
// so that none crosses a cache line; longer ones a multiple of 64. Rows that can be found by key
// have a header of 12 bytes (key, stamp); hashed rows with random initial values one of 4 (written
// yet); others none.
// FTRL keeps z and n only: its weight is a function of them, computed when it is read. A linear
// model's row is 8 bytes.
//
// Sources: FTRL-proximal: McMahan et al., "Ad click prediction: a view from the trenches", KDD
// 2013, algorithm 1. AdaGrad: Duchi et al. 2011. Row-wise AdaGrad (one sum of mean squares a row):
// Naumov et al., DLRM, 2019. Adam: Kingma and Ba 2015, applied to the rows of a batch only (lazy),
// with bias correction by each row's own number of updates.
//
// RowLayout is a trivially copyable value that lies in shared memory. Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/fields.h"

namespace mariana {

enum class RowOptimizer : int32_t { kSgd, kAdaGrad, kRowwiseAdaGrad, kAdam, kFtrl };

// An `optimizer:` section for sparse weights.
struct RowOptimizerSpec {
  RowOptimizer type = RowOptimizer::kFtrl;
  double learning_rate = 0.1;  // FTRL's alpha
  double beta = 1;             // FTRL
  double l1 = 0, l2 = 0;
  double initial_sum = 0;             // AdaGrad: where the sums of squares start
  double epsilon = 1e-8;              // AdaGrad, Adam
  double beta1 = 0.9, beta2 = 0.999;  // Adam
  void Describe(Fields* f);
};

struct PartSpec {
  std::string name;
  int64_t width = 1;  // weights
  RowOptimizerSpec optimizer;
  double init = 0;  // weights start uniform in [-init, init], drawn from (seed, key)
};

constexpr int kMaxParts = 4;

struct LayoutPart {
  char name[24];
  RowOptimizer type;
  int32_t width;
  int32_t value;   // of the row's weights, where this part's begin
  int32_t offset;  // bytes from the row's begin to the part's floats
  int32_t floats;  // weights and state
  float learning_rate, beta, l1, l2, initial_sum, epsilon, beta1, beta2, init;
};

struct RowLayout {
  int32_t parts = 0;
  int32_t width = 0;         // weights of all parts
  int32_t floats = 0;        // of all parts, state included
  int32_t header_bytes = 0;  // 0, 4 or 12
  int32_t stride = 0;        // bytes from row to row
  LayoutPart part[kMaxParts];

  int32_t state_floats() const;  // what a checkpoint stores beside the weights
  bool has_random_init() const;
  // The parts in one line: names, widths, optimizers; equal when state can be carried over.
  std::string Signature() const;
};

// `keyed`: rows carry their key. Error(kUsage) for too many parts or a width out of range.
RowLayout MakeRowLayout(const std::vector<PartSpec>& parts, bool keyed);

// Writes the floats of a new row (the header is the table's).
void InitializeRow(const RowLayout& layout, uint64_t seed, uint64_t key, char* row);

// The weights of a row [width], and the optimizer's state [state_floats]; and back. Without state
// the optimizer starts afresh from these weights (warm start).
void ReadRow(const RowLayout& layout, const char* row, float* values, float* state);
void WriteRow(const RowLayout& layout, const float* values, const float* state, char* row);

}  // namespace mariana
