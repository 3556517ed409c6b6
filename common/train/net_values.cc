#include "common/train/net_values.h"

#include "common/base/error.h"

namespace mariana {

NamedTensors::NamedTensors(const std::vector<HostTensor>& tensors, const std::string& where)
    : where_(where) {
  for (const HostTensor& t : tensors) by_name_[t.name] = &t;
}

const float* NamedTensors::Find(const std::string& name, const Shape& shape) const {
  const auto it = by_name_.find(name);
  if (it == by_name_.end()) {
    throw Fail(ExitCode::kBadData, where_, ": tensor \"", name, "\" is missing");
  }
  if (it->second->shape != shape || it->second->dtype != Dtype::kF32) {
    throw Fail(ExitCode::kBadData, where_, ": tensor \"", name, "\" is ", Name(it->second->dtype),
               " ", it->second->shape.ToString(), ", but the net needs f32 ", shape.ToString());
  }
  return it->second->f32();
}

HostTensor EmptyF32(const std::string& name, const Shape& shape) {
  HostTensor t;
  t.name = name;
  t.shape = shape;
  t.bytes.resize(static_cast<size_t>(shape.elements()) * sizeof(float));
  return t;
}

std::vector<HostTensor> SaveNetValues(Net* net) {
  Device* device = net->options().device;
  std::vector<HostTensor> out;
  std::vector<float> slot;
  for (size_t i = 0; i < net->params().size(); ++i) {
    const ParamInfo& p = net->params()[i];
    slot.resize(static_cast<size_t>(p.elements));
    device->Download(slot.data(), net->values() + p.offset, p.elements * int64_t{sizeof(float)});
    out.push_back(EmptyF32(p.name, p.shape));
    net->UnpackParam(static_cast<int>(i), slot.data(), out.back().f32());
  }
  for (const StateInfo& s : net->states()) {
    out.push_back(EmptyF32(s.name, s.shape));
    device->Download(out.back().f32(), net->state().f32() + s.offset,
                     s.shape.elements() * int64_t{sizeof(float)});
  }
  return out;
}

void LoadNetValues(Net* net, const std::vector<HostTensor>& tensors, const std::string& where) {
  const NamedTensors map(tensors, where);
  Device* device = net->options().device;
  std::vector<float> slot;
  for (size_t i = 0; i < net->params().size(); ++i) {
    const ParamInfo& p = net->params()[i];
    slot.assign(static_cast<size_t>(p.elements), 0.0f);
    net->PackParam(static_cast<int>(i), map.Find(p.name, p.shape), slot.data());
    device->Upload(net->values() + p.offset, slot.data(), p.elements * int64_t{sizeof(float)});
  }
  for (const StateInfo& s : net->states()) {
    device->Upload(net->state().f32() + s.offset, map.Find(s.name, s.shape),
                   s.shape.elements() * int64_t{sizeof(float)});
  }
  net->RefreshShadow(0, net->arena_elements());
}

}  // namespace mariana
