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

namespace {

// Zeroed parameters of the whole model, by name.
std::vector<HostTensor> EmptyParams(const NetPlan& whole) {
  std::vector<HostTensor> out;
  for (const ParamInfo& p : whole.params) out.push_back(EmptyF32(p.name, p.part.whole));
  return out;
}

std::map<std::string, float*> ByName(std::vector<HostTensor>* tensors) {
  std::map<std::string, float*> by_name;
  for (HostTensor& t : *tensors) by_name[t.name] = t.f32();
  return by_name;
}

// Places what one part has of `infos`; returns what follows it in `plain`.
template <class Info>
const float* Place(const std::vector<Info>& infos, const float* plain,
                   const std::map<std::string, float*>& by_name) {
  for (const Info& info : infos) {
    PlacePart(plain, info.part, info.shape, by_name.at(info.name));
    plain += info.shape.elements();
  }
  return plain;
}

}  // namespace

std::vector<HostTensor> SaveNetValues(Net* net) {
  return JoinValues(net->plan(), {net->plan()}, {PlainValues(net)});
}

std::vector<float> PlainParams(const Net& net, const float* arena) {
  std::vector<float> plain;
  for (size_t i = 0; i < net.params().size(); ++i) {
    const ParamInfo& p = net.params()[i];
    plain.resize(plain.size() + static_cast<size_t>(p.shape.elements()));
    net.UnpackParam(static_cast<int>(i), arena + p.offset,
                    plain.data() + plain.size() - p.shape.elements());
  }
  return plain;
}

std::vector<float> PlainValues(Net* net) {
  Device* const device = net->options().device;
  std::vector<float> arena(static_cast<size_t>(net->arena_elements()));
  device->Download(arena.data(), net->values(), net->arena_elements() * int64_t{sizeof(float)});
  std::vector<float> plain = PlainParams(*net, arena.data());
  for (const StateInfo& s : net->states()) {
    plain.resize(plain.size() + static_cast<size_t>(s.shape.elements()));
    device->Download(plain.data() + plain.size() - s.shape.elements(),
                     net->state().f32() + s.offset, s.shape.elements() * int64_t{sizeof(float)});
  }
  return plain;
}

std::vector<HostTensor> JoinParams(const NetPlan& whole, const std::vector<NetPlan>& parts,
                                   const std::vector<std::vector<float>>& plain) {
  std::vector<HostTensor> out = EmptyParams(whole);
  const auto by_name = ByName(&out);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!plain[i].empty()) Place(parts[i].params, plain[i].data(), by_name);
  }
  return out;
}

std::vector<HostTensor> JoinValues(const NetPlan& whole, const std::vector<NetPlan>& parts,
                                   const std::vector<std::vector<float>>& plain) {
  std::vector<HostTensor> out = EmptyParams(whole);
  for (const StateInfo& s : whole.states) out.push_back(EmptyF32(s.name, s.part.whole));
  const auto by_name = ByName(&out);
  for (size_t i = 0; i < parts.size(); ++i) {
    if (plain[i].empty()) continue;
    const float* const states = Place(parts[i].params, plain[i].data(), by_name);
    Place(parts[i].states, states, by_name);
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
