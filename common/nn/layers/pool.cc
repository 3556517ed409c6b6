// Pooling over windows of an image (max_pool, avg_pool) and over all of it (global_pool).
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"
#include "common/nn/layers/window.h"

namespace mariana {
namespace {

struct PoolOptions {
  PoolKind kind = PoolKind::kMax;
  WindowOptions window{{2}, {}};
  bool ceil_mode = false;
  bool count_padding = true;
  bool global = false;  // the window is the image, the output a column a channel
};

class Pool : public Layer {
 public:
  explicit Pool(const PoolOptions& options) : options_(options) {}
  const char* type() const override {
    if (options_.global) return "global_pool";
    return options_.kind == PoolKind::kMax ? "max_pool" : "avg_pool";
  }

  Shape Infer(const std::vector<Shape>& in) override {
    spec_.kind = options_.kind;
    spec_.in = ImageOf(in[0]);
    spec_.count_padding = options_.count_padding;
    spec_.out.channels = spec_.in.channels;
    if (options_.global) {
      spec_.window.kernel_h = spec_.window.stride_h = spec_.in.height;
      spec_.window.kernel_w = spec_.window.stride_w = spec_.in.width;
      return Shape{spec_.in.channels};
    }
    spec_.window = options_.window.Over(spec_.in);
    const Window& w = spec_.window;
    if (std::max(w.top, w.bottom) >= w.kernel_h || std::max(w.left, w.right) >= w.kernel_w) {
      throw Fail(ExitCode::kUsage,
                 "padding: must be below the kernel, or windows see nothing else");
    }
    SetExtent(w, spec_.in, options_.ceil_mode, &spec_.out);
    return ShapeOf(spec_.out);
  }

  Division division() const override { return Elementwise(); }  // channel by channel

  LayerDecl Setup(const SetupArgs& args) override {
    spec_.max_rows = args.max_rows;
    spec_.dtype = args.in[0]->dtype;
    op_ = args.device->MakePool(spec_);
    LayerDecl decl;
    decl.saved_bytes = op_->saved_bytes();
    const auto taps = static_cast<double>(spec_.window.kernel_h * spec_.window.kernel_w);
    decl.flops = taps * static_cast<double>(spec_.out.elements());
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    op_->Forward(a.x[0], a.y, a.saved, step.rows);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    op_->Backward(a.dy, a.saved, a.dx[0], step.rows);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override;

 private:
  const PoolOptions options_;
  PoolSpec spec_;
  std::unique_ptr<PoolOp> op_;
};

// ONNX's ceil_mode has changed its meaning over time, so what hangs over the end is written as
// padding. Its mean then has to leave that out but count the padding, which comes in by a Pad.
std::string Pool::Export(const ExportArgs& a, GraphWriter* graph) const {
  if (options_.global) {
    const std::string y = graph->Node("GlobalAveragePool", a.name + ".mean", {a.x[0]});
    return ExportFlat(a.in[0], a.name, y, graph);
  }
  Window w = spec_.window;
  const auto beyond = [](int64_t in, int64_t out, int64_t begin, int64_t stride, int64_t kernel) {
    return (out - 1) * stride + kernel - in - begin;
  };
  const int64_t bottom =
      std::max(w.bottom, beyond(spec_.in.height, spec_.out.height, w.top, w.stride_h, w.kernel_h));
  const int64_t right =
      std::max(w.right, beyond(spec_.in.width, spec_.out.width, w.left, w.stride_w, w.kernel_w));
  const bool overhang = bottom > w.bottom || right > w.right;
  if (options_.kind == PoolKind::kMax) {
    w.bottom = bottom;
    w.right = right;
    return graph->Node("MaxPool", a.name, a.x, WindowAttributes(w));
  }
  std::string x = a.x[0];
  const bool split = overhang && options_.count_padding;
  if (split && w.top + w.bottom + w.left + w.right > 0) {
    x = graph->Node("Pad", a.name + ".padded",
                    {x, graph->Integers(a.name + ".pads", {8},
                                        {0, 0, w.top, w.left, 0, 0, w.bottom, w.right})});
  }
  if (split) {
    w.top = w.left = 0;
    w.bottom = bottom - w.bottom;
    w.right = right - w.right;
  } else {
    w.bottom = bottom;
    w.right = right;
  }
  std::vector<OpAttribute> attributes = WindowAttributes(w);
  attributes.push_back({"count_include_pad", int64_t{options_.count_padding && !overhang}});
  return graph->Node("AveragePool", a.name, {x}, attributes);
}

struct PoolLayerSpec : LayerSpec {
  explicit PoolLayerSpec(PoolKind kind, bool global = false) {
    options.kind = kind;
    options.global = global;
  }
  PoolOptions options;
  const char* type() const override {
    if (options.global) return "global_pool";
    return options.kind == PoolKind::kMax ? "max_pool" : "avg_pool";
  }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    if (options.global) return;
    options.window.Describe(f, "Pixels from one window to the next; empty: the kernel.");
    f->Bool("ceil_mode", &options.ceil_mode,
            "Whether a last window that hangs over the end is taken too.");
    if (options.kind == PoolKind::kMax) return;
    f->Bool("count_include_pad", &options.count_padding,
            "Whether padding counts in the divisor of the mean.");
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, std::make_unique<Pool>(options), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeMaxPoolSpec() {
  return std::make_unique<PoolLayerSpec>(PoolKind::kMax);
}
std::unique_ptr<LayerSpec> MakeAvgPoolSpec() {
  return std::make_unique<PoolLayerSpec>(PoolKind::kAverage);
}
std::unique_ptr<LayerSpec> MakeGlobalPoolSpec() {
  return std::make_unique<PoolLayerSpec>(PoolKind::kAverage, /*global=*/true);
}

}  // namespace mariana
