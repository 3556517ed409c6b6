// Branch block: several lists of layers read the same input; their outputs are joined. Layers of
// branch 0 are named "<name>.0.linear1". An empty list passes the input on.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

struct BranchArm {
  LayerList layers;
  void Describe(Fields* f) {
    f->Variants("layers", &layers, LayerCatalog(), "One after the other; empty: the input itself.");
  }
};

enum class Join { kConcat, kAdd };

struct BranchSpec : LayerSpec {
  std::vector<BranchArm> branches;
  Join join = Join::kConcat;
  const char* type() const override { return "branch"; }

  void Describe(Fields* f) override {
    LayerSpec::Describe(f);
    f->List("branches", &branches, "Lists of layers over the same input.",
            Rule().Required().Min(2));
    f->Choice("join", &join, {{"concat", Join::kConcat}, {"add", Join::kAdd}},
              "How their outputs are joined.");
  }

  TensorId Build(NetBuilder* net, const std::string& name, TensorId x) const override {
    std::vector<TensorId> outputs;
    for (size_t i = 0; i < branches.size(); ++i) {
      const std::string scope = StrCat(name, ".", i, ".");
      outputs.push_back(net->AddLayers(branches[i].layers, scope, x));
    }
    return net->Add(name, join == Join::kAdd ? MakeAddLayer() : MakeConcatLayer(), outputs);
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeBranchSpec() { return std::make_unique<BranchSpec>(); }

}  // namespace mariana
