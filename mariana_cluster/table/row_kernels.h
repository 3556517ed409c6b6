// The inner loops over rows of a sparse table, compiled once per instruction set
// (kernels/rows.cc) and chosen at run time: read the weights of many rows, and update many rows
// with their gradients, fetching rows ahead of their use (Chen et al., "Improving hash join
// performance through prefetching", ICDE 2004).
//
// Memory order: rows are shared by threads and processes that read and write them with no lock
// (Hogwild: Niu et al. 2011). Every float is moved by a plain aligned load or store, which x86
// makes atomic, in any order; a reader may see some floats of a row before an update and some
// after, and of two updates of one weight at one moment one may be lost. That is the language's
// "relaxed" order, but vector moves cannot be written as std::atomic: these files alone are
// compiled without the thread sanitizer. Nothing else is published through rows.
// Nothing here throws or allocates, but through `birth`.
#pragma once

#include <cstdint>
#include <vector>

#include "mariana_cluster/table/row_layout.h"

namespace mariana {

struct RowBatchArgs {
  const RowLayout* layout;
  char* const* rows;  // [n]; null: no row (reads zeros, drops the gradient)
  int64_t n;
  uint32_t stamp;  // written into the headers of updated keyed rows
  // Called for a hashed row that was never written, before its first use.
  void (*birth)(void* context, char* row);
  void* context;
};

struct RowKernels {
  const char* isa;  // "avx512"
  // values[i * width ...] = the weights of rows[i].
  void (*gather)(const RowBatchArgs& args, float* values);
  // Updates rows[i] with gradients[i * width ...]. `rate` multiplies the learning rate of all
  // optimizers but FTRL. No row may come twice: of its two updates one could be lost.
  void (*apply)(const RowBatchArgs& args, const float* gradients, float rate);
};

// What this CPU can run, the best first. Error(kUsage) when it lacks AVX2.
const std::vector<RowKernels>& UsableRowKernels();

}  // namespace mariana
