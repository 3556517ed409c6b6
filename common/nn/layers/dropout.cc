// Dropout (Srivastava et al. 2014), inverted: kept values are divided by 1 - rate, so evaluation
// has nothing to do. What is kept is a function of (seed, sample, column) alone, whichever worker
// computes the sample, so backward draws it again instead of storing a mask.
#include "common/base/random.h"
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

class Dropout : public Layer {
 public:
  Dropout(double rate, int index)
      : rate_(static_cast<float>(rate)), stream_(kDropoutStream + static_cast<uint64_t>(index)) {}
  const char* type() const override { return "dropout"; }
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }
  Division division() const override { return Elementwise(); }
  void Keep(const LayerPart& part) override {
    part_ = {part.out.size(), part.out.begin, part.whole_out};
  }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    columns_ = args.out->shape.elements();
    dtype_ = args.in[0]->dtype;
    LayerDecl decl;
    decl.gradient_in_place = true;
    decl.draws = true;
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    if (step.train) {
      Apply(step, a, a.x[0], a.y);
    } else {
      device_->Copy(a.y, a.x[0], step.rows * columns_ * SizeOf(dtype_));
    }
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    Apply(step, a, a.dy, a.dx[0]);
  }
  std::string Export(const ExportArgs& a, GraphWriter*) const override { return a.x[0]; }

 private:
  void Apply(const StepContext& step, const LayerArgs& a, const void* x, void* y) {
    device_->Dropout(x, y, step.rows, columns_, rate_, step.seed, stream_, a.first_sample, part_,
                     dtype_);
  }

  const float rate_;
  const uint64_t stream_;
  DropoutPart part_;
  Device* device_ = nullptr;
  int64_t columns_ = 0;
  Dtype dtype_ = Dtype::kF32;
};

struct DropoutSpec : LayerSpec {
  double rate = 0.5;
  const char* type() const override { return "dropout"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Real("rate", &rate, "Share of values set to zero in training.", Rule().Min(0).Below(1));
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    if (!net->options().train) return x;
    return net->Add(name, std::make_unique<Dropout>(rate, net->NextRandomLayer()), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeDropoutSpec() { return std::make_unique<DropoutSpec>(); }

}  // namespace mariana
