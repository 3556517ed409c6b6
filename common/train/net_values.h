// A net's parameters and running averages <-> named host tensors in the plain layout of
// checkpoints. Free functions; the net is used by one thread at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "common/nn/net.h"
#include "common/train/safetensors.h"

namespace mariana {

// Host tensors by name, for loading. Find throws Error(kBadData) naming `where` and the tensor
// when it is missing or of another shape or type.
class NamedTensors {
 public:
  NamedTensors(const std::vector<HostTensor>& tensors, const std::string& where);
  const float* Find(const std::string& name, const Shape& shape) const;

 private:
  std::string where_;
  std::map<std::string, const HostTensor*> by_name_;
};

// A zeroed fp32 tensor.
HostTensor EmptyF32(const std::string& name, const Shape& shape);

// In net order: parameters, then running averages.
std::vector<HostTensor> SaveNetValues(Net* net);

// What one net of those that share a model has of it, one parameter (and running average) after
// another in its plan's order, plain: of an arena in host memory, or of its values.
std::vector<float> PlainParams(const Net& net, const float* arena);
std::vector<float> PlainValues(Net* net);
// The model `whole` of what its parts have as above; empty: a part that has nothing to add.
std::vector<HostTensor> JoinParams(const NetPlan& whole, const std::vector<NetPlan>& parts,
                                   const std::vector<std::vector<float>>& plain);
std::vector<HostTensor> JoinValues(const NetPlan& whole, const std::vector<NetPlan>& parts,
                                   const std::vector<std::vector<float>>& plain);

// Slot (Net::PackParam) of the net's parameter out of the whole model's plain one.
void PackPart(const Net& net, int param, const float* whole, float* slot);
// What the net has of tensors of the whole model.
void LoadNetValues(Net* net, const std::vector<HostTensor>& tensors, const std::string& where);

}  // namespace mariana
