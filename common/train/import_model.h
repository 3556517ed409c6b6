// Values from elsewhere for a new net: a model file of another job or another tool (torchvision,
// timm), whose names and shapes need not be all the net's. Free functions, plain structs.
#pragma once

#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/nn/net.h"
#include "common/train/checkpoint.h"

namespace mariana {

// `train.import:`
struct ImportSpec {
  enum class Missing { kError, kInitialise };
  enum class Unexpected { kError, kIgnore };
  struct Rename {
    std::string from, to;  // prefixes of names
    void Describe(Fields* f);
  };
  std::string file;  // empty: nothing is imported
  std::vector<Rename> map;
  Missing missing = Missing::kError;
  Unexpected unexpected = Unexpected::kError;
  bool new_head = false;
  void Describe(Fields* f);
};

// The layer that new_head starts anew: the last one with parameters, "fc".
std::string HeadOf(const NetPlan& net);

struct ImportedModel {
  std::vector<HostTensor> tensors;  // all that `fresh` has, for LoadNetValues
  std::string line;                 // "x.safetensors: 122 tensors; new: fc.weight, fc.bias"
};

// `fresh`: the net's initial values (SaveNetValues); `head`: HeadOf. Each is replaced by the
// file's tensor of that name, after renaming by the first rule that fits. bf16 becomes fp32;
// PyTorch's num_batches_tracked is passed over. Throws Error(kBadData) that lists every tensor that
// is missing, unexpected or of another shape or type.
ImportedModel ImportValues(const LoadedModel& from, const ImportSpec& spec,
                           std::vector<HostTensor> fresh, const std::string& head);

}  // namespace mariana
