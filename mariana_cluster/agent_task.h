// AgentTask: what a job trains as its agent sees it, be it click rows and their model
// (click_agent.cc) or frames and a net (frame_agent.cc): opened and measured data, the model as it
// is saved, and what workers' scores come to. The agent's thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/train/progress.h"
#include "common/train/train_meter.h"
#include "common/train/train_run.h"
#include "mariana_cluster/cluster_checkpoint.h"
#include "mariana_cluster/cluster_report.h"
#include "mariana_cluster/commands.h"

namespace mariana {

class AgentTask {
 public:
  virtual ~AgentTask() = default;

  // Samples in an epoch, about; < 0: unknown.
  virtual int64_t epoch_samples() const = 0;
  virtual bool has_valid() const = 0;
  // Anyone's of the job (ClusterValues); null where there is none.
  virtual Net* net() = 0;
  virtual const std::vector<ClickTable>& tables() const = 0;
  // For JobMemory.
  virtual std::string measured() const { return {}; }
  // Of model.safetensors: what says what it is, and tensors beside tables and parameters.
  virtual const Metadata& metadata() const = 0;
  virtual std::vector<HostTensor> tensors() const { return {}; }

  // ---- scores
  using Values = std::vector<std::pair<std::string, double>>;
  // The body of a "scores" message.
  virtual void Put(ScoresOf of, const std::string& body) = 0;
  // Held out: samples since the last Summarize, and what they come to.
  virtual int64_t held_out_samples() const = 0;
  virtual Values Summarize() = 0;
  virtual void DropHeldOut() = 0;  // as if nothing had been put since
  // Of training since the last call.
  virtual Values TakeTraining() = 0;
  // Measures more of the best model, at the end of the run.
  virtual void Finish(TrainMeter*, Progress*) {}
  // Adds what only the task knows.
  virtual void FillReport(ClusterReportInput*) const {}
};

struct AgentTaskInput {
  const CommandLine* command_line;
  JobSpec* job;  // what its fields measure on the data becomes part of it
  const RunDirectory* run;
  const CheckpointFolder* from;  // that the run goes on with, or null
  std::function<void(const std::string&)> say;
};
// Open and measure the data, and build the model; throw Error as these do.
std::unique_ptr<AgentTask> MakeClickAgent(const AgentTaskInput& input);
std::unique_ptr<AgentTask> MakeFrameAgent(const AgentTaskInput& input);

// train --check: opens the data, reads the first of it, builds the net, and prints the plan.
void CheckClicks(const CommandLine& command_line, JobSpec* job);
void CheckFrames(const CommandLine& command_line, JobSpec* job);

}  // namespace mariana
