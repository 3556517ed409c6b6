// Importance of fields: what a model's AUC loses (squared loss: its RMSE gains) when the values of
// one field are shuffled among the rows, so that they tell nothing of the label (Breiman, "Random
// forests", 2001). A field takes the crosses along that it is part of. Pure functions of rows,
// model and seed.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "mariana_cluster/scores/score_files.h"

namespace mariana {

struct FieldImportance {
  std::string field;
  double loss = 0;
};

// Every field of the plan, the most important one first. `batches`: rows as ClickScorer scores
// them, which are shuffled within each: at least some hundred at a time. progress(fields done, of)
// is asked after each field whether to go on; empty when it says no.
std::vector<FieldImportance> MeasureImportance(
    const ClickScorer& scorer, const std::vector<RowBatch>& batches, int threads,
    const std::function<bool(int done, int of)>& progress);

// The same of about the first `rows` rows of files.
std::vector<FieldImportance> MeasureFields(const ScoreFilesJob& job, int64_t rows,
                                           const std::function<bool(int done, int of)>& progress);

// Replaces *to by the rows of `from` with the features of some fields, by RowPlan's numbers, and
// some dense columns taken from other rows: row r has those of row order[r].
void ShuffleFields(const RowBatch& from, const std::vector<bool>& fields,
                   const std::vector<bool>& dense_columns, const std::vector<uint32_t>& order,
                   RowBatch* to);

}  // namespace mariana
