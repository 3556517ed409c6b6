#include "common/train/train_meter.h"

#include <time.h>

#include <algorithm>
#include <cstdio>

namespace mariana {

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

TrainMeter::TrainMeter(Clock* clock, TrainState* state, const LogSpec& log, bool accuracy,
                       bool gradient_norm)
    : clock_(clock),
      state_(state),
      log_(log),
      accuracy_(accuracy),
      gradient_norm_(gradient_norm),
      cpu_seconds_(CpuSeconds) {}

void TrainMeter::Open(const RunDirectory& run) {
  metrics_ = std::make_unique<MetricsLog>(run, state_->step);
}

void TrainMeter::OnStep(const StepResult& r) {
  const auto samples = static_cast<double>(r.samples);
  window_.correct += r.correct;
  window_.gradient_norm += r.gradient_norm * static_cast<double>(r.steps);
  OnSteps(r.steps, r.samples, r.loss * samples, samples, r.learning_rate);
}

void TrainMeter::OnSteps(int64_t steps, int64_t samples, double loss, double weight,
                         double learning_rate) {
  const int64_t windows = state_->step / log_.every_steps;
  state_->step += steps;
  state_->step_in_epoch += steps;
  state_->samples += samples;
  run_samples_ += samples;
  CountTime();
  window_.loss += loss;
  window_.weight += weight;
  window_.samples += samples;
  window_.learning_rate = learning_rate;
  window_.steps += steps;
  if (state_->step / log_.every_steps > windows) WriteWindow();
}

void TrainMeter::CountTime() {
  const int64_t now = clock_->NowNs();
  const double seconds = static_cast<double>(now - last_ns_) * 1e-9;
  last_ns_ = now;
  state_->seconds += seconds;
  run_seconds_ += seconds;
}

void TrainMeter::WriteWindow() {
  if (window_.samples == 0) return;
  if (!metrics_) {  // another rank writes
    window_ = Window();
    return;
  }
  const auto samples = static_cast<double>(window_.samples);
  MetricsRow row{state_->step, state_->Epochs(), state_->samples, state_->seconds, {}};
  row.values.emplace_back("train/loss", window_.loss / window_.weight);
  if (accuracy_) {
    row.values.emplace_back("train/accuracy", static_cast<double>(window_.correct) / samples);
  }
  row.values.emplace_back("train/learning_rate", window_.learning_rate);
  row.values.emplace_back("train/cpu_seconds", cpu_seconds_());
  if (gradient_norm_) {
    row.values.emplace_back("train/gradient_norm",
                            window_.gradient_norm / static_cast<double>(window_.steps));
  }
  if (window_values_) {
    for (auto& value : window_values_()) row.values.push_back(std::move(value));
  }
  metrics_->Write(row);
  window_ = Window();
}

void TrainMeter::WriteHeldOut(const std::vector<std::pair<std::string, double>>& values) {
  if (!metrics_) return;
  MetricsRow row{state_->step, state_->Epochs(), state_->samples, state_->seconds, {}};
  for (const auto& [name, value] : values) row.values.emplace_back("valid/" + name, value);
  metrics_->Write(row);
}

void TrainMeter::AddTimeSince(const std::string& stage, int64_t begin_ns) {
  AddSeconds(stage, static_cast<double>(clock_->NowNs() - begin_ns) * 1e-9);
}

void TrainMeter::TakeTimes(DataParallel* workers) {
  const PhaseSeconds s = workers->TakePhaseSeconds();
  for (const auto& [name, seconds] : {std::pair<const char*, double>{"data", s.data},
                                      {"forward", s.forward},
                                      {"backward", s.backward},
                                      {"collect", s.collect},
                                      {"commit", s.commit},
                                      {"update", s.update}}) {
    stage_seconds_[name] += seconds;
  }
  const auto profile = workers->TakeProfile();
  profile_.resize(std::max(profile_.size(), profile.size()));
  for (size_t i = 0; i < profile.size(); ++i) {
    profile_[i].first += profile[i].first;
    profile_[i].second += profile[i].second;
  }
}

void TrainMeter::Fill(Summary* summary) const {
  summary->steps = state_->step;
  summary->samples = state_->samples;
  summary->samples_per_second =
      run_seconds_ > 0 ? static_cast<double>(run_samples_) / run_seconds_ : 0;
  summary->stage_seconds = stage_seconds_;
  summary->final = state_->last;
  summary->best = state_->best;
  summary->best_step = state_->best_step;
}

std::string MetricsText(const std::vector<std::pair<std::string, double>>& values) {
  std::string text;
  for (const auto& [name, value] : values) {
    char number[64];
    std::snprintf(number, sizeof number, " %.4f", value);
    text += "  " + name + number;
  }
  return text;
}

}  // namespace mariana
