// Branch block: several lists of layers read the same input; their outputs are joined. Layers of
// branch 0 are named "<name>.0.linear1", or by the branch's own name in place of 0. An empty list
// passes the input on.
#include "common/nn/compile.h"
#include "common/nn/layers/layers.h"

namespace mariana {
namespace {

struct BranchArm {
  std::string name;
  LayerList layers;
  void Describe(Fields* f) {
    f->Text("name", &name, "Goes before the names of its layers; default: its index.");
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
      const BranchArm& arm = branches[i];
      net->CheckName(name, arm.name);
      const std::string scope = arm.name.empty() ? StrCat(name, ".", i) : name + "." + arm.name;
      outputs.push_back(net->AddLayers(arm.layers, scope + ".", x));
    }
    return net->Add(name, join == Join::kAdd ? MakeAddLayer() : MakeConcatLayer(), outputs);
  }
};

}  // namespace

std::unique_ptr<LayerSpec> MakeBranchSpec() { return std::make_unique<BranchSpec>(); }

}  // namespace mariana
