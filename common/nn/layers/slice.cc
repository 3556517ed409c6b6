// Slice: some of the input's columns, side by side. With `branch` it splits the input between
// towers: a DLRM's bottom layers take the numbers, its `dots` the embeddings.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

class Slice : public Layer {
 public:
  Slice(int64_t begin, int64_t size) : begin_(begin), size_(size) {}
  const char* type() const override { return "slice"; }

  Shape Infer(const std::vector<Shape>& in) override {
    in_ = in[0].elements();
    if (IsImage(in[0])) {
      throw Fail(ExitCode::kUsage, "takes columns, its input is an image ", in[0].ToString());
    }
    if (begin_ + size_ > in_) {
      throw Fail(ExitCode::kUsage, "begin, size: columns ", begin_, " to ", begin_ + size_ - 1,
                 " of an input of ", in_);
    }
    return Shape{size_};
  }
  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    dtype_ = args.in[0]->dtype;
    return {};
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    device_->CopyColumns(a.x[0], in_, begin_, a.y, size_, 0, step.rows, size_, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    device_->PlaceColumns(a.dy, a.dx[0], in_, begin_, step.rows, size_, dtype_);
  }
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    const auto number = [&](const char* what, int64_t v) {
      return graph->Integers(a.name + what, Shape{1}, {v});
    };
    return graph->Node(
        "Slice", a.name,
        {a.x[0], number(".begin", begin_), number(".end", begin_ + size_), number(".axis", 1)});
  }

 private:
  const int64_t begin_, size_;
  int64_t in_ = 0;
  Device* device_ = nullptr;
  Dtype dtype_ = Dtype::kF32;
};

struct SliceSpec : LayerSpec {
  int64_t begin = 0, size = 0;
  const char* type() const override { return "slice"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Int("begin", &begin, "The first column, counted from 0.", Rule().Min(0));
    f->Int("size", &size, "Columns.", Rule().Required().Min(1));
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, std::make_unique<Slice>(begin, size), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeSliceSpec() { return std::make_unique<SliceSpec>(); }

}  // namespace mariana
