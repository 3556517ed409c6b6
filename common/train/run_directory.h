// RunDirectory: the folder of one training run, held by one process at a time.
//
//   job.yaml  metrics.jsonl  events.out.tfevents.*  summary.json  report.html  log/
//   checkpoints/step-00001200/   latest -> checkpoints/step-00001200   best -> ...
//
// Opening takes an flock on RUN_DIR/.lock, which the kernel drops with the process, so a killed
// run never leaves a stale lock. Thread-compatible.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

namespace mariana {

class RunDirectory {
 public:
  // Creates `path` with its checkpoints/ and log/, or opens the run that is there. Throws
  // kCannotCreate when it cannot be created, when another process holds it (the message names
  // the pid), or when it holds a run and `resume` is false. With `resume`, a folder without a
  // run simply starts one. What an interrupted save left behind is put right.
  RunDirectory(const std::string& path, bool resume);
  ~RunDirectory();
  RunDirectory(const RunDirectory&) = delete;
  RunDirectory& operator=(const RunDirectory&) = delete;

  // Whether a folder holds a run (has a job.yaml or a checkpoint).
  static bool HoldsRun(const std::string& path);

  // True when this continues an earlier start (there was a job.yaml).
  bool resumed() const { return resumed_; }
  // True when summary.json says the run is done. A caller whose config asks for more epochs than
  // were done may still go on.
  bool finished() const;

  const std::string& path() const { return path_; }
  std::string config_path() const { return path_ + "/job.yaml"; }
  std::string metrics_path() const { return path_ + "/metrics.jsonl"; }
  std::string summary_path() const { return path_ + "/summary.json"; }
  std::string report_path() const { return path_ + "/report.html"; }
  std::string log_path() const { return path_ + "/log"; }
  std::string checkpoints_path() const { return path_ + "/checkpoints"; }
  std::string checkpoint_path(int64_t step) const;

  void WriteConfig(const std::string& yaml) const;  // job.yaml, atomically
  std::string ReadConfig() const;                   // of the earlier start; kBadData if missing

  // Steps that have a checkpoint folder, verified or not, ascending.
  std::vector<int64_t> CheckpointSteps() const;

  // Points the link `name` ("latest", "best") at a checkpoint, by rename: at any moment it leads
  // to the old one or the new one.
  void MoveLink(const std::string& name, int64_t step) const;
  // The step that a link points at; nullopt when there is no such link.
  std::optional<int64_t> LinkedStep(const std::string& name) const;

 private:
  void Lock();
  void Recover() const;

  std::string path_;
  int lock_fd_ = -1;
  bool resumed_ = false;
};

// 1200 -> "step-00001200" and back (nullopt for any other name).
std::string CheckpointName(int64_t step);
std::optional<int64_t> ParseCheckpointName(const std::string& name);

}  // namespace mariana
