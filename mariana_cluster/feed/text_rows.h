// TextRows: the rows of shards of text files, in the files' order, a batch at a time: parsed by
// RowReader's threads chunk by chunk and cut, or, in the caller's, parsed straight into the batch.
// The rows are the same either way. Threading: Next belongs to one thread, Seconds to any.
#pragma once

#include <memory>
#include <vector>

#include "common/data/rows/row_reader.h"

namespace mariana {

class TextRows {
 public:
  virtual ~TextRows() = default;
  // Replaces *batch by the next rows, `rows` of them but for the last time; false at the end, after
  // BadRows::Check.
  virtual bool Next(int64_t rows, RowBatch* batch) = 0;
  virtual std::vector<StageSeconds> Seconds() const = 0;
};

struct TextRowsInputs {
  Clock* clock;
  const RowPlan* plan;
  const RowFiles* files;
  std::vector<RowShard> shards;
  RowPart part;
  BadRows* bad;
};

// parse_threads 0: in the caller's thread.
std::unique_ptr<TextRows> MakeTextRows(const TextRowsInputs& inputs, int parse_threads);

}  // namespace mariana
