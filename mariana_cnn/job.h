// JobSpec: the whole of a mariana_cnn config (docs/config/mariana_cnn.md), and the parts of it that
// make two runs the same job. Plain structs; thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/data/images/image_sets.h"
#include "common/data/images/transform.h"
#include "common/nn/spec.h"
#include "common/train/import_model.h"
#include "common/train/onnx/image_model.h"
#include "common/train/plan.h"
#include "common/train/train_spec.h"

namespace mariana {

enum class DataSet { kTrain, kValid, kTest };

// `data:`
struct DataSpec {
  ImageSetSpec train, valid, test;
  ImageInputSpec input;
  TransformSpec train_transform, valid_transform;
  int64_t io_threads = 1, cpu_threads = 0;
  int64_t shuffle_window = 1 << 14;
  std::string index_folder;
  void Describe(Fields* f);
  const ImageSetSpec& set(DataSet which) const;
};

// `train:`: what every trainer has, and what images need.
struct ImageTrainSpec : TrainSpec {
  double ema = 0;
  ImportSpec import;
  void Describe(Fields* f);
  void DescribeIdentity(Fields* f);
};

// `evaluate:`
struct EvaluateSpec {
  bool flip = false;
  std::string confusion;  // TSV
  void Describe(Fields* f);
};

enum class PredictionFormat { kTsv, kJson };

// `predict:`
struct PredictSpec {
  std::string path;
  PredictionFormat format = PredictionFormat::kTsv;
  int64_t top = 5;
  void Describe(Fields* f);
};

// `features:`
struct FeaturesSpec {
  std::string layer, path;
  void Describe(Fields* f);
};

// `pack:`
struct PackSpec {
  std::string folder;
  int64_t shard_bytes = 256 << 20;
  bool shuffle = true;
  void Describe(Fields* f);
};

struct JobSpec {
  std::string name;
  int64_t seed = 1;
  std::string model;  // what evaluate, predict, features, inspect and export read
  DataSet set = DataSet::kValid;
  DataSpec data;
  NetSpec net;
  ImageTrainSpec train;
  ParallelSpec parallel;
  LogSpec log;
  PlanSpec plan;
  EvaluateSpec evaluate;
  PredictSpec predict;
  FeaturesSpec features;
  PackSpec pack;
  OnnxImageSpec onnx;
  std::string export_path;
  void Describe(Fields* f);
  // Of the outputs: classes, or numbers.
  bool has_classes() const { return net.loss == LossKind::kSoftmaxCrossEntropy; }
};

// "train", "valid", "test".
const char* NameOf(DataSet set);

// The values that --resume must find unchanged (net, data, seed, batch, optimizer, schedule), as
// YAML.
std::string JobIdentity(JobSpec* job);

}  // namespace mariana
