// What trainers share of a run's state, its identity and its meter.
#include <catch2/catch.hpp>
#include <cmath>

#include "common/base/error.h"
#include "common/train/identity.h"
#include "common/train/train_meter.h"
#include "common/train/train_state.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

TrainSpec Spec(int64_t epochs, int64_t max_steps, int64_t every_steps) {
  TrainSpec spec;
  spec.epochs = epochs;
  spec.max_steps = max_steps;
  spec.checkpoint.every_steps = every_steps;
  return spec;
}

TrainState At(int64_t epoch, int64_t step_in_epoch, int64_t steps_in_epoch) {
  TrainState state;
  state.epoch = epoch;
  state.step_in_epoch = step_in_epoch;
  state.steps_in_epoch = steps_in_epoch;
  state.step = epoch * steps_in_epoch + step_in_epoch;
  return state;
}

StepResult Took(double loss, int64_t correct) {
  StepResult r;
  r.samples = 10;
  r.correct = correct;
  r.loss = loss;
  r.learning_rate = 0.5;
  return r;
}

double Find(const MetricsRow& row, const std::string& name) {
  for (const auto& [key, value] : row.values) {
    if (key == name) return value;
  }
  return std::nan("");
}

}  // namespace

TEST_CASE("Training pauses for a save, the end of the epoch or of the run, whichever is first") {
  CHECK(At(2, 3, 10).NextPause(Spec(9, 0, 0)) == 30);
  CHECK(At(2, 3, 10).NextPause(Spec(9, 0, 4)) == 24);
  CHECK(At(2, 4, 10).NextPause(Spec(9, 0, 4)) == 28);
  CHECK(At(2, 3, 10).NextPause(Spec(9, 27, 0)) == 27);
  CHECK(At(2, 3, 10).Epochs() == 2.3);
}

TEST_CASE("Epochs are left until their number, the number of steps, or a verdict ends them") {
  TrainState state = At(2, 3, 10);
  CHECK(state.EpochsLeft(Spec(3, 0, 0)));
  CHECK_FALSE(state.EpochsLeft(Spec(2, 0, 0)));
  CHECK_FALSE(state.EpochsLeft(Spec(3, 23, 0)));
  CHECK(state.EvaluationLeft());
  state.EndEpoch();  // at max_steps: the epoch is not over
  CHECK(state.epoch == 2);
  CHECK_FALSE(state.EvaluationLeft());
  state = At(2, 10, 10);
  state.EndEpoch();
  CHECK(state.epoch == 3);
  CHECK(state.step_in_epoch == 0);
  state.finished = true;
  CHECK_FALSE(state.EpochsLeft(Spec(9, 0, 0)));
}

TEST_CASE("The best result is the one with the smallest loss, or the highest accuracy asked for") {
  const TrainSpec spec = Spec(9, 0, 0);
  TrainState by_loss = At(1, 0, 10), by_accuracy = At(1, 0, 10);
  for (TrainState* state : {&by_loss, &by_accuracy}) {
    const std::string metric = state == &by_loss ? "" : "accuracy";
    CHECK(state->Observe(spec, {{"loss", 2}, {"accuracy", 0.5}}, metric).better);
    state->step = 20;
    const bool better = state->Observe(spec, {{"loss", 2.5}, {"accuracy", 0.6}}, metric).better;
    CHECK(better == (state == &by_accuracy));
    CHECK(state->last.at("loss") == 2.5);
  }
  CHECK(by_loss.best.at("loss") == 2);
  CHECK(by_loss.best_step == 10);
  CHECK(by_loss.epochs_without_gain == 1);
  CHECK(by_accuracy.best_step == 20);
}

TEST_CASE("Patience ends a run after so many epochs without a better result") {
  TrainSpec spec = Spec(9, 0, 0);
  spec.patience = 2;
  TrainState state = At(1, 0, 10);
  state.Observe(spec, {{"loss", 1}});
  CHECK(state.Observe(spec, {{"loss", 1}}).messages.empty());
  CHECK_FALSE(state.finished);
  CHECK(state.Observe(spec, {{"loss", 3}}).messages.size() == 1);
  CHECK(state.finished);
}

TEST_CASE("Newbob rolls a worse epoch back and says so") {
  TrainSpec spec = Spec(9, 0, 0);
  spec.schedule.type = ScheduleType::kNewbob;
  TrainState state = At(1, 0, 10);
  CHECK_FALSE(state.Observe(spec, {{"loss", 1}}).roll_back);
  const TrainState::Verdict verdict = state.Observe(spec, {{"loss", 2}});
  CHECK(verdict.roll_back);
  CHECK(verdict.messages.size() == 1);
}

TEST_CASE("A run's state comes back from its checkpoint, and a broken one names the file") {
  TrainState state = At(2, 3, 10);
  state.Observe(Spec(9, 0, 0), {{"loss", 1.5}});
  state.seconds = 7.25;
  const TrainState again = TrainState::FromJson(state.ToJson(), "here");
  CHECK(again.ToJson() == state.ToJson());
  CHECK_THROWS_WITH(TrainState::FromJson({{"epoch", 3}}, "here"),
                    Catch::StartsWith("here: state.json: "));
}

TEST_CASE("The first value that differs tells runs apart") {
  const std::string before =
      "seed: 1\nnet:\n  layers:\n    - type: relu\n    - type: linear\n"
      "      units: 32\n";
  const auto now = [&](const std::string& from, const std::string& to) {
    std::string text = before;
    return text.replace(text.find(from), from.size(), to);
  };
  CHECK_NOTHROW(CheckIdentity(before, before, "c"));
  CHECK(FirstChange(before, now("units: 32", "units: 16")) ==
        "net.layers.1.units was 32 and is now 16");
  CHECK(FirstChange(before, before + "more: 1\n") == "more is new");
  CHECK(FirstChange(before, now("seed: 1\n", "")) == "seed is gone");
  CHECK_THROWS_WITH(CheckIdentity(before, now("seed: 1", "seed: 2"), "step-3"),
                    Catch::StartsWith("step-3: ") && Catch::Contains("seed was 1 and is now 2"));
}

TEST_CASE("Lines of metrics are means since the last one") {
  const ScratchFolder scratch;
  const RunDirectory run(scratch.path() + "/run", false);
  TrainState state = At(0, 0, 4);
  LogSpec log;
  log.every_steps = 2;
  TrainMeter meter(Clock::Real(), &state, log, true, false);
  CHECK_FALSE(meter.open());
  meter.Open(run);
  meter.StartClock();
  meter.OnStep(Took(3, 4));
  meter.OnStep(Took(1, 8));
  meter.OnStep(Took(5, 0));
  meter.WriteWindow();
  meter.WriteWindow();  // nothing new: no line
  meter.WriteHeldOut({{"loss", 0.75}});
  const std::vector<MetricsRow> rows = ReadMetrics(run.metrics_path());
  REQUIRE(rows.size() == 3);
  CHECK(rows[0].step == 2);
  CHECK(Find(rows[0], "train/loss") == 2);
  CHECK(Find(rows[0], "train/accuracy") == 0.6);
  CHECK(Find(rows[0], "train/learning_rate") == 0.5);
  CHECK(std::isnan(Find(rows[0], "train/gradient_norm")));
  CHECK(Find(rows[1], "train/loss") == 5);
  CHECK(rows[1].epoch == 0.75);
  CHECK(Find(rows[2], "valid/loss") == 0.75);
  CHECK(state.samples == 30);

  Summary summary;
  meter.Time("save", [] {});
  meter.Fill(&summary);
  CHECK(summary.steps == 3);
  CHECK(summary.samples == 30);
  CHECK(summary.stage_seconds.count("save") == 1);
}

}  // namespace mariana
