// RemoteRows: the rows of a batch that live on other nodes, as a worker's learner uses them: asked
// for ahead, put among the values of the batch, and sent their gradients.
//
// Thread-compatible.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "mariana_cluster/job.h"
#include "mariana_cluster/job_memory.h"
#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/net/remote_shards.h"

namespace mariana {

class RemoteRows {
 public:
  // For worker `worker` of this node, of a job over several nodes. `memory` outlives it.
  RemoteRows(const JobSpec& job, JobMemory* memory, int worker);

  // Asks for the rows of a prepared batch, unless that is done; does not wait.
  void Request(Missing missing, const ClickBatch& batch);
  // Puts them among batch->tables[t].values, which are there already.
  void Await(ClickBatch* batch);
  // Sends the batch's gradients; does not wait. Its request is done with.
  void Push(float rate, const ClickBatch& batch);
  // A request whose rows get no gradients, waited for or not.
  void Forget(const ClickBatch* batch);
  // Until all gradients are applied.
  void Drain();

 private:
  using Pulls = std::vector<std::unique_ptr<RemoteShards::Pull>>;  // by table
  void CountBytes();

  JobMemory* memory_;
  RemoteShards shards_;
  std::map<const ClickBatch*, Pulls> requested_;
  int64_t counted_in_ = 0, counted_out_ = 0;
};

}  // namespace mariana
