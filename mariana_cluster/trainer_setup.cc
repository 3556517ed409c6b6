// How a run begins: data, processes, shared memory, and the values it starts or goes on with.
#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <utility>

#include "common/base/error.h"
#include "common/data/rows/fit_numbers.h"
#include "common/train/identity.h"
#include "mariana_cluster/feed/estimate_rows.h"
#include "mariana_cluster/learner.h"
#include "mariana_cluster/trainer.h"

namespace mariana {
namespace {

constexpr int64_t kFitRows = 200'000;

}  // namespace

// False where there is none to go on with.
bool ClickTrainer::FindCheckpoint() {
  if (!run_->resumed()) return false;
  std::string line;
  from_ = FindNewestCheckpoint(*run_, &line);
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
  resumed_epoch_ = !position_.batches.empty();
  return true;
}

void ClickTrainer::SetUp() {
  job_->parallel.workers = WorkerCount(job_->parallel);
  if (job_->data.cache.folder.empty()) job_->data.cache.folder = run_->path();
  job_->data.cache.folder = std::filesystem::absolute(job_->data.cache.folder).string();
  TrainSpec& train = job_->train;
  if (!from_) {
    state_.horizon_epochs = train.schedule.horizon_epochs > 0 ? train.schedule.horizon_epochs
                                                              : static_cast<double>(train.epochs);
  }
  train.schedule.horizon_epochs = state_.horizon_epochs;
  MeasureData();
  device_ = MakeAgentDevice(command_line_.device, job_->train);
  model_ = MakeClickModel(*job_, *data_.plan, data_.joined_columns(), device_.get());
  StartCrew();
}

// What the fields measure on the training data becomes part of the model, so a resumed run takes it
// from there.
void ClickTrainer::MeasureData() {
  Say("opening data");
  if (from_) {
    job_->data.rows = ReadSavedModel(SafetensorsFile(from_->model_path()))->rows;
  } else if (NeedsFit(job_->data.rows)) {
    const ClickData raw = OpenData(job_->data, false);
    FitNumbers(*raw.train, kFitRows, &job_->data.rows);
  }
  data_ = OpenData(job_->data, true);
  const int64_t rows = EstimateRows(*data_.plan, *data_.train, data_.train_shards, RowPart::kTrain);
  epoch_samples_ = std::max<int64_t>(0, rows);
  if (!from_) {
    const int64_t batch = job_->train.batch_size;
    position_.epoch_steps = std::max<int64_t>(1, (rows + batch - 1) / batch);
    state_.steps_in_epoch = position_.epoch_steps;
  }
  DescribeTheModel();
  ClickScores::Options options;
  options.squared = job_->click.loss == ClickLoss::kSquared;
  options.groups = !job_->data.rows.group.empty();
  options.folder = job_->data.cache.folder;
  scores_ = std::make_unique<ClickScores>(options);
  progressive_ = std::make_unique<ClickScores>(ClickScores::Options());
  meter_.set_window_values([this] { return TakeProgressive(); });
  SayWhatThereIs(rows);
}

void ClickTrainer::DescribeTheModel() {
  SavedModel saved;
  saved.seed = job_->seed;
  saved.rows = job_->data.rows;
  saved.joined_columns = data_.joined_columns();
  saved.click = job_->click;
  std::swap(saved.net, job_->net);  // a net's spec cannot be copied
  model_metadata_ = DescribeModel(&saved);
  std::swap(saved.net, job_->net);
}

void ClickTrainer::SayWhatThereIs(int64_t rows) {
  const RowFiles& files = *data_.train;
  Say(StrCat("training files: ", files.size(), ", ", files.total_bytes(), " bytes, ",
             rows < 0 ? std::string("an unknown number of") : StrCat("about ", rows),
             " rows; features of ", data_.plan->FieldNames().size(), " fields, ",
             data_.plan->dense_columns() + data_.joined_columns(), " dense columns"));
}

void ClickTrainer::StartCrew() {
  crew_ = std::make_unique<Crew>(
      static_cast<int>(job_->parallel.servers), static_cast<int>(job_->parallel.workers),
      Crew::Listener{[this](const std::string& what) {
                       std::fprintf(stderr, "%s: warning: %s\n", command_line_.program.c_str(),
                                    what.c_str());
                     },
                     [this] {
                       if (memory_.progress && meter_.open()) Drain();
                     },
                     [this](int, const Message& m) {
                       const bool held_out = m.number == static_cast<int64_t>(ScoresOf::kHeldOut);
                       (held_out ? scores_ : progressive_)->Put(m.body);
                     }});
  meter_.set_cpu_seconds([this] { return CpuSeconds() + crew_->CpuSeconds(); });
  const JobStart start{PrintConfig([this](Fields* f) { job_->Describe(f); }),
                       std::filesystem::absolute(run_->log_path()).string()};
  memory_.shards = crew_->StartServers(start);
  MakeMemory();
  StartValues();
  crew_->StartWorkers(start, memory_);
  Net* net = model_->net();
  int64_t parameters = 0;
  for (size_t i = 0; net != nullptr && i < net->ops().size(); ++i) {
    parameters += net->ops()[i].parameters;
  }
  std::string tables;
  for (const auto& shards : memory_.shards) {
    int64_t rows = 0;
    for (const auto& s : shards) rows += s->stats().rows;
    tables += StrCat(tables.empty() ? "" : ", ", shards[0]->name(), " (", rows, " rows of ",
                     shards[0]->layout().stride, " bytes)");
  }
  Say(StrCat("tables: ", tables, "; dense parameters: ", parameters, "; ", crew_->workers(),
             " workers, ", crew_->servers(), " servers"));
}

void ClickTrainer::MakeMemory() {
  const ClusterSpec& p = job_->parallel;
  const int blocks = p.deterministic ? static_cast<int>(p.blocks) : 0;
  memory_.progress = RunProgress::Create(crew_->workers(), blocks);
  const Net* net = model_->net();
  const int64_t dense = net == nullptr ? 0 : net->arena_elements();
  if (dense > 0) {
    memory_.dense = DenseParameters::Create(dense, OptimizerSlots(job_->train.optimizer));
  }
  if (p.deterministic) {
    memory_.ordered = OrderedUpdates::Create(
        blocks, crew_->servers(), MostBlockBytes(job_->train.batch_size, model_->tables(), dense));
    memory_.ordered->StartAt(position_.rounds);
  }
}

void ClickTrainer::StartValues() {
  const ClusterValues values{&memory_, model_->net(), &job_->train.optimizer};
  if (from_) {
    LoadCluster(*from_, values);
    return;
  }
  if (Net* net = model_->net()) {
    std::copy_n(net->values(), net->arena_elements(), memory_.dense->values());
  }
  if (!job_->train.start_from.empty()) {
    WarmStart(job_->train.start_from, values, [this](const std::string& line) { Say(line); });
  }
}

}  // namespace mariana
