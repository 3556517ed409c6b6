// TrainMeter: what a training run counts as it goes: samples and seconds, the means since the last
// line of metrics, seconds by stage and by layer. It writes metrics.jsonl and fills the summary.
//
// Threading: OnStep runs on a worker's thread while the trainer's waits in DataParallel::Run;
// everything else is the trainer's.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/train/data_parallel.h"
#include "common/train/metrics.h"
#include "common/train/summary.h"
#include "common/train/train_state.h"

namespace mariana {

class TrainMeter {
 public:
  // `state` outlives it; its counters go on with each step. `accuracy`: whether steps tell how
  // many samples were classified correctly; `gradient_norm`: whether they tell that.
  TrainMeter(Clock* clock, TrainState* state, const LogSpec& log, bool accuracy,
             bool gradient_norm);

  // From here on (without it, on no other rank than the first: never) lines are written, after
  // those of earlier starts up to the state's step.
  void Open(const RunDirectory& run);
  bool open() const { return metrics_ != nullptr; }

  // More values of the steps since the last line, asked for when a line is written.
  using Values = std::vector<std::pair<std::string, double>>;
  void set_window_values(std::function<Values()> values) { window_values_ = std::move(values); }
  // Of what train/cpu_seconds counts; this process unless set.
  void set_cpu_seconds(std::function<double()> seconds) { cpu_seconds_ = std::move(seconds); }

  // The time until the first step, and from any other pause to the next step, is the step's.
  void StartClock() { last_ns_ = clock_->NowNs(); }
  void OnStep(const StepResult& result);
  // Many steps at once, of several workers: sums over all their samples, whose weights come to
  // `weight`. A line is written where they passed a multiple of log.every_steps.
  void OnSteps(int64_t steps, int64_t samples, double loss, double weight, double learning_rate);
  // The line of the steps since the last one, if there were any.
  void WriteWindow();
  void WriteHeldOut(const std::vector<std::pair<std::string, double>>& values);

  // Runs `f` and counts its time as `stage`.
  template <class F>
  auto Time(const std::string& stage, F f) {
    struct Timer {
      TrainMeter* meter;
      const std::string& stage;
      int64_t begin;
      ~Timer() { meter->AddTimeSince(stage, begin); }
    } timer{this, stage, clock_->NowNs()};
    return f();
  }
  void AddSeconds(const std::string& stage, double seconds) { stage_seconds_[stage] += seconds; }
  // Takes over what the workers timed since the last time.
  void TakeTimes(DataParallel* workers);

  void Fill(Summary* summary) const;
  const std::map<std::string, double>& stage_seconds() const { return stage_seconds_; }
  // Of each op, forward and backward; empty unless profiled.
  const std::vector<std::pair<double, double>>& profile() const { return profile_; }

 private:
  void AddTimeSince(const std::string& stage, int64_t begin_ns);
  void CountTime();

  Clock* clock_;
  TrainState* state_;
  LogSpec log_;
  bool accuracy_, gradient_norm_;
  std::function<double()> cpu_seconds_;
  std::function<Values()> window_values_;
  std::unique_ptr<MetricsLog> metrics_;
  struct Window {
    double loss = 0, weight = 0, gradient_norm = 0, learning_rate = 0;
    int64_t correct = 0, samples = 0, steps = 0;
  } window_;  // sums since the last line
  std::map<std::string, double> stage_seconds_;
  std::vector<std::pair<double, double>> profile_;
  double run_seconds_ = 0;  // training in this start
  int64_t run_samples_ = 0;
  int64_t last_ns_ = 0;
};

// Of all threads of this process, since it started.
double CpuSeconds();

// "  loss 1.2345  accuracy 0.6789": held-out values as a line of the run's log shows them.
std::string MetricsText(const std::vector<std::pair<std::string, double>>& values);

}  // namespace mariana
