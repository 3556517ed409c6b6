#include "common/train/train_checkpoint.h"

#include <optional>
#include <utility>

#include "common/train/identity.h"

namespace mariana {

void SaveTraining(const RunDirectory& run, const DataParallel& workers, const TrainState& state,
                  const std::string& identity, const CheckpointSpec& spec, bool best,
                  ModelExtras extras) {
  Checkpoint c;
  c.step = state.step;
  c.model = workers.SaveModel();
  for (HostTensor& t : extras.tensors) c.model.push_back(std::move(t));
  c.model_metadata = std::move(extras.metadata);
  c.optimizer = workers.SaveOptimizer();
  c.state = state.ToJson();
  c.state["identity"] = identity;
  SaveOptions options;
  options.keep_last = static_cast<int>(spec.keep);
  options.best = best;
  if (state.best_step > 0) options.pinned.push_back(state.best_step);
  SaveCheckpoint(run, c, options);
}

bool ResumeTraining(const RunDirectory& run, const std::string& identity, DataParallel* workers,
                    TrainState* state, Summary* summary,
                    const std::function<void(const std::string&)>& say) {
  if (!run.resumed()) return false;
  std::string line;
  const std::optional<Checkpoint> checkpoint = LoadNewestCheckpoint(run, &line);
  if (!checkpoint) return false;
  say(line);
  const std::string where = run.checkpoint_path(checkpoint->step);
  summary->keep = true;  // until it is known to be this run
  CheckIdentity(checkpoint->state.value("identity", ""), identity, where);
  summary->keep = false;
  const int64_t steps_in_epoch = state->steps_in_epoch;
  *state = TrainState::FromJson(checkpoint->state, where);
  state->steps_in_epoch = steps_in_epoch;
  workers->LoadModel(checkpoint->model, where);
  workers->LoadOptimizer(checkpoint->optimizer, where);
  workers->set_steps_done(state->step);
  return true;
}

void RollBack(const RunDirectory& run, const TrainState& state, DataParallel* workers) {
  const Checkpoint best = LoadCheckpoint(run, state.best_step);
  const std::string where = run.checkpoint_path(best.step);
  workers->LoadModel(best.model, where);
  workers->LoadOptimizer(best.optimizer, where);
}

}  // namespace mariana
