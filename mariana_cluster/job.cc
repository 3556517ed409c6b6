#include "mariana_cluster/job.h"

#include <algorithm>

#include "common/device/device.h"
#include "mariana_cluster/control/lane_queue.h"

namespace mariana {

void CacheSpec::Describe(Fields* f) {
  f->Choice("kind", &kind, {{"none", CacheKind::kNone}, {"memory", CacheKind::kMemory}},
            "none: the text is read and parsed in every epoch, in its order; memory: parsed rows "
            "are kept, and shuffled from the second epoch on.");
  f->Bytes("memory", &memory, "Of each worker; packed rows beyond it go to a temporary file.",
           Rule().Min(1 << 20));
  f->Path("folder", &folder, PathKind::kOutput,
          "Where the temporary file goes; default: the run directory.");
}

void ClickDataSpec::Describe(Fields* f) {
  f->Path("train", &train, PathKind::kPattern,
          "Files to learn from: a path, a pattern (*, ?, [], {a,b}), or - for standard input.");
  f->Path("valid", &valid, PathKind::kPattern,
          "Held-out files, evaluated after each epoch; or see rows.held_out.");
  f->Section("rows", &rows, "What the files hold, and what of a row becomes a feature.");
  f->Section("cache", &cache, "Parsed rows kept for the next epochs.");
  f->Int("shards", &shards, "Pieces that the files are cut into; workers take turns at them.",
         Rule().Min(1).Max(1 << 20));
  f->Path("joined", &joined, PathKind::kInput,
          "safetensors (or npy) with dense features by id, as `mariana_cnn features` writes: they "
          "stand behind the numeric fields in a net's input; needs rows.id.");
  f->Section("frames", &frames,
             "Labelled frames of speech to train `net` on, instead of click logs.");
  const bool speech = !frames.train.empty();
  f->Require(speech || !train.empty(), "train", "is needed: files to learn from (or `frames`)");
  f->Require(!speech || (train.empty() && valid.empty()), "frames",
             "excludes train and valid: a job learns from click logs or from frames");
  f->Require(!speech || frames.num_labels > 0, "frames", "num_labels: is needed");
  f->Require(valid.empty() || rows.held_out.kind == HeldOutKind::kNone, "valid",
             "and rows.held_out exclude each other: one says which rows are held out");
  f->Require(joined.empty() || !rows.id.empty(), "joined", "needs rows.id");
}

void ClusterSpec::Describe(Fields* f) {
  f->Int("workers", &workers, "Processes that compute; 0: one for each core.",
         Rule().Min(0).Max(64));
  f->Int("servers", &servers, "Processes that own the tables.", Rule().Min(1).Max(kMaxServers));
  f->Int("lanes", &lanes,
         "Parts that an epoch's data is cut into, which workers take one after another: a slow one "
         "takes fewer; 0: one a worker, over several nodes four. deterministic: see blocks.",
         Rule().Min(0).Max(LaneQueue::kMaxLanes));
  f->Int("restarts", &restarts,
         "Processes that are killed from outside are started again, so many of them; one more ends "
         "the job with exit code 77.",
         Rule().Min(0));
  f->Int("threads", &threads, "Of a worker's dense arithmetic.", Rule().Min(1).Max(1024));
  f->Int("parse_threads", &parse_threads, "Of a worker, that parse text.", Rule().Min(1).Max(64));
  f->Int("groups", &groups, "Of devices that share a net: the same as workers; 0: workers.",
         Rule().Min(0).Max(64));
  f->Int("split", &split,
         "Devices of a worker, of `threads` each: they share its net, each has a part of the "
         "layers.",
         Rule().Min(1).Max(64));
  f->List("layers", &layers, "How layers are split, where it is not to be chosen.");
  if (workers == 0) workers = groups;
  f->Require(groups == 0 || groups == workers, "groups", "and `workers` are the same");
  f->Require(split == 1 || workers > 0, "groups", "must be given with `split`");
  f->Choice("mode", &mode, {{"async", Mode::kAsync}, {"ssp", Mode::kSsp}, {"bsp", Mode::kBsp}},
            "async: workers never wait for each other (but see staleness); ssp: none is more than "
            "`staleness` steps ahead of the slowest (Ho et al. 2013); bsp: all take a step, then "
            "all take the next.");
  f->Int("staleness", &staleness,
         "Steps that a worker may be ahead of the slowest one; async: 0 is no bound.",
         Rule().Min(0));
  f->Bool("deterministic", &deterministic,
          "The same bits whatever the number of workers and servers, and after a resume: all "
          "updates of a round are applied in a fixed order, by servers.");
  f->Int("blocks", &blocks,
         "deterministic: batches whose updates make a round; more of them keep more workers busy.",
         Rule().Min(1).Max(1024));
  f->Int("queue_depth", &queue_depth,
         "Batches between the stages of a worker; 0: one stage after the other, in one thread; -1: "
         "8, but 0 where a worker learns from one sample after another (sparse_access): passing "
         "rows on to another core would cost as much as learning them.",
         Rule().Min(-1).Max(1024));
  f->Choice("sparse_access", &access,
            {{"auto", SparseAccess::kAuto},
             {"batched", SparseAccess::kBatched},
             {"per_sample", SparseAccess::kPerSample}},
            "batched: each row of a table is read and updated once a batch; per_sample: for each "
            "sample anew (slow; to measure what batching gains); auto: batched, but a model of "
            "the linear term alone with FTRL, where not deterministic, learns from one sample "
            "after another, each in one pass over its rows.");
  f->Choice("wire", &wire, {{"bf16", WireType::kBf16}, {"fp32", WireType::kF32}},
            "Several nodes: how weights and gradients travel between them.");
  f->Text(
      "interface", &interface,
      "Several nodes: the network interface (eth0), or its IPv4 address, at which servers listen "
      "for workers of other nodes; default: loopback, which nodes of one machine share.");
  f->Path("token_file", &token_file, PathKind::kInput,
          "Several nodes: a file with a secret that all nodes have and others may not read; needed "
          "where `interface` can be reached from other machines.");
  f->Bytes("dense_rate", &dense_rate,
           "Several nodes: bytes a second that a node spends on keeping the net's values alike on "
           "all nodes, sent and received.",
           Rule().Min(1 << 10));
  f->Int(
      "dense_steps", &dense_steps,
      "Several nodes: steps that a worker takes, at most, between two exchanges of the net's "
      "values; it waits for them then. Steps that others do not see yet add up: too many of them, "
      "with momentum above all, and the net overshoots. 0: as many as it comes to.",
      Rule().Min(0));
  f->Require(mode != Mode::kSsp || staleness > 0, "staleness", "must be above 0 for mode: ssp");
  f->Require(mode != Mode::kBsp || staleness == 0, "staleness", "is 0 for mode: bsp");
  f->Require(!deterministic || mode == Mode::kAsync, "mode",
             "goes without deterministic, whose rounds have an order of their own");
  f->Require(!deterministic || access != SparseAccess::kPerSample, "sparse_access",
             "must not be per_sample where deterministic is set");
}

void ClickEvaluateSpec::Describe(Fields* f) {
  f->Bool("progressive", &progressive,
          "train/auc: the AUC of what was predicted before each update, over the rows between two "
          "lines of metrics.");
  f->Int("importance", &importance,
         "Held-out rows by which the importance of each field is measured: what AUC loses when the "
         "field's values are shuffled among rows. Takes a pass over the rows for each field; "
         "0: not measured.",
         Rule().Min(0));
}

void ClickOutputSpec::Describe(Fields* f) {
  f->Path("path", &path, PathKind::kOutput,
          "The file that predict (one line a row; default: standard output) and export "
          "(.safetensors, or .tsv for text) write.");
}

void JobSpec::Describe(Fields* f) {
  train.checkpoint.may_save_changes = true;
  f->Text("name", &name, "Name of the job: the run directory is runs/<name>.", Rule().Required());
  f->Int("seed", &seed, "All random numbers follow from it.", Rule().Min(0));
  f->Path("model", &model, PathKind::kInput,
          "What evaluate, predict, export and inspect read: run directory, checkpoint or "
          ".safetensors; default: the best checkpoint of the run directory.");
  f->Section("data", &data, "Click logs and how they become samples.");
  f->Section("click", &click, "The model: its terms and sparse weights.");
  net.needed = click.has("net") || trains_frames();
  f->Section("net", &net, "The dense part, where click.terms has `net`.");
  f->Section("train", &train, "How it learns; batch_size is that of each worker.");
  f->Section("parallel", &parallel, "Processes, and how they share the parameters.");
  f->Section("log", &log, "What is written while training.");
  f->Section("evaluate", &evaluate, "What evaluation measures besides.");
  f->Section("output", &output, "What `predict` and `export` write.");
  f->Require(train.accumulate == 1, "train", "accumulate: is not for mariana_cluster");
  f->Require(
      train.schedule.type != ScheduleType::kNewbob, "train",
      "schedule.type: newbob is not for mariana_cluster; constant, step, exponential, cosine");
  f->Require(!trains_frames() || net.loss == LossKind::kSoftmaxCrossEntropy, "net",
             "loss: must be softmax_cross_entropy for data.frames, as labels are classes");
  const bool held_out = !data.frames.valid.empty() || !data.valid.empty() ||
                        data.rows.held_out.kind != HeldOutKind::kNone;
  f->Require(train.patience == 0 || held_out, "train",
             "patience: needs data.valid, data.rows.held_out or data.frames.valid");
}

namespace {

// The part of `data:` that belongs to a run's identity.
struct DataIdentity {
  ClickDataSpec* data;
  void Describe(Fields* f) {
    f->Path("train", &data->train, PathKind::kPattern, "");
    f->Section("rows", &data->rows, "");
    f->Int("shards", &data->shards, "");
    f->Choice("cache", &data->cache.kind,
              {{"none", CacheKind::kNone}, {"memory", CacheKind::kMemory}}, "");
    f->Path("joined", &data->joined, PathKind::kInput, "");
  }
};

struct TrainIdentity {
  TrainSpec* train;
  void Describe(Fields* f) { train->DescribeIdentity(f); }
};

struct ParallelIdentity {
  ClusterSpec* parallel;
  void Describe(Fields* f) {
    f->Bool("deterministic", &parallel->deterministic, "");
    if (parallel->deterministic) f->Int("blocks", &parallel->blocks, "");
  }
};

}  // namespace

std::string JobIdentity(JobSpec* job) {
  DataIdentity data{&job->data};
  TrainIdentity train{&job->train};
  ParallelIdentity parallel{&job->parallel};
  FrameDataIdentity frames{&job->data.frames};
  return PrintConfig([&](Fields* f) {
    f->Int("seed", &job->seed, "");
    if (job->trains_frames()) {
      f->Section("frames", &frames, "");
    } else {
      f->Section("data", &data, "");
      f->Section("click", &job->click, "");
    }
    f->Section("net", &job->net, "");
    f->Section("train", &train, "");
    f->Section("parallel", &parallel, "");
  });
}

int LaneCount(const JobSpec& job, int nodes) {
  if (job.parallel.lanes > 0) return static_cast<int>(job.parallel.lanes);
  const int64_t workers = nodes * job.parallel.workers;
  if (nodes == 1) return static_cast<int>(workers);
  const int64_t most = job.trains_frames() ? LaneQueue::kMaxLanes : job.data.shards;
  return static_cast<int>(std::min<int64_t>(4 * workers, most));
}

int WorkerCount(const ClusterSpec& parallel, int sharers) {
  if (parallel.workers > 0) return static_cast<int>(parallel.workers);
  return std::clamp(AvailableCores() / sharers, 1, 64);
}

void CheckNodes(const ClusterSpec& p, int nodes) {
  if (nodes == 1) return;
  const auto refuse = [&](const char* what, const char* why) {
    throw Fail(ExitCode::kUsage, "parallel.", what, " needs one node, and mpirun started ", nodes,
               ": ", why);
  };
  if (p.deterministic) refuse("deterministic", "rounds are kept in a node's shared memory");
  if (p.mode != Mode::kAsync) refuse("mode", "over nodes training is asynchronous");
  if (p.staleness > 0) refuse("staleness", "clocks are compared in a node's shared memory");
  if (p.access == SparseAccess::kPerSample) {
    refuse("sparse_access", "per_sample would be a question to another node for each value");
  }
}

}  // namespace mariana
