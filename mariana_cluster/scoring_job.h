// ScoringJob: what evaluate and predict start from: a config, the model, and the files to score.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/train/command_line.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/scores/score_files.h"

namespace mariana {

// Whether rows must have labels (evaluate), or may lack them where the format can tell.
enum class ScoredLabels { kNeeded, kIgnored };

class ScoringJob {
 public:
  // Files are the arguments of the command line, else data.valid, else (labels needed) the rows
  // that training holds out. Error(kUsage) when there are none of these.
  ScoringJob(const CommandLine& command_line, ScoredLabels labels);

  JobSpec spec;
  std::unique_ptr<ClickScorer> scorer;
  std::unique_ptr<RowFiles> files;
  std::unique_ptr<JoinedFeatures> joined;
  std::unique_ptr<BadRows> bad;

  // For ScoreFiles.
  ScoreFilesJob rows() const;

 private:
  RowPart part_ = RowPart::kAll;
};

}  // namespace mariana
