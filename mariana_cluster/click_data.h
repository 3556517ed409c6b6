// ClickData: the files of a job, opened, and how they are dealt out to workers. Const after
// OpenData; thread-safe.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/data/rows/row_files.h"
#include "common/data/rows/row_plan.h"
#include "mariana_cluster/feed/joined_features.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/scores/click_scores.h"

namespace mariana {

struct ClickData {
  std::unique_ptr<RowPlan> plan;
  std::unique_ptr<RowFiles> train;
  std::unique_ptr<RowFiles> valid_files;   // null: held-out rows are of the training files
  std::unique_ptr<JoinedFeatures> joined;  // null: none
  std::vector<RowShard> train_shards, valid_shards;  // valid: empty where nothing is held out

  bool has_valid() const { return !valid_shards.empty(); }
  const RowFiles& valid() const { return valid_files ? *valid_files : *train; }
  RowPart valid_part() const { return valid_files ? RowPart::kAll : RowPart::kHeldOut; }
  int64_t joined_columns() const { return joined ? joined->columns() : 0; }
};

// `fitted`: whether what the fields measure on the data has been measured; without it there is no
// plan. Throws as RowFiles and RowPlan do.
ClickData OpenData(const JobSpec& job, bool fitted);

// Every `of`-th shard from `first` on.
std::vector<RowShard> ShareOf(const std::vector<RowShard>& shards, int first, int of);

// Scores of the job's held-out rows, which workers make and the agent adds up.
ClickScores::Options ScoreOptions(const JobSpec& job);

}  // namespace mariana
