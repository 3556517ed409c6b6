// A spec with every kind of field, for the tests and the fuzzer of common/config.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/config/fields.h"

namespace mariana {

struct SampleLayer {
  virtual ~SampleLayer() = default;
  virtual const char* type() const = 0;
  virtual void Describe(Fields* f) { f->Text("name", &name, "Its name."); }
  std::string name;
};

const std::vector<Variant<SampleLayer>>& SampleCatalog();

struct SampleLinear : SampleLayer {
  int64_t units = 0;
  bool bias = true;
  const char* type() const override { return "linear"; }
  void Describe(Fields* f) override {
    SampleLayer::Describe(f);
    f->Int("units", &units, "Outputs.", Rule().Min(1).Required());
    f->Bool("bias", &bias, "Add a bias.");
  }
};

struct SampleRelu : SampleLayer {
  const char* type() const override { return "relu"; }
};

struct SampleResidual : SampleLayer {
  std::vector<std::unique_ptr<SampleLayer>> layers;
  const char* type() const override { return "residual"; }
  void Describe(Fields* f) override {
    SampleLayer::Describe(f);
    f->Variants("layers", &layers, SampleCatalog(), "Layers to go around.", Rule().Min(1));
  }
};

inline const std::vector<Variant<SampleLayer>>& SampleCatalog() {
  static const std::vector<Variant<SampleLayer>> catalog{
      {"linear", "Wx + b.",
       []() -> std::unique_ptr<SampleLayer> { return std::make_unique<SampleLinear>(); }},
      {"relu", "max(x, 0).",
       []() -> std::unique_ptr<SampleLayer> { return std::make_unique<SampleRelu>(); }},
      {"residual", "x + f(x).",
       []() -> std::unique_ptr<SampleLayer> { return std::make_unique<SampleResidual>(); }}};
  return catalog;
}

struct SampleNet {
  std::vector<std::unique_ptr<SampleLayer>> layers;
  void Describe(Fields* f) {
    f->Variants("layers", &layers, SampleCatalog(), "From the input to the output.");
    for (const auto& layer : layers) f->Require(layer->name != "bad", "layers", "has a bad layer");
  }
};

enum class SampleRule { kSgd, kAdam };

struct SampleOptimizer {
  SampleRule rule = SampleRule::kSgd;
  double learning_rate = 0.1, momentum = 0;
  void Describe(Fields* f) {
    f->Choice("rule", &rule, {{"sgd", SampleRule::kSgd}, {"adam", SampleRule::kAdam}},
              "How values follow gradients.");
    f->Real("learning_rate", &learning_rate, "Step size.", Rule().Above(0));
    f->Real("momentum", &momentum, "Share of the last step.", Rule().Min(0).Below(1));
    f->Require(rule == SampleRule::kSgd || momentum == 0, "momentum", "is for sgd only");
  }
};

struct SampleTrain {
  int64_t epochs = 8, batch_size = 256;
  bool shuffle = true;
  double save_every = 600;
  SampleOptimizer optimizer;
  void Describe(Fields* f) {
    f->Int("epochs", &epochs, "Passes over the data.", Rule().Min(1));
    f->Int("batch_size", &batch_size, "Samples per step | all workers.",
           Rule().Min(1).Max(1048576));
    f->Bool("shuffle", &shuffle, "Mix the samples.");
    f->Seconds("save_every", &save_every, "Time between checkpoints.", Rule().Min(0));
    f->Section("optimizer", &optimizer, "How values follow gradients.");
  }
};

struct SampleSet {
  std::string name, file;
  void Describe(Fields* f) {
    f->Text("name", &name, "Its name.", Rule().Required());
    f->Path("file", &file, PathKind::kOutput, "Where it is.");
  }
};

struct SampleData {
  std::string feats, cache = "cache";
  int64_t buffer = 1 << 20;
  std::vector<int64_t> splice{-1, 0, 1};
  std::vector<double> gains;
  std::vector<std::string> phones{"sil"};
  std::vector<SampleSet> sets;
  void Describe(Fields* f) {
    f->Path("feats", &feats, PathKind::kInput, "Features.");
    f->Path("cache", &cache, PathKind::kOutput, "Where to keep decoded data.");
    f->Bytes("buffer", &buffer, "Memory to shuffle in.", Rule().Min(1));
    f->IntList("splice", &splice, "Frames side by side.", Rule().Min(-100).Max(100));
    f->RealList("gains", &gains, "Factors.");
    f->TextList("phones", &phones, "Silence phones.");
    f->List("sets", &sets, "Further sets.", Rule().Max(3));
  }
};

struct SampleJob {
  std::string name = "sample";
  SampleTrain train;
  SampleData data;
  SampleNet net;
  void Describe(Fields* f) {
    f->Text("name", &name, "Name of the job.");
    f->Section("train", &train, "The loop.");
    f->Section("data", &data, "What to learn from.");
    f->Section("net", &net, "What learns.");
  }
};

}  // namespace mariana
