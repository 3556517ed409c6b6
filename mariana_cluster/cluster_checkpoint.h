// A cluster job's checkpoints read: tables and dense parameters from disk into shared memory, and
// where the reading stood (snapshot/snapshots.h writes them). Rows are streamed. Nobody changes the
// parameters meanwhile.
// Free functions and plain values.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/train/checkpoint.h"
#include "common/train/train_checkpoint.h"
#include "common/train/train_state.h"
#include "mariana_cluster/job_memory.h"
#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/snapshot/stored_model.h"

namespace mariana {

// Where the reading of an epoch stands, beside TrainState.
struct ClusterPosition {
  std::vector<LanePosition> lanes;  // of the epoch; none: it has not begun. Not deterministic
  int64_t epoch_rounds = 0;         // deterministic: done of the epoch
  int64_t samples = 0;              // done of the epoch
  bool epoch_ended = false;         // only its evaluation is missing
  int64_t epoch_steps = 1;  // that the schedule counts with: as estimated at the first start
  int64_t rounds = 0;       // deterministic: done in all
  nlohmann::json ToJson() const;
  static ClusterPosition FromJson(const nlohmann::json& j, const std::string& where);
};

// The model's and its optimizer's values. `net` is anyone's of the job: it knows the arena's
// layout, its own values are not touched; null where there is none.
struct ClusterValues {
  JobMemory* memory = nullptr;
  Net* net = nullptr;
  const OptimizerSpec* optimizer = nullptr;
};

// ---- servers: rows into empty shards, of StoredModel::Files. `exact`: as they were, else the
// weights alone, where they fit. Body of "loaded"; throws Error(kBadData).
std::string LoadRows(const std::string& files, bool exact,
                     const std::vector<std::shared_ptr<TableShard>>& shards);

// ---- the agent
// Throws Error(kBadData).
void LoadDense(const StoredModel& model, const ClusterValues& values);
// Starts with the parameters of another model, where they have the same names and fit; the rest
// stays as it is. Lines of what was taken and what was not go to `say`.
void WarmStartDense(const StoredModel& model, const ClusterValues& values,
                    const std::function<void(const std::string&)>& say);
// The same of tables, from what servers answered.
void SayWhatWasTaken(const std::vector<std::string>& loaded, const std::string& from,
                     const std::function<void(const std::string&)>& say);

}  // namespace mariana
