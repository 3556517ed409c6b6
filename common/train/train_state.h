// TrainState: where a training run stands, and what follows from that: how far to train, whether a
// held-out result is the best, when to roll back or stop. state.json of its checkpoints. A value
// type.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "common/optim/optimizer.h"
#include "common/train/train_spec.h"

namespace mariana {

// What a checkpoint keeps beside values and optimizer state.
struct TrainState {
  int64_t epoch = 0;          // being trained, from 0
  int64_t step = 0;           // done in all
  int64_t step_in_epoch = 0;  // done; all of an epoch's when only its evaluation is missing
  int64_t samples = 0;
  double seconds = 0;         // of training, over all starts
  double horizon_epochs = 0;  // the schedule's, from the first start
  NewbobState newbob;
  int64_t epochs_without_gain = 0;
  int64_t evaluated_step = 0;  // after which the last epoch (or last part of one) was finished
  int64_t best_step = 0;       // 0: nothing evaluated yet
  std::map<std::string, double> best, last;  // held-out metrics
  bool finished = false;                     // newbob or patience ended it
  int64_t steps_in_epoch = 1;                // of the data; not saved

  bool EpochsLeft(const TrainSpec& train) const;
  bool EvaluationLeft() const { return evaluated_step < step; }
  double Epochs() const;  // done, with the share of the current one
  // The step to train to before something else is due: a save, the end of the epoch, of the run.
  int64_t NextPause(const TrainSpec& train) const;

  // Takes in held-out metrics, "loss" among them. The best ones are those with the largest
  // `accuracy_metric`, or, where that is empty, with the smallest loss; newbob follows the loss.
  struct Verdict {
    bool better = false;     // than all before
    bool roll_back = false;  // newbob: back to the best values
    std::vector<std::string> messages;
  };
  Verdict Observe(const TrainSpec& train, const std::map<std::string, double>& metrics,
                  const std::string& accuracy_metric = "");
  // Of a first start: the schedule's own horizon, or the epochs to train.
  void SetHorizon(const TrainSpec& train);
  // The epoch (or the last part of one) is trained and evaluated.
  void EndEpoch();

  nlohmann::json ToJson() const;
  static TrainState FromJson(const nlohmann::json& j, const std::string& where);
};

}  // namespace mariana
