// JobSpec: the whole of a mariana_dnn config (docs/CONFIG.md), and the parts of it that make two
// runs the same job. Plain structs; thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/comm/exchange.h"
#include "common/config/config.h"
#include "common/data/corpus.h"
#include "common/nn/spec.h"
#include "common/optim/optimizer.h"
#include "common/train/parallel.h"

namespace mariana {

// Frames around the labelled one that the net sees.
struct ContextSpec {
  int64_t left = 5, right = 5;
  void Describe(Fields* f);
};

// `data:`
struct DataSpec {
  UtteranceSetSpec train, valid;
  FeatureSpec features;
  ReadPolicy policy;
  ContextSpec context;
  std::string states;  // `<id> <phone> <position>` lines
  std::vector<std::string> silence_phones;
  int64_t num_labels = 0;  // needed without `states`
  int64_t block_frames = 1 << 18;
  int64_t reader_threads = 1;
  std::string lexicon, texts;  // for "which text was said"
  void Describe(Fields* f);
};

struct CheckpointSpec {
  int64_t every_steps = 0;
  int64_t every_epochs = 1;
  int64_t keep = 2;
  void Describe(Fields* f);
};

// `train:`
struct TrainSpec {
  int64_t epochs = 10;
  int64_t max_steps = 0;
  int64_t batch_size = 256;
  int64_t accumulate = 1;
  Precision precision = Precision::kFp32;
  OptimizerSpec optimizer;
  ScheduleSpec schedule;
  CheckpointSpec checkpoint;
  int64_t patience = 0;    // early stopping: epochs without a better held-out loss
  std::string start_from;  // model to start the values from
  void Describe(Fields* f);
};

// `log:`
struct LogSpec {
  int64_t every_steps = 50;
  bool profile = false;
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
  OutputSpec output;
  std::string export_path;
  void Describe(Fields* f);
};

// The values that --resume must find unchanged (net, data, seed, batch, optimizer, schedule), as
// YAML.
std::string JobIdentity(JobSpec* job);
// The first difference of two of them: "train.batch_size was 256 and is now 128".
std::string FirstChange(const std::string& before, const std::string& now);

}  // namespace mariana
