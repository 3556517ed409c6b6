// SavedModel: what a model file says of itself beside its weights: all that is needed to score rows
// with it elsewhere. A model.safetensors holds
//   T.key, T.value   the rows of each sparse table T (table_file.h)
//   "linear1.weight" ... the dense parameters, under the net's names
// and the metadata "mariana.model": this struct as YAML. Thread-compatible.
#pragma once

#include <memory>
#include <string>

#include "common/data/rows/row_spec.h"
#include "common/nn/spec.h"
#include "common/train/safetensors.h"
#include "mariana_cluster/model/model_spec.h"

namespace mariana {

struct SavedModel {
  int64_t seed = 1;  // of the initial values, which rows that were never trained still have
  RowSpec rows;      // with what was measured on the training data
  int64_t joined_columns = 0;
  ClickModelSpec click;
  NetSpec net;
  void Describe(Fields* f);
};

Metadata DescribeModel(SavedModel* model);

// Error(kBadData) for a file that mariana_cluster did not write. For a run directory or a
// checkpoint: FindModel (checkpoint.h) first.
std::unique_ptr<SavedModel> ReadSavedModel(const SafetensorsFile& file);

}  // namespace mariana
