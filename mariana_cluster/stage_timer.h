// StageTimer: where a worker's time goes, told to the job's RunProgress. One thread's.
#pragma once

#include "common/base/clock.h"
#include "mariana_cluster/run_progress.h"

namespace mariana {

// Adds the time since the last mark to one stage after another.
class StageTimer {
 public:
  StageTimer(RunProgress* progress, int worker)
      : progress_(progress), worker_(worker), last_(Clock::Real()->NowNs()) {}
  void Add(WorkerStage stage) {
    const int64_t now = Clock::Real()->NowNs();
    progress_->AddNs(worker_, stage, now - last_);
    last_ = now;
  }

 private:
  RunProgress* progress_;
  int worker_;
  int64_t last_;
};

}  // namespace mariana
