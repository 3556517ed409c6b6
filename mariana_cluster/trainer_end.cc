// How a run is saved, and how it ends.
#include <algorithm>
#include <sstream>

#include "common/base/error.h"
#include "mariana_cluster/trainer.h"

namespace mariana {

// Of all processes, at their most busy: before they end.
void ClusterTrainer::CountMemory() {
  summary_->peak_memory_bytes = std::max(summary_->peak_memory_bytes, crew_->MemoryBytes());
}

void ClusterTrainer::Save(bool best) {
  CountMemory();
  trace_.SetPhase("save");
  meter_.Time("save", [&] {
    meter_.WriteWindow();
    crew_->WaitUntil([this] { return !snapshots_->running(); });
    snapshots_->Cut(state_, position_.ToJson(), best);
    // Servers that apply rounds hear nothing until the next pause.
    if (memory_.ordered) snapshots_->Tick();
  });
  meter_.StartClock();
  trace_.SetPhase("train");
}

// The last one has to be there.
void ClusterTrainer::WaitForSnapshot() {
  meter_.Time("save", [this] { crew_->WaitUntil([this] { return !snapshots_->running(); }); });
  if (snapshots_->failure()) throw Error(*snapshots_->failure());
}

int ClusterTrainer::Stop() {
  Save(false);
  WaitForSnapshot();
  meter_.Fill(summary_);
  summary_->exit_code = ExitCode::kStopped;
  WriteReport("stopped");
  crew_->End();
  RemoveRescues(*run_, rescue_folder_, true);
  Say(StrCat("stopped after step ", state_.step, ", saved ", run_->checkpoint_path(state_.step),
             "; the same command with --resume goes on"));
  return static_cast<int>(ExitCode::kStopped);
}

int ClusterTrainer::Finish() {
  WaitForSnapshot();
  for (const Message& m : crew_->AskWorkers(
           [](int) {
             return Message{"times", 0, "", {}};
           },
           "times")) {
    std::istringstream lines(m.body);
    for (StageSeconds s; lines >> s.name >> s.threads >> s.busy >> s.wait_input >> s.wait_output;) {
      if (s.name == "consume") continue;  // the worker's own thread, which counts its stages
      meter_.AddSeconds(s.name, s.busy);
      pipeline_.push_back(s);
    }
  }
  crew_->End();
  RemoveRescues(*run_, rescue_folder_, true);
  task_->Finish(&meter_, &progress_);
  WriteReport("done");
  std::string best;
  if (task_->has_valid()) {
    best = StrCat("best held out (step ", state_.best_step,
                  "):", MetricsText({state_.best.begin(), state_.best.end()}), "; ");
  }
  Say(StrCat(best, "done; report: ", run_->report_path()));
  return 0;
}

}  // namespace mariana
