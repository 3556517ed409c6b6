// What a server does when its agent is gone, or has given the job up: it waits until no worker of
// its node is left, and saves its part (snapshot/rescue.h). Free functions; the server's own
// thread.
#pragma once

#include <functional>

#include "mariana_cluster/job.h"
#include "mariana_cluster/job_memory.h"
#include "mariana_cluster/snapshot/rescue.h"

namespace mariana {

struct ServerRescue {
  const JobSpec* job = nullptr;
  int index = 0;  // on its node
  int64_t epoch = 0;
  JobMemory* memory = nullptr;
  Board* board = nullptr;
  SnapshotWriter* snapshots = nullptr;
  // Runs f while no other node's worker changes rows.
  std::function<void(const std::function<void()>& f)> while_quiet;
};

// Throws Error where it cannot. Tells on stderr what the job has come to, if its part was the last.
void SaveByItself(const ServerRescue& server, const Rescue& rescue);

}  // namespace mariana
