// TrainState: where a training run stands; state.json of its checkpoints. A value type.
#pragma once

#include <cstdint>
#include <map>
#include <nlohmann/json.hpp>
#include <string>

#include "common/optim/optimizer.h"

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

  nlohmann::json ToJson() const;
  static TrainState FromJson(const nlohmann::json& j, const std::string& where);
};

}  // namespace mariana
