#include "common/train/net_values.h"

#include <algorithm>

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

std::vector<HostTensor> SaveNetValues(Net* net) { return SaveNetValues(net->plan(), {net}); }

std::vector<HostTensor> SaveNetValues(const NetPlan& whole, const std::vector<Net*>& parts) {
  std::vector<HostTensor> out;
  for (const ParamInfo& p : whole.params) out.push_back(EmptyF32(p.name, p.part.whole));
  for (const StateInfo& s : whole.states) out.push_back(EmptyF32(s.name, s.part.whole));
  std::map<std::string, float*> by_name;
  for (HostTensor& t : out) by_name[t.name] = t.f32();
  std::vector<float> slot, own;
  for (Net* net : parts) {
    Device* device = net->options().device;
    for (size_t i = 0; i < net->params().size(); ++i) {
      const ParamInfo& p = net->params()[i];
      slot.resize(static_cast<size_t>(p.elements));
      device->Download(slot.data(), net->values() + p.offset, p.elements * int64_t{sizeof(float)});
      own.resize(static_cast<size_t>(p.shape.elements()));
      net->UnpackParam(static_cast<int>(i), slot.data(), own.data());
      PlacePart(own.data(), p.part, p.shape, by_name.at(p.name));
    }
    for (const StateInfo& s : net->states()) {
      own.resize(static_cast<size_t>(s.shape.elements()));
      device->Download(own.data(), net->state().f32() + s.offset,
                       s.shape.elements() * int64_t{sizeof(float)});
      PlacePart(own.data(), s.part, s.shape, by_name.at(s.name));
    }
  }
  return out;
}

void PackPart(const Net& net, int param, const float* whole, float* slot) {
  const ParamInfo& p = net.params()[static_cast<size_t>(param)];
  std::vector<float> own(static_cast<size_t>(p.shape.elements()));
  TakePart(whole, p.part, p.shape, own.data());
  std::fill_n(slot, p.elements, 0.0f);
  net.PackParam(param, own.data(), slot);
}

void LoadNetValues(Net* net, const std::vector<HostTensor>& tensors, const std::string& where) {
  const NamedTensors map(tensors, where);
  Device* device = net->options().device;
  std::vector<float> slot, own;
  for (size_t i = 0; i < net->params().size(); ++i) {
    const ParamInfo& p = net->params()[i];
    slot.resize(static_cast<size_t>(p.elements));
    PackPart(*net, static_cast<int>(i), map.Find(p.name, p.part.whole), slot.data());
    device->Upload(net->values() + p.offset, slot.data(), p.elements * int64_t{sizeof(float)});
  }
  for (const StateInfo& s : net->states()) {
    own.resize(static_cast<size_t>(s.shape.elements()));
    TakePart(map.Find(s.name, s.part.whole), s.part, s.shape, own.data());
    device->Upload(net->state().f32() + s.offset, own.data(),
                   s.shape.elements() * int64_t{sizeof(float)});
  }
  net->RefreshShadow(0, net->arena_elements());
}

}  // namespace mariana
