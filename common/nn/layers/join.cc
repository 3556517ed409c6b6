// Operations that blocks end in: add and concat; and convert, which ends a bf16 net.
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

// y = x0 + x1 + ...
class AddLayer : public Layer {
 public:
  const char* type() const override { return "add"; }
  bool is_add() const override { return true; }
  Division division() const override { return Elementwise(); }

  Shape Infer(const std::vector<Shape>& in) override {
    for (const Shape& s : in) {
      if (s != in[0]) {
        throw Fail(ExitCode::kUsage, "adds outputs of different shapes, ", in[0].ToString(),
                   " and ", s.ToString(), ": make them equal, or join them by concat");
      }
    }
    return in[0];
  }
  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    columns_ = args.out->shape.elements();
    dtype_ = args.out->dtype;
    LayerDecl decl;
    decl.gradient_in_place = true;
    decl.flops = static_cast<double>(columns_) * static_cast<double>(args.in.size() - 1);
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    const int64_t n = step.rows * columns_;
    device_->Add(a.x[0], a.x[1], a.y, n, dtype_);
    for (size_t i = 2; i < a.x.size(); ++i) device_->Add(a.y, a.x[i], a.y, n, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    for (void* dx : a.dx) {
      if (dx && dx != a.dy) device_->Copy(dx, a.dy, step.rows * columns_ * SizeOf(dtype_));
    }
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    std::string y = a.x[0];
    for (size_t i = 1; i < a.x.size(); ++i) {
      const bool last = i + 1 == a.x.size();
      y = graph->Node("Add", last ? a.name : StrCat(a.name, ".sum", i), {y, a.x[i]});
    }
    return y;
  }

 private:
  Device* device_ = nullptr;
  int64_t columns_ = 0;
  Dtype dtype_ = Dtype::kF32;
};

// y = [x0, x1, ...] along the columns, or the channels of images of one height and width.
class ConcatLayer : public Layer {
 public:
  const char* type() const override { return "concat"; }

  Shape Infer(const std::vector<Shape>& in) override {
    for (const Shape& s : in) {
      if (IsImage(s) != IsImage(in[0]) || (IsImage(s) && (s[0] != in[0][0] || s[1] != in[0][1]))) {
        throw Fail(ExitCode::kUsage, "joins ", in[0].ToString(), " and ", s.ToString(),
                   ": images [height, width, channels] must be of one height and width");
      }
      widths_.push_back(ChannelsOf(s));
      columns_ += widths_.back();
    }
    pixels_ = PixelsOf(in[0]);
    return IsImage(in[0]) ? Shape{in[0][0], in[0][1], columns_} : Shape{columns_};
  }
  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    dtype_ = args.out->dtype;
    return {};
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    int64_t column = 0;
    for (size_t i = 0; i < a.x.size(); column += widths_[i++]) {
      device_->CopyColumns(a.x[i], widths_[i], 0, a.y, columns_, column, step.rows * pixels_,
                           widths_[i], dtype_);
    }
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    int64_t column = 0;
    for (size_t i = 0; i < a.dx.size(); column += widths_[i++]) {
      if (!a.dx[i]) continue;
      device_->CopyColumns(a.dy, columns_, column, a.dx[i], widths_[i], 0, step.rows * pixels_,
                           widths_[i], dtype_);
    }
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    std::vector<std::string> x;
    for (size_t i = 0; i < a.x.size(); ++i) {
      x.push_back(a.out.rank() > 1 ? a.x[i] : ExportFlat(a.in[i], a.name + ".flat", a.x[i], graph));
    }
    return graph->Node("Concat", a.name, x, {{"axis", int64_t{1}}});
  }

 private:
  Device* device_ = nullptr;
  std::vector<int64_t> widths_;
  int64_t columns_ = 0, pixels_ = 1;
  Dtype dtype_ = Dtype::kF32;
};

class ConvertLayer : public Layer {
 public:
  const char* type() const override { return "convert"; }
  Division division() const override { return Elementwise(); }
  Shape Infer(const std::vector<Shape>& in) override { return in[0]; }

  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    columns_ = args.out->shape.elements();
    from_ = args.in[0]->dtype;
    to_ = args.out->dtype;
    return {};
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    device_->Convert(a.x[0], from_, a.y, to_, step.rows * columns_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    device_->Convert(a.dy, to_, a.dx[0], from_, step.rows * columns_);
  }
  std::string Export(const ExportArgs& a, GraphWriter*) const override { return a.x[0]; }

 private:
  Device* device_ = nullptr;
  int64_t columns_ = 0;
  Dtype from_ = Dtype::kF32, to_ = Dtype::kF32;
};

}  // namespace

std::unique_ptr<Layer> MakeAddLayer() { return std::make_unique<AddLayer>(); }
std::unique_ptr<Layer> MakeConcatLayer() { return std::make_unique<ConcatLayer>(); }
std::unique_ptr<Layer> MakeConvertLayer() { return std::make_unique<ConvertLayer>(); }

}  // namespace mariana
