#include "common/train/train_state.h"

#include <algorithm>

#include "common/base/error.h"

namespace mariana {

using nlohmann::json;

bool TrainState::EpochsLeft(const TrainSpec& train) const {
  return !finished && epoch < train.epochs && (train.max_steps == 0 || step < train.max_steps);
}

double TrainState::Epochs() const {
  return static_cast<double>(epoch) +
         static_cast<double>(step_in_epoch) / static_cast<double>(steps_in_epoch);
}

int64_t TrainState::NextPause(const TrainSpec& train) const {
  int64_t pause = step - step_in_epoch + steps_in_epoch;
  if (train.max_steps > 0) pause = std::min(pause, train.max_steps);
  if (const int64_t every = train.checkpoint.every_steps; every > 0) {
    pause = std::min(pause, (step / every + 1) * every);
  }
  return pause;
}

TrainState::Verdict TrainState::Observe(const TrainSpec& train,
                                        const std::map<std::string, double>& metrics,
                                        const std::string& accuracy_metric) {
  Verdict verdict;
  last = metrics;
  const double loss = last["loss"];
  verdict.better =
      best_step == 0 || (accuracy_metric.empty() ? loss < best["loss"]
                                                 : last[accuracy_metric] > best[accuracy_metric]);
  epochs_without_gain = verdict.better ? 0 : epochs_without_gain + 1;
  if (verdict.better) {
    best = last;
    best_step = step;
  }
  if (train.schedule.type == ScheduleType::kNewbob) {
    using Newbob = NewbobState::Verdict;
    const Newbob said = newbob.Observe(train.schedule, loss);
    verdict.roll_back = said == Newbob::kReject || said == Newbob::kRejectAndStop;
    finished = said == Newbob::kStop || said == Newbob::kRejectAndStop;
    if (verdict.roll_back) {
      verdict.messages.emplace_back("newbob: worse than before; back to the best values");
    }
  }
  if (train.patience > 0 && epochs_without_gain >= train.patience) {
    finished = true;
    verdict.messages.push_back(StrCat("no better held-out ",
                                      accuracy_metric.empty() ? "loss" : accuracy_metric, " for ",
                                      train.patience, " epochs: stopping"));
  }
  return verdict;
}

void TrainState::SetHorizon(const TrainSpec& train) {
  const double given = train.schedule.horizon_epochs;
  horizon_epochs = given > 0 ? given : static_cast<double>(train.epochs);
}

void TrainState::EndEpoch() {
  evaluated_step = step;
  if (step_in_epoch == steps_in_epoch) {
    ++epoch;
    step_in_epoch = 0;
  }
}

json TrainState::ToJson() const {
  return {{"epoch", epoch},
          {"step", step},
          {"step_in_epoch", step_in_epoch},
          {"samples", samples},
          {"seconds", seconds},
          {"horizon_epochs", horizon_epochs},
          {"newbob",
           {{"factor", newbob.factor},
            {"best_loss", newbob.best_loss},
            {"started", newbob.started},
            {"halving", newbob.halving}}},
          {"epochs_without_gain", epochs_without_gain},
          {"evaluated_step", evaluated_step},
          {"best_step", best_step},
          {"best", best},
          {"last", last},
          {"finished", finished}};
}

TrainState TrainState::FromJson(const json& j, const std::string& where) {
  TrainState s;
  try {
    s.epoch = j.at("epoch");
    s.step = j.at("step");
    s.step_in_epoch = j.at("step_in_epoch");
    s.samples = j.at("samples");
    s.seconds = j.at("seconds");
    s.horizon_epochs = j.at("horizon_epochs");
    s.newbob.factor = j.at("newbob").at("factor");
    s.newbob.best_loss = j.at("newbob").at("best_loss");
    s.newbob.started = j.at("newbob").at("started");
    s.newbob.halving = j.at("newbob").at("halving");
    s.epochs_without_gain = j.at("epochs_without_gain");
    s.evaluated_step = j.at("evaluated_step");
    s.best_step = j.at("best_step");
    s.best = j.at("best").get<std::map<std::string, double>>();
    s.last = j.at("last").get<std::map<std::string, double>>();
    s.finished = j.at("finished");
  } catch (const json::exception& e) {
    throw Fail(ExitCode::kBadData, where, ": state.json: ", e.what());
  }
  return s;
}

}  // namespace mariana
