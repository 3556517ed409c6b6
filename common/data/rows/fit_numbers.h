// FitNumbers: the first pass over a sample of the training data, where fields ask for quantiles, or
// for a mean and deviation they do not give. What is measured goes into the spec itself, so that a
// model's saved config repeats it. A pure function of files and spec. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/rows/row_files.h"
#include "common/data/rows/row_spec.h"

namespace mariana {

// Whether any field needs it.
bool NeedsFit(const RowSpec& spec);

// Reads up to about `rows` rows, spread evenly over the files. Throws Error(kBadData) where the
// data can be read once only (a stream), is mostly malformed or has none of a field's numbers.
void FitNumbers(const RowFiles& files, int64_t rows, RowSpec* spec);

// Boundaries that cut the non-zero values into `parts` of equal size (fewer where values repeat),
// zero apart; a bucket for each value where there are fewer than 64.
std::vector<double> QuantileBoundaries(std::vector<float> values, int64_t parts);

}  // namespace mariana
