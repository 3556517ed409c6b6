// The report.html of a training run of click models: what all of them show, and calibration, the
// importance of fields, where the workers' time went, and the tables.
#pragma once

#include <memory>
#include <vector>

#include "common/train/train_report.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/scores/click_scores.h"
#include "mariana_cluster/scores/field_importance.h"
#include "mariana_cluster/table/table_shard.h"

namespace mariana {

struct ClickReportInput {
  TrainFacts facts;  // pipeline: stages of all workers, those of one name are added up
  const JobSpec* job = nullptr;
  int workers = 1;
  const ClickSummary* held_out = nullptr;  // the last evaluation; null before the first one
  std::vector<FieldImportance> importance;
  const std::vector<std::vector<std::shared_ptr<TableShard>>>* shards = nullptr;  // [table][server]
  int64_t bad_rows = 0;
};

void WriteClickReport(ClickReportInput in);

}  // namespace mariana
