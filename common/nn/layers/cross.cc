// Cross network (DCN-v2; Wang et al. 2021, "DCN V2: Improved Deep & Cross Network"): of its input
// x0 it makes x1, x2, ...: x' = x0 * (W x + b) + x, elementwise products of growing degree. With a
// rank W is U V. The linear maps are operations of their own, "<name>.linear1" or "<name>.down1"
// (V) and "<name>.up1" (U, b); the products are "<name>.product1", the last one "<name>".
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

// y = x0 * x1 + x2.
class CrossProduct : public Layer {
 public:
  const char* type() const override { return "cross"; }
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    columns_ = args.out->shape.elements();
    dtype_ = args.out->dtype;
    LayerDecl decl;
    decl.backward_reads_inputs = 2;
    decl.gradient_in_place = true;
    decl.flops = 2.0 * static_cast<double>(columns_);
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    device_->MultiplyAdd(a.x[0], a.x[1], a.x[2], a.y, step.rows * columns_, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    const int64_t n = step.rows * columns_;
    // First: one of the others may take the place of dy.
    if (a.dx[2] && a.dx[2] != a.dy) device_->Copy(a.dx[2], a.dy, n * SizeOf(dtype_));
    device_->MultiplyAddBackward(a.x[0], a.x[1], a.dy, a.dx[0], a.dx[1], n, dtype_);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    const std::string product = graph->Node("Mul", a.name + ".mul", {a.x[0], a.x[1]});
    return graph->Node("Add", a.name, {product, a.x[2]});
  }

 private:
  Device* device_ = nullptr;
  int64_t columns_ = 0;
  Dtype dtype_ = Dtype::kF32;
};

struct CrossSpec : LayerSpec {
  int64_t layers = 3, rank = 0;
  InitOptions init;
  const char* type() const override { return "cross"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Int("layers", &layers, "Products, one after the other; each raises the degree by one.",
           Rule().Min(1).Max(100));
    f->Int("rank", &rank,
           "Of the matrices: W = U V through so many columns (fewer weights); 0: W is whole.",
           Rule().Min(0));
    init.Describe(f);
  }

  TensorId Build(NetBuilder* net, const std::string& name, TensorId x0) const override {
    if (IsImage(net->shape(x0))) {
      throw LayerError(name, "crosses columns, its input is an image ", net->shape(x0).ToString(),
                       ": put a linear or global_pool layer before it");
    }
    TensorId x = x0;
    for (int64_t i = 1; i <= layers; ++i) {
      const TensorId map = AddMap(net, name, i, x);
      const std::string step = i == layers ? name : StrCat(name, ".product", i);
      x = net->Add(step, std::make_unique<CrossProduct>(), {x0, map, x});
    }
    return x;
  }

 private:
  TensorId AddMap(NetBuilder* net, const std::string& name, int64_t i, TensorId x) const {
    LinearOptions whole;
    whole.units = net->shape(x).elements();
    whole.init = init;
    if (rank == 0) return net->Add(StrCat(name, ".linear", i), MakeLinearLayer(whole), {x});
    LinearOptions down = whole;
    down.units = rank;
    down.bias = false;
    const TensorId low = net->Add(StrCat(name, ".down", i), MakeLinearLayer(down), {x});
    return net->Add(StrCat(name, ".up", i), MakeLinearLayer(whole), {low});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeCrossSpec() { return std::make_unique<CrossSpec>(); }

}  // namespace mariana
