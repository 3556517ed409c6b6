// ScoreFiles: the rows of files through a model, in their order, by several threads.
#pragma once

#include <functional>

#include "common/data/rows/bad_rows.h"
#include "common/data/rows/row_files.h"
#include "mariana_cluster/feed/joined_features.h"
#include "mariana_cluster/scores/click_scorer.h"

namespace mariana {

struct ScoreFilesJob {
  const ClickScorer* scorer = nullptr;
  const RowFiles* files = nullptr;  // opened with scorer->rows()
  RowPart part = RowPart::kAll;
  const JoinedFeatures* joined = nullptr;  // null: none
  BadRows* bad = nullptr;
  int threads = 1;
};

// Calls on_batch(batch) for one batch after the other, each scored, in the order of the rows; never
// two at once, but from any of the threads. Ends early when it returns false. An exception of any
// stage comes out here.
void ScoreFiles(const ScoreFilesJob& job, const std::function<bool(const ClickBatch&)>& on_batch);

}  // namespace mariana
