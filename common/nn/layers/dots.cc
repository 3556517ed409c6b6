// Dot products of all pairs of vectors, the interaction of DLRM (Naumov et al. 2019, "Deep Learning
// Recommendation Model for Personalization and Recommendation Systems"). The input's columns are
// F vectors of `size`; the outputs are the F (F - 1) / 2 products of vectors i < j, in the order
// (0, 1), (0, 2), ..., (1, 2), ...
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

class Dots : public Layer {
 public:
  explicit Dots(int64_t size) : size_(size) {}
  const char* type() const override { return "dots"; }

  Shape Infer(const std::vector<Shape>& in) override {
    const int64_t columns = in[0].elements();
    vectors_ = columns / size_;
    if (IsImage(in[0]) || vectors_ * size_ != columns || vectors_ < 2) {
      throw Fail(ExitCode::kUsage, "size: its input is ", in[0].ToString(),
                 ", which is not two or more vectors of ", size_);
    }
    return Shape{Pairs()};
  }
  LayerDecl Setup(const SetupArgs& args) override {
    device_ = args.device;
    dtype_ = args.out->dtype;
    LayerDecl decl;
    decl.backward_reads_inputs = 1;
    decl.flops = 2.0 * static_cast<double>(Pairs() * size_);
    return decl;
  }
  void Forward(const StepContext& step, const LayerArgs& a) override {
    device_->Dots(a.x[0], a.y, step.rows, vectors_, size_, dtype_);
  }
  void Backward(const StepContext& step, const LayerArgs& a) override {
    device_->DotsBackward(a.x[0], a.dy, a.dx[0], step.rows, vectors_, size_, dtype_);
  }
  // All products as a matrix, then those above its diagonal.
  std::string Export(const ExportArgs& a, GraphWriter* graph) const override {
    std::vector<int64_t> above;
    for (int64_t i = 0; i < vectors_; ++i) {
      for (int64_t j = i + 1; j < vectors_; ++j) above.push_back(i * vectors_ + j);
    }
    const auto numbers = [&](const char* what, std::vector<int64_t> values) {
      const auto n = static_cast<int64_t>(values.size());
      return graph->Integers(a.name + what, Shape{n}, std::move(values));
    };
    const std::string rows = graph->Node("Reshape", a.name + ".vectors",
                                         {a.x[0], numbers(".split", {0, vectors_, size_})});
    const std::string columns = graph->Node("Transpose", a.name + ".turned", {rows},
                                            {{"perm", OpAttribute::Ints{0, 2, 1}}});
    const std::string all = graph->Node("MatMul", a.name + ".all", {rows, columns});
    const std::string flat =
        graph->Node("Reshape", a.name + ".flat", {all, numbers(".join", {0, vectors_ * vectors_})});
    return graph->Node("Gather", a.name, {flat, numbers(".above", std::move(above))},
                       {{"axis", int64_t{1}}});
  }

 private:
  int64_t Pairs() const { return vectors_ * (vectors_ - 1) / 2; }

  const int64_t size_;
  int64_t vectors_ = 0;
  Device* device_ = nullptr;
  Dtype dtype_ = Dtype::kF32;
};

struct DotsSpec : LayerSpec {
  int64_t size = 0;
  const char* type() const override { return "dots"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->Int("size", &size, "Columns of a vector.", Rule().Required().Min(1));
  }
  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    return net->Add(name, std::make_unique<Dots>(size), {x});
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeDotsSpec() { return std::make_unique<DotsSpec>(); }

}  // namespace mariana
