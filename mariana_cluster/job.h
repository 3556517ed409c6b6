// JobSpec: the whole of a mariana_cluster config (docs/config/mariana_cluster.md), and the parts of
// it that make two runs the same job. Plain structs; thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/data/rows/row_spec.h"
#include "common/nn/spec.h"
#include "common/nn/split_plan.h"
#include "common/train/frame_data.h"
#include "common/train/train_spec.h"
#include "mariana_cluster/model/model_spec.h"
#include "mariana_cluster/net/wire_values.h"

namespace mariana {

enum class CacheKind { kNone, kMemory };

// Parsed rows kept from the first epoch on.
struct CacheSpec {
  CacheKind kind = CacheKind::kMemory;
  int64_t memory = int64_t{1} << 30;  // of each worker; what is beyond it goes to `folder`
  std::string folder;                 // default: the run directory
  void Describe(Fields* f);
};

// `data:`
struct ClickDataSpec {
  std::string train, valid;  // files, by pattern
  RowSpec rows;
  CacheSpec cache;
  int64_t shards = 64;   // that the files are cut into; workers take turns at them
  FrameDataSpec frames;  // instead of the above
  std::string joined;    // safetensors or npy with dense features by id
  void Describe(Fields* f);
};

enum class Mode { kAsync, kSsp, kBsp };
enum class SparseAccess { kAuto, kBatched, kPerSample };

// `parallel:`
struct ClusterSpec {
  int64_t workers = 0;  // 0: one a core
  int64_t servers = 1;
  int64_t lanes = 0;       // that an epoch's data is cut into; 0: as Lanes() says
  int64_t restarts = 100;  // of processes that are killed; one more ends the job
  int64_t threads = 1;     // of a worker's dense arithmetic
  int64_t parse_threads = 1;
  int64_t groups = 0;  // workers, where each has several devices; 0: `workers` says
  int64_t split = 1;   // devices of a worker, which share its net
  std::vector<SplitChoice> layers;
  Mode mode = Mode::kAsync;
  int64_t staleness = 0;       // async: steps that a worker may be ahead of the slowest; 0: any
  bool deterministic = false;  // the same bits whatever the number of workers and servers
  int64_t blocks = 8;          // deterministic: batches between two updates of the parameters
  int64_t queue_depth = -1;    // batches between the stages of a worker; 0: one after another
  SparseAccess access = SparseAccess::kAuto;
  // Between nodes.
  WireType wire = WireType::kBf16;
  std::string interface, token_file;
  int64_t dense_rate = int64_t{8} << 20;  // bytes a second
  int64_t dense_steps = 16;               // of a worker, between two exchanges of the net; 0: any
  void Describe(Fields* f);
  SplitSpec split_spec() const { return {static_cast<int>(split), layers}; }
  // -1: what suits a worker, which may learn sample by sample.
  int64_t Depth(bool by_sample) const { return queue_depth >= 0 ? queue_depth : by_sample ? 0 : 8; }
  // Whether servers save by themselves when their agent is gone: in deterministic training they may
  // have applied half a round, and the run goes back to a checkpoint.
  bool rescues() const { return !deterministic; }
};

// `evaluate:`
struct ClickEvaluateSpec {
  bool progressive = true;  // AUC of what is predicted before each update
  int64_t importance = 0;   // rows by which the importance of each field is measured; 0: not
  void Describe(Fields* f);
};

// `output:` of predict and export.
struct ClickOutputSpec {
  std::string path;
  void Describe(Fields* f);
};

struct JobSpec {
  std::string name;
  int64_t seed = 1;
  std::string model;  // what evaluate, predict, inspect and export read
  ClickDataSpec data;
  ClickModelSpec click;
  NetSpec net;
  TrainSpec train;  // batch_size: of each worker
  ClusterSpec parallel;
  LogSpec log;
  ClickEvaluateSpec evaluate;
  ClickOutputSpec output;
  void Describe(Fields* f);
  // A net on data.frames, else a click model.
  bool trains_frames() const { return !data.frames.train.empty(); }
  const char* unit() const { return trains_frames() ? "frames" : "rows"; }  // of samples
};

// Lanes of an epoch (control/lane_queue.h), where not deterministic: as many as it says, or one a
// worker on one node, where all read what they have in their caches, and four over several, as far
// as there are shards of data. `parallel.workers` must be set.
int LaneCount(const JobSpec& job, int nodes);

// Worker processes of a node: as many as it says, or as there are cores for each of the nodes that
// share this machine.
int WorkerCount(const ClusterSpec& parallel, int sharers = 1);

// Error(kUsage) for what needs one node.
void CheckNodes(const ClusterSpec& parallel, int nodes);

// The values that --resume must find unchanged, as YAML.
std::string JobIdentity(JobSpec* job);

}  // namespace mariana
