// TextRows: the rows of shards of text files, in the files' order, chunk after chunk: by
// RowReader's threads, or all in the caller's. The rows are the same either way. Threading: Next
// belongs to one thread, Seconds to any.
#pragma once

#include <memory>
#include <vector>

#include "common/data/rows/row_reader.h"

namespace mariana {

class TextRows {
 public:
  virtual ~TextRows() = default;
  // As RowReader.
  virtual bool Next(RowBatch* batch) = 0;
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
