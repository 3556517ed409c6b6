// A training run into its checkpoints and back: what every program saves of its workers and its
// state, beside what is its own. Rank 0 writes and reads; the others, where `run` is null, give it
// their part and get theirs from it. Free functions; called between steps, on all ranks.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/train/checkpoint.h"
#include "common/train/data_parallel.h"
#include "common/train/summary.h"
#include "common/train/train_state.h"

namespace mariana {

// What a run says of itself beside the workers' values.
struct ModelExtras {
  std::vector<HostTensor> tensors;  // not the net's
  Metadata metadata;
};

// `best`: the link `best` moves there. `identity`: see identity.h.
void SaveTraining(const RunDirectory* run, const DataParallel& workers, const TrainState& state,
                  const std::string& identity, const CheckpointSpec& spec, bool best,
                  ModelExtras extras);

// Goes on with the newest checkpoint of a resumed run; false where there is none to go on with, and
// the workers are as they were. Throws Error(kUsage), leaving `summary` as it is on disk, where the
// run is another one (CheckIdentity). `say` gets a line that tells which checkpoint it is.
bool ResumeTraining(const RunDirectory* run, const std::string& identity, DataParallel* workers,
                    TrainState* state, Summary* summary,
                    const std::function<void(const std::string&)>& say);

// What `read` gives on rank 0, on all ranks.
std::vector<HostTensor> TensorsFromFirst(Ranks* ranks,
                                         const std::function<std::vector<HostTensor>()>& read);

// Values and optimizer state of the best checkpoint; step count and schedule go on.
void RollBack(const RunDirectory* run, const TrainState& state, DataParallel* workers);

}  // namespace mariana
