// JobSpec: the whole of a mariana_dnn config (docs/config/mariana_dnn.md), and the parts of it that
// make two runs the same job. Plain structs; thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/nn/spec.h"
#include "common/train/frame_data.h"
#include "common/train/plan.h"
#include "common/train/train_spec.h"

namespace mariana {

// `data:`
struct DataSpec : FrameDataSpec {
  std::string states;  // `<id> <phone> <position>` lines
  std::vector<std::string> silence_phones;
  std::string lexicon, texts;  // for "which text was said"
  void Describe(Fields* f);
};

enum class ForwardKind { kPosteriors, kLogPosteriors, kLogLikelihoods };
enum class DataSet { kTrain, kValid };

// `forward:`, `features:`, `export:`: what the verbs of those names do.
struct OutputSpec {
  DataSet set = DataSet::kValid;
  ForwardKind kind = ForwardKind::kLogLikelihoods;
  std::string ark;
  void Describe(Fields* f);
};

struct JobSpec {
  std::string name;
  int64_t seed = 1;
  std::string model;  // what evaluate, forward, inspect and export read
  DataSpec data;
  NetSpec net;
  TrainSpec train;
  ParallelSpec parallel;
  LogSpec log;
  PlanSpec plan;
  OutputSpec output;
  std::string export_path;
  void Describe(Fields* f);
};

// The values that --resume must find unchanged (net, data, seed, batch, optimizer, schedule), as
// YAML.
std::string JobIdentity(JobSpec* job);
}  // namespace mariana
