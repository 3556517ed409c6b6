// NetRig: a net built from YAML on a device, with plain host vectors in and out. Single-threaded.
#pragma once

#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/nn/net.h"

namespace mariana {

struct RigOptions {
  int64_t rows = 0, inputs = 0;  // rows: the most a step may have
  int64_t outputs = 0;
  Dtype compute = Dtype::kF32;
  bool train = true;
  Shape image{};  // of one input; default: `inputs` columns
  bool input_gradient = false;
};

class NetRig {
 public:
  NetRig(Device* device, const std::string& yaml, const RigOptions& o) : device_(device), o_(o) {
    NetSpec spec;
    LoadConfigText(yaml, "net.yaml", ".", {}, [&](Fields* f) { spec.Describe(f); });
    classes_ = spec.loss == LossKind::kSoftmaxCrossEntropy;
    NetOptions options;
    options.device = device;
    options.max_rows = o.rows;
    if (o_.image.rank() == 0) o_.image = Shape{o.inputs};
    o_.inputs = o_.image.elements();
    options.input = o_.image;
    options.outputs = o.outputs;
    options.compute = o.compute;
    options.train = o.train;
    options.input_gradient = o.input_gradient;
    net_ = Net::Build(spec, options);
    net_->Initialize(1);
  }

  Net* operator->() const { return net_.get(); }
  Net* net() const { return net_.get(); }

  int Find(const std::string& name) const {
    for (size_t i = 0; i < net_->params().size(); ++i) {
      if (net_->params()[i].name == name) return static_cast<int>(i);
    }
    throw Fail(ExitCode::kInternal, "no parameter ", name);
  }
  std::vector<float> Param(int i) const { return Unpack(i, net_->values()); }
  std::vector<float> Grad(int i) const { return Unpack(i, net_->grads()); }
  void SetParam(int i, const std::vector<float>& plain) {
    const ParamInfo& p = net_->params()[i];
    std::vector<float> slot(p.elements);
    net_->PackParam(i, plain.data(), slot.data());
    device_->Upload(net_->values() + p.offset, slot.data(), p.elements * 4);
    net_->RefreshShadow(p.offset, p.elements);
  }
  std::vector<float> State(int i) const {
    std::vector<float> all(net_->state().elements());
    net_->state().Download(all.data());
    const StateInfo& s = net_->states()[i];
    return {all.begin() + s.offset, all.begin() + s.offset + s.shape.elements()};
  }

  // x: [step.rows, inputs].
  std::vector<float> Forward(const StepContext& step, const std::vector<float>& x) {
    Tensor wide(device_, Dtype::kF32, Shape{step.rows, o_.inputs});
    if (step.rows > 0) wide.Upload(x.data());
    input_ = wide;
    if (o_.compute != Dtype::kF32) {
      input_ = Tensor(device_, o_.compute, wide.shape());
      device_->Convert(wide.data(), Dtype::kF32, input_.data(), o_.compute, wide.elements());
    }
    net_->Forward(step, input_);
    std::vector<float> y(net_->outputs().elements());
    if (step.rows > 0) net_->outputs().Download(y.data());
    return y;
  }
  // labels: classes for softmax cross-entropy, else [step.rows, outputs].
  LossSums Loss(const StepContext& step, const std::vector<float>& labels) {
    const int64_t columns = net_->output_shape().elements();
    if (!classes_) {
      Tensor t(device_, Dtype::kF32, Shape{step.rows, columns});
      t.Upload(labels.data());
      return net_->Loss(step, t);
    }
    const std::vector<int32_t> classes(labels.begin(), labels.end());
    Tensor t(device_, Dtype::kI32, Shape{step.rows});
    t.Upload(classes.data());
    return net_->Loss(step, t);
  }
  void Backward(const StepContext& step) { net_->Backward(step, input_); }
  std::vector<float> InputGradient() const {
    const Tensor g = net_->input_gradient();
    Tensor wide(device_, Dtype::kF32, g.shape());
    device_->Convert(g.data(), g.dtype(), wide.data(), Dtype::kF32, g.elements());
    std::vector<float> host(g.elements());
    wide.Download(host.data());
    return host;
  }

  // Of all parameters one after the other, in plain layout.
  std::vector<float> Grads() const {
    std::vector<float> all;
    for (size_t i = 0; i < net_->params().size(); ++i) {
      const std::vector<float> g = Grad(static_cast<int>(i));
      all.insert(all.end(), g.begin(), g.end());
    }
    return all;
  }

 private:
  std::vector<float> Unpack(int i, const float* arena) const {
    const ParamInfo& p = net_->params()[i];
    std::vector<float> slot(p.elements), plain(p.shape.elements());
    device_->Download(slot.data(), arena + p.offset, p.elements * 4);
    net_->UnpackParam(i, slot.data(), plain.data());
    return plain;
  }

  Device* device_;
  RigOptions o_;
  bool classes_ = true;
  std::unique_ptr<Net> net_;
  Tensor input_;
};

// One worker's whole batch in training.
inline StepContext TrainStep(int64_t rows) {
  StepContext step;
  step.seed = 3;
  step.rows = step.batch_rows = rows;
  return step;
}

}  // namespace mariana
