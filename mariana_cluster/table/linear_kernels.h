// The inner loop of a linear model that learns from one sample after another, as FTRL was published
// (row_layout.h): a sample's weights are read where they lie, its prediction is made, and the same
// weights are updated at once, while they are in the first-level cache. Nothing is copied, no key
// is looked for twice, and the rows of samples to come are fetched ahead. Compiled once per
// instruction set (kernels/linear.cc) and chosen at run time. Nothing here throws or allocates.
//
// Where keys of two fields share a row of a hashed table, one of a sample's two updates of it is
// lost, as it may be between workers.
// Memory order: that of row_kernels.h.
#pragma once

#include <cstdint>
#include <vector>

#include "mariana_cluster/table/row_layout.h"

namespace mariana {

// Eight features of a sample between its prediction and its update.
struct alignas(64) LinearBlock {
  float z[8], n[8];             // as they were read
  float direction[8], root[8];  // what was made of them
};

struct LinearSamples {
  const RowLayout* layout;  // one that LearnsBySample
  int64_t samples;
  const uint32_t* begin;  // [samples + 1], of features; of the next two begin[0] comes first
  char* const* rows;      // [features]; none is null
  const float* value;     // [features]
  char* bias;             // the row that every sample has, with value 1
  char* nobody;           // stands for rows that are not there: reads zero, drops the gradient
  const float* label;     // [samples]
  const float* weight;    // [samples]
  bool one_by_one;        // samples may have a row twice: updates it twice, one after the other
  bool squared;           // loss; else logistic
  uint32_t stamp;         // written into the headers of updated keyed rows
  LinearBlock* scratch;   // [an eighth of the features of a sample at most, + 1]
};

// Whether rows of this layout hold one FTRL weight.
bool LearnsBySample(const RowLayout& layout);

struct LinearKernels {
  const char* isa;
  // logits[r] = what the weights gave before sample r changed them.
  void (*learn)(const LinearSamples& samples, float* logits);
};

// What this CPU can run, the best first. Error(kUsage) when it lacks AVX2.
const std::vector<LinearKernels>& UsableLinearKernels();

}  // namespace mariana
