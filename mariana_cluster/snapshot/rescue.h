// Rescue: what servers save by themselves when the agent of their node has died, or has given the
// job up. They outlive it: rows and parameters are in their memory, as no worker that dies in mid
// batch takes them along. A folder for each start of a run, RUN_DIR/rescue/00000003/:
//
//   began.json, others.safetensors    by the agent, before training: what it alone knows
//   model-00001-of-00002.safetensors  ...  optimizer-..., saved-00001-of-00002.json: by servers
//   .alive                            locked by servers while they live
//   state.json, manifest.json         by whichever server is the last: then it is a checkpoint
//
// The position: batches done of each lane of data, as the nodes' shared memory has it once their
// workers are gone, and the steps and samples since the agent wrote. Batches that a worker was in
// when it was killed count as not done, and their updates are there in part; updates on their way
// to another node are lost. A server that was killed, or a node that is gone, leaves the folder
// without a manifest: --resume names it and passes it over. Full disks, kills at any moment: the
// same.
//
// Free functions; the agent's and a server's own thread.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/train/checkpoint.h"
#include "mariana_cluster/snapshot/snapshot_writer.h"

namespace mariana {

// ---- the agent
// The folder of this start, empty.
std::string MakeRescueFolder(const RunDirectory& run);
// What the model has beside tables and parameters.
void WriteRescueOthers(const std::string& folder, const std::vector<HostTensor>& tensors,
                       const Metadata& metadata);
// An epoch begins or goes on. `state` and `position`: as in a checkpoint's state.json, `steps` and
// `samples`: what shared memory has counted by then, of all nodes; `config_hash`: for summary.json.
struct RescueState {
  nlohmann::json state;
  int64_t steps = 0, samples = 0;
  std::string config_hash;
};
void WriteRescueState(const std::string& folder, const RescueState& state);
// Removes those of earlier starts; with `own`, this one's (an absolute path), too.
void RemoveRescues(const RunDirectory& run, const std::string& own_folder, bool own);
// The newest that is whole. Waits for servers that still write one. `say`: of one that is not.
std::optional<CheckpointFolder> FindRescue(const RunDirectory& run,
                                           const std::function<void(const std::string&)>& say);

// ---- a server
// What its node's shared memory counted.
struct NodeProgress {
  int node = 0;
  int64_t epoch = 0;                            // that servers were told of last
  std::vector<std::pair<int64_t, bool>> lanes;  // batches, ended
  int64_t steps = 0, samples = 0;
};

class Rescue {
 public:
  // Of the newest folder in RUN_DIR/rescue; tells that this server lives.
  explicit Rescue(const std::string& run_path);
  ~Rescue();
  Rescue(const Rescue&) = delete;
  Rescue& operator=(const Rescue&) = delete;

  const std::string& folder() const { return folder_; }
  // Whether the job's end has been told of.
  bool AgentSaidWhy() const;
  // Tensors and metadata that the agent has written.
  SafetensorsFile Others() const;
  // A part is written, by a server of that node. When it was the last one, the whole is made: its
  // step.
  std::optional<int64_t> Finish(int part, int parts, const SavedPart& saved,
                                const NodeProgress& progress) const;

 private:
  void Complete(const std::vector<nlohmann::json>& all, int64_t* step) const;

  std::string run_path_, folder_;
  int alive_ = -1;
};

}  // namespace mariana
