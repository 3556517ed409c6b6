// Fully connected layer: y = activation(x W^T + b), W is [units, inputs].
#include <vector>

#include "common/nn/compile.h"
#include "common/nn/layers/affine.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

// Plain weights of an image [height, width, channels] go by PyTorch's flattening, (channel, height,
// width); the device's by the image's own.
class ColumnOrder {
 public:
  explicit ColumnOrder(const Shape& in) : pixels_(PixelsOf(in)), channels_(ChannelsOf(in)) {}
  bool same() const { return pixels_ == 1 || channels_ == 1; }

  // plain -> image order, and back.
  std::vector<float> FromPlain(const float* plain, int64_t rows) const {
    std::vector<float> w(static_cast<size_t>(rows * pixels_ * channels_));
    Transpose(plain, rows, channels_, pixels_, w.data());
    return w;
  }
  void ToPlain(const float* w, int64_t rows, float* plain) const {
    Transpose(w, rows, pixels_, channels_, plain);
  }

 private:
  // Each row holds a matrix [a, b], to become [b, a].
  static void Transpose(const float* from, int64_t rows, int64_t a, int64_t b, float* to) {
    for (int64_t r = 0; r < rows; ++r, from += a * b, to += a * b) {
      for (int64_t i = 0; i < a; ++i) {
        for (int64_t j = 0; j < b; ++j) to[j * a + i] = from[i * b + j];
      }
    }
  }
  int64_t pixels_, channels_;
};

class Linear : public AffineLayer {
 public:
  explicit Linear(const LinearOptions& options)
      : AffineLayer(options.activation, options.bias), options_(options) {}
  const char* type() const override { return "linear"; }

  Shape Infer(const std::vector<Shape>& in) override {
    if (options_.units <= 0) {
      throw Fail(ExitCode::kUsage, "units: 0 takes the number of outputs that the data needs, ",
                 "but this data needs none: give the number of units");
    }
    if (part_.whole_out == 0) {
      const int64_t channels = ChannelsOf(in[0]);
      part_ = {{0, channels}, {0, options_.units}, channels, options_.units};
    }
    return Shape{options_.units};
  }

  Division division() const override {
    Division can;
    can.outputs = can.inputs = true;
    return can;
  }
  // Of a layer split by rows, the first worker has the bias.
  void Keep(const LayerPart& part) override {
    part_ = part;
    options_.units = part.out.size();
    bias_ = bias_ && part.in.begin == 0;
  }

  LayerDecl Setup(const SetupArgs& args) override {
    LinearSpec spec;
    FillSpec(args, &spec);
    spec.in = args.in[0]->shape.elements();
    spec.out = options_.units;
    op_ = args.device->MakeLinear(spec);
    return Declare(WeightDecl(spec, args.in[0]->shape), part_,
                   2.0 * static_cast<double>(spec.in) * static_cast<double>(spec.out));
  }

  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    std::vector<std::string> inputs = {ExportFlat(a.in[0], a.name + ".flat", a.x[0], graph)};
    inputs.insert(inputs.end(), a.w.begin(), a.w.end());
    const bool last = activation_ == Activation::kNone;
    const std::string y =
        graph->Node("Gemm", last ? a.name : a.name + ".sum", inputs, {{"transB", int64_t{1}}});
    return ExportActivation(activation_, a.name, y, graph);
  }

 private:
  ParamDecl WeightDecl(const LinearSpec& spec, const Shape& in) const {
    const AffineOp* op = op_.get();
    const int64_t pixels = PixelsOf(in);  // a channel has so many columns, side by side
    const Shape whole{part_.whole_out, part_.whole_in * pixels};
    ParamDecl weight =
        WeightOf(op, Shape{spec.out, spec.in}, options_.init.ForFans(whole[1], whole[0]));
    weight.part = part_.out.size() < part_.whole_out ? ParamPart{whole, 0, part_.out.begin}
                                                     : ParamPart{whole, 1, part_.in.begin * pixels};
    const ColumnOrder order(in);
    if (order.same()) return weight;
    weight.pack = [op, order, rows = spec.out](const float* plain, float* packed) {
      op->PackWeights(order.FromPlain(plain, rows).data(), packed);
    };
    weight.unpack = [op, order, rows = spec.out, n = spec.in](const float* packed, float* plain) {
      std::vector<float> w(static_cast<size_t>(rows * n));
      op->UnpackWeights(packed, w.data());
      order.ToPlain(w.data(), rows, plain);
    };
    return weight;
  }

  LinearOptions options_;
  LayerPart part_;
};

struct LinearLayerSpec : LayerSpec {
  LinearOptions options;
  const char* type() const override { return "linear"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Int("units", &options.units, "Outputs; 0: as many as the data needs.", Rule().Min(0));
    f->Choice("activation", &options.activation, ActivationNames(), "Applied to the outputs.");
    f->Bool("bias", &options.bias, "Whether a bias is added (it starts at zero).");
    options.init.Describe(f);
  }

  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    LinearOptions o = options;
    if (o.units == 0) o.units = net->options().outputs;
    return net->Add(name, MakeLinearLayer(o), {x});
  }
};

}  // namespace

std::unique_ptr<Layer> MakeLinearLayer(const LinearOptions& options) {
  return std::make_unique<Linear>(options);
}
std::unique_ptr<LayerSpec> MakeLinearSpec() { return std::make_unique<LinearLayerSpec>(); }

}  // namespace mariana
