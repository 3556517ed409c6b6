// How a run begins: data, processes, shared memory, and the values it starts or goes on with.
#include <glog/logging.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <optional>
#include <utility>

#include "common/base/error.h"
#include "common/comm/world.h"
#include "common/train/identity.h"
#include "common/train/ranks.h"
#include "mariana_cluster/block_update.h"
#include "mariana_cluster/control/node_agent.h"
#include "mariana_cluster/saved_model.h"
#include "mariana_cluster/snapshot/stored_model.h"
#include "mariana_cluster/trainer.h"

namespace mariana {
// False where there is none to go on with.
bool ClusterTrainer::FindCheckpoint() {
  if (!run_->resumed()) return false;
  std::string line;
  from_ = FindNewestCheckpoint(*run_, &line);
  auto rescued = FindRescue(*run_, [this](const std::string& what) { Say(what); });
  if (rescued && (!from_ || rescued->step > from_->step)) {
    line = StrCat("going on from ", rescued->path, ", step ", rescued->step,
                  ": saved by servers when their agent was gone",
                  from_ ? StrCat(" (the newest checkpoint is of step ", from_->step, ")") : "");
    from_ = std::move(rescued);
  }
  if (!from_) return false;
  Say(line);
  summary_->keep = true;  // until it is known to be this run
  CheckIdentity(from_->state.value("identity", ""), identity_, from_->path);
  summary_->keep = false;
  state_ = TrainState::FromJson(from_->state, from_->path);
  position_ =
      ClusterPosition::FromJson(from_->state.value("position", nlohmann::json()), from_->path);
  state_.steps_in_epoch = position_.epoch_ended
                              ? state_.step_in_epoch
                              : std::max(position_.epoch_steps, state_.step_in_epoch + 1);
  resumed_epoch_ = !position_.lanes.empty() || position_.epoch_rounds > 0;
  return true;
}

void ClusterTrainer::SetUp() {
  const Ranks& ranks = *command_line_.ranks;
  job_->parallel.workers = WorkerCount(job_->parallel, ranks.core_sharers());
  CheckNodes(job_->parallel, ranks.size());
  if (job_->data.cache.folder.empty()) job_->data.cache.folder = run_->path();
  job_->data.cache.folder = std::filesystem::absolute(job_->data.cache.folder).string();
  TrainSpec& train = job_->train;
  if (!from_) state_.SetHorizon(train);
  train.schedule.horizon_epochs = state_.horizon_epochs;
  OpenTask();
  if (job_->parallel.rescues()) {
    rescue_folder_ = std::filesystem::absolute(MakeRescueFolder(*run_)).string();
    WriteRescueOthers(rescue_folder_, task_->tensors(), task_->metadata());
  }
  StartCrew();
}

// An epoch begins, or goes on: what servers need to know, should they have to save by themselves.
void ClusterTrainer::TellRescue() {
  if (rescue_folder_.empty()) return;
  RescueState began;
  began.state = state_.ToJson();
  began.state["identity"] = identity_;
  ClusterPosition position = position_;
  position.lanes = LanesToBegin();
  began.state["position"] = position.ToJson();
  began.steps = drained_.steps;
  began.samples = drained_.samples;
  began.config_hash = config_.hash;
  try {
    WriteRescueState(rescue_folder_, began);
  } catch (const Error& e) {
    Warn(StrCat("should its agent die, this job will be had from a checkpoint alone: ",
                e.message()));
  }
}

void ClusterTrainer::OpenTask() {
  Say("opening data");
  const AgentTaskInput input{&command_line_, job_, run_, from_ ? &*from_ : nullptr,
                             [this](const std::string& line) { Say(line); }};
  task_ = job_->trains_frames() ? MakeFrameAgent(input) : MakeClickAgent(input);
  epoch_samples_ = std::max<int64_t>(0, task_->epoch_samples());
  if (!from_) {
    const int64_t batch = job_->train.batch_size;
    position_.epoch_steps = std::max<int64_t>(1, (epoch_samples_ + batch - 1) / batch);
    state_.steps_in_epoch = position_.epoch_steps;
  }
  meter_.set_window_values([this] { return task_->TakeTraining(); });
}

Crew::Listener ClusterTrainer::MakeListener() {
  Crew::Listener l;
  l.warning = [this](const std::string& what) { Warn(what); };
  l.tick = [this] {
    if (memory_.progress && meter_.open()) Drain();
    if (snapshots_) snapshots_->Tick();
  };
  l.scores = [this](const Message& m) { task_->Put(static_cast<ScoresOf>(m.number), m.body); };
  l.saved = [this](int server, const Message& m) {
    if (snapshots_) snapshots_->OnSaved(server, m);
  };
  l.trace = [this](int node, const std::string& report) { trace_.Put(node, report); };
  l.order = [this] { return trace_.Order(); };
  return l;
}

void ClusterTrainer::StartCrew() {
  crew_ = std::make_unique<Crew>(Crew::Options{static_cast<int>(job_->parallel.servers),
                                               static_cast<int>(job_->parallel.workers),
                                               job_->parallel.restarts, job_->parallel.rescues()},
                                 command_line_.ranks->world(), MakeListener());
  meter_.set_cpu_seconds([this] { return CpuSeconds() + crew_->CpuSeconds(); });
  const JobStart start{PrintConfig([this](Fields* f) { job_->Describe(f); }),
                       std::filesystem::absolute(run_->log_path()).string(),
                       {},
                       1};
  memory_.shards = crew_->StartServers(start);
  memory_.endpoints = crew_->endpoints();
  MakeMemory();
  std::optional<StoredModel> stored;
  if (from_) {
    stored.emplace(*from_);
  } else if (!job_->train.start_from.empty()) {
    stored.emplace(StoredModel::Open(job_->train.start_from));
  }
  StartValues(stored ? &*stored : nullptr);
  if (memory_.dense && crew_->nodes() > 1) {
    memory_.mirror = DenseMirror::Create(*memory_.dense, crew_->nodes(), 0);
    memory_.mirror->Start(memory_.dense->values());
  }
  crew_->StartWorkers(&memory_);
  StartRows(stored ? &*stored : nullptr);
  MakeSnapshots();
  Net* net = task_->net();
  const int64_t parameters = net == nullptr ? 0 : net->plan().parameters();
  std::string tables;
  for (const auto& shards : memory_.shards) {
    int64_t rows = 0;
    for (const auto& s : shards) rows += s->stats().rows;
    tables += StrCat(tables.empty() ? "" : ", ", shards[0]->name(), " (", rows, " rows of ",
                     shards[0]->layout().stride, " bytes)");
  }
  Say(StrCat(tables.empty() ? "" : "tables: " + tables + "; ", "dense parameters: ", parameters,
             "; ", crew_->workers(), " workers, ", crew_->servers(), " servers",
             crew_->nodes() == 1 ? "" : StrCat(" on ", crew_->nodes(), " nodes")));
}

void ClusterTrainer::MakeSnapshots() {
  Snapshots::Options o;
  o.run = run_;
  o.spec = job_->train.checkpoint;
  o.identity = identity_;
  o.servers = memory_.shards.empty() ? 0 : crew_->servers();
  o.extras = {task_->tensors(), task_->metadata()};
  if (memory_.dense) {
    o.dense = &*memory_.dense;
    o.net = task_->net();
    o.slots = OptimizerSlotNames(job_->train.optimizer);
  }
  o.ask_all = [this](const Message& m) {
    std::vector<std::string> bodies;
    for (Message& answer : crew_->AskServers(m, m.kind.c_str())) {
      bodies.push_back(std::move(answer.body));
    }
    return bodies;
  };
  o.send = [this](int server, const Message& m) { crew_->TellServer(server, m, "saved"); };
  o.warn = [this](const std::string& what) { Warn(what); };
  o.saved = [this] { RemoveRescues(*run_, rescue_folder_, false); };
  snapshots_ = std::make_unique<Snapshots>(std::move(o));
}

void ClusterTrainer::MakeMemory() {
  const ClusterSpec& p = job_->parallel;
  const int blocks = p.deterministic ? static_cast<int>(p.blocks) : 0;
  memory_.measured = task_->measured();
  memory_.progress = RunProgress::Create(crew_->own()->workers(), blocks);
  const NodeCrew& own = *crew_->own();
  MakeNodeMemory({0, crew_->nodes()}, own, &memory_);
  trace_.Watch(std::make_unique<NodeTrace>(World::ThisNode(), own.servers(), crew_->board(),
                                           &*memory_.progress, &*memory_.trace));
  Net* net = task_->net();
  const int64_t dense = net == nullptr ? 0 : net->arena_elements();
  if (dense > 0) {
    memory_.dense = DenseParameters::Create(dense, OptimizerSlots(job_->train.optimizer));
  }
  if (p.deterministic) {
    memory_.ordered = OrderedUpdates::Create(
        blocks, crew_->servers(), MostBlockBytes(job_->train.batch_size, task_->tables(), dense));
    memory_.ordered->StartAt(position_.rounds);
  }
}

// The dense ones.
void ClusterTrainer::StartValues(const StoredModel* stored) {
  const ClusterValues values{&memory_, task_->net(), &job_->train.optimizer};
  if (from_) return LoadDense(*stored, values);
  if (Net* net = task_->net()) {
    std::copy_n(net->values(), net->arena_elements(), memory_.dense->values());
  }
  if (stored == nullptr) return;
  if (!memory_.shards.empty()) ReadSavedModel(stored->newest());  // it is one
  WarmStartDense(*stored, values, [this](const std::string& line) { Say(line); });
}

// Each server reads its own.
void ClusterTrainer::StartRows(const StoredModel* stored) {
  if (stored == nullptr || memory_.shards.empty()) return;
  std::vector<std::string> loaded;
  for (Message& m : crew_->AskServers({"load", from_ ? 1 : 0, stored->Files(), {}}, "loaded")) {
    loaded.push_back(std::move(m.body));
  }
  if (from_) return;
  SayWhatWasTaken(loaded, stored->path(), [this](const std::string& line) { Say(line); });
}

}  // namespace mariana
