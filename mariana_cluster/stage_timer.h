// StageTimer: where a worker's time goes, told to the job's RunProgress, and to whoever traces. One
// thread's.
#pragma once

#include "common/base/clock.h"
#include "mariana_cluster/job_memory.h"

namespace mariana {

// Adds the time since the last mark to one stage after another.
class StageTimer {
 public:
  StageTimer(JobMemory* memory, int worker)
      : progress_(&*memory->progress),
        trace_(memory->writer),
        worker_(worker),
        last_(Clock::Real()->NowNs()) {}
  void Add(WorkerStage stage) {
    const int64_t now = Clock::Real()->NowNs();
    progress_->AddNs(worker_, stage, now - last_);
    trace_.AddSpan(SpanOf(stage), last_, now);
    last_ = now;
  }

 private:
  RunProgress* progress_;
  TraceWriter trace_;
  int worker_;
  int64_t last_;
};

}  // namespace mariana
