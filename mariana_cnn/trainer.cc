#include "mariana_cnn/trainer.h"

#include <glog/logging.h>

#include <cstring>

#include "common/base/error.h"
#include "common/train/signals.h"
#include "mariana_cnn/image_report.h"

namespace mariana {

Trainer::Trainer(ImageJob* job, const RunDirectory* run, Summary* summary)
    : job_(job), run_(RunOptionsOf(run, summary)) {}

Trainer::~Trainer() = default;

TrainingRun::Options Trainer::RunOptionsOf(const RunDirectory* run, Summary* summary) {
  TrainingRun::Options o;
  o.command_line = &job_->command_line;
  o.job = job_->spec.name;
  o.config = job_->effective.yaml;
  o.unit = "images";
  o.train = &job_->spec.train;
  o.log = job_->spec.log;
  o.identity = JobIdentity(&job_->spec);
  o.accuracy = job_->spec.has_classes();
  o.best_by = o.accuracy ? "accuracy" : "";
  o.run = run;
  o.summary = summary;
  o.extras = [this] { return ModelExtras{{}, DescribeModel(&model_)}; };
  o.write_report = [this](const TrainFacts& facts) { WriteReport(facts); };
  return o;
}

int Trainer::Run() {
  return run_.Guard([this] { return RunToEnd(); });
}

int Trainer::RunToEnd() {
  run_.meter().Time("set_up", [this] {
    const JobSpec& spec = job_->spec;
    job_->spec.parallel.ShareOut(run_.ranks()->size());
    std::string no_gpu;
    devices_ = MakeDevices(job_->command_line.device, spec.parallel, spec.train.precision,
                           run_.ranks(), &no_gpu);
    if (!no_gpu.empty()) run_.Say(no_gpu);
    OpenData();
    MakeWorkers();
    run_.StartOrResume([this] { StartValues(); });
  });
  if (run_.DoneAlready()) return 0;
  run_.Begin();
  while (run_.Left()) {
    if (!TrainEpoch()) return run_.Stop();
    if (valid_.images && !Evaluate()) return run_.Stop();
    run_.FinishEpoch(valid_.images ? &held_out_.values : nullptr);
  }
  return Finish();
}

ImageStreamOptions Trainer::TrainStream() const {
  const JobSpec& spec = job_->spec;
  const TrainState& state = run_.state();
  ImageStreamOptions options =
      job_->StreamOptions(train_, spec.data.input, spec.data.train_transform, spec.train.compute());
  options.seed = static_cast<uint64_t>(spec.seed);
  options.epoch = state.epoch;
  options.first_step = state.step_in_epoch;
  options.batch_size = spec.train.batch_size;
  options.shuffle_window = spec.data.shuffle_window;
  options.shuffle = true;
  return options;
}

bool Trainer::TrainEpoch() {
  if (!run_.HasSteps()) return true;
  const TrainState& state = run_.state();
  ImageFeed feed(train_.images.get(), TrainStream(), state.step - state.step_in_epoch,
                 workers_.get());
  CHECK_EQ(feed.steps_in_epoch(), state.steps_in_epoch);
  return run_.TrainEpoch(&feed, [&feed] { return feed.Seconds(); });
}

bool Trainer::Evaluate() {
  run_.meter().Time("evaluate", [&] {
    run_.ranks()->set_phase("evaluate");
    workers_->WithAverages([&] { ScoreHeldOut(); });
  });
  return !run_.Stopping();
}

namespace {

// The verdicts of all ranks in the order of the set: of each step, first rank 0's. `steps`: how
// many this rank has of each.
std::vector<ImageVerdict> InOrderOfSet(Ranks* ranks, const std::vector<ImageVerdict>& mine,
                                       const std::vector<int64_t>& steps) {
  if (ranks->size() == 1) return mine;
  static_assert(std::is_trivially_copyable_v<ImageVerdict>, "it travels as bytes");
  const auto bytes = [](const auto& v) {
    return std::string(reinterpret_cast<const char*>(v.data()), v.size() * sizeof(v[0]));
  };
  std::vector<std::string> verdicts = ranks->Gather(bytes(mine));
  const std::vector<std::string> counts = ranks->Gather(bytes(steps));
  std::vector<size_t> at(verdicts.size(), 0);
  std::vector<ImageVerdict> all;
  for (size_t step = 0; step < steps.size(); ++step) {
    for (size_t r = 0; r < verdicts.size(); ++r) {
      int64_t n = 0;
      std::memcpy(&n, counts[r].data() + step * sizeof(n), sizeof(n));
      const size_t before = all.size();
      all.resize(before + static_cast<size_t>(n));
      std::memcpy(static_cast<void*>(all.data() + before), verdicts[r].data() + at[r],
                  static_cast<size_t>(n) * sizeof(ImageVerdict));
      at[r] += static_cast<size_t>(n) * sizeof(ImageVerdict);
    }
  }
  return all;
}

}  // namespace

// Each rank reads and scores its part of every batch.
void Trainer::ScoreHeldOut() {
  const JobSpec& spec = job_->spec;
  ImageStreamOptions options =
      job_->StreamOptions(valid_, model_.image, model_.transform, spec.train.compute());
  options.batch_size = spec.train.batch_size;
  ImageStream stream(valid_.images.get(), OfThisRank(options, workers_.get(), 1));
  run_.progress().Begin("evaluate", valid_.images->size(), "images");
  held_out_ = EvaluationResult();
  std::vector<ImageVerdict> mine;
  std::vector<int64_t> steps;
  std::vector<std::vector<ImageVerdict>> verdicts(scorers_.size());
  ImageBatch batch;
  int64_t images = 0;
  // Ranks that share a model stop at the same batch.
  const bool together = !workers_->options().whole_here();
  const auto stop = [&] { return together ? run_.ranks()->Any(StopRequested()) : StopRequested(); };
  while (!stop() && stream.Next(&batch)) {
    workers_->OnAll("evaluate", [&](int local) {
      const auto i = static_cast<size_t>(local);
      const DataParallelOptions& o = workers_->options();
      const int worker = o.first() + local;
      const Share share = DealOut(batch.whole_rows, 1, o.groups())[o.group_of(worker)];
      const int64_t begin = batch.RowOf(share.begin);  // broken images are left out
      const int64_t rows = batch.RowOf(share.begin + share.rows) - begin;
      verdicts[i].clear();
      if (rows > 0) scorers_[i]->Score(batch, begin, rows, &verdicts[i]);
      if (o.part_of(worker) > 0) verdicts[i].clear();  // the same as the group's first
    });
    const size_t before = mine.size();
    for (const auto& part : verdicts) mine.insert(mine.end(), part.begin(), part.end());
    steps.push_back(static_cast<int64_t>(mine.size() - before));
    images += batch.whole_rows;
    run_.progress().Update(images, {});
  }
  run_.progress().End();
  if (run_.Stopping()) return;
  held_out_.verdicts = InOrderOfSet(run_.ranks(), mine, steps);
  held_out_.bad_images =
      valid_.left_out + valid_.images->size() - static_cast<int64_t>(held_out_.verdicts.size());
  held_out_.values = ScoreVerdicts(held_out_.verdicts, spec.net.loss, model_.num_outputs);
}

// A run that was killed after its last save has been evaluated, but not in this start.
int Trainer::Finish() {
  if (valid_.images && held_out_.verdicts.empty() && !Evaluate()) return run_.Stop();
  std::string text = "done\n";
  if (valid_.images) {
    const TrainState& state = run_.state();
    text = StrCat("held out, after the last epoch:\n", FormatEvaluation(held_out_),
                  "best, after step ", state.best_step, ":",
                  MetricsText({state.best.begin(), state.best.end()}), "\n");
  }
  run_.Finish(text);
  return 0;
}

void Trainer::WriteReport(const TrainFacts& facts) {
  ImageReportInput report;
  report.facts = facts;
  report.model = &model_;
  report.loss = job_->spec.net.loss;
  report.valid = valid_.images.get();
  report.held_out = &held_out_;
  report.bad_images = train_.bad();
  WriteImageReport(report);
}

}  // namespace mariana
