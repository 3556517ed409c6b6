// RowBatch: parsed samples of click logs, in compressed rows: what every text format becomes and
// every model of mariana_cluster reads. A value; thread-compatible; its vectors keep their memory
// when it is cleared, so that a stage that reuses batches allocates nothing.
#pragma once

#include <cstdint>
#include <vector>

namespace mariana {

struct RowBatch {
  int64_t rows = 0;
  std::vector<float> label;   // [rows]: 1 click, 0 none; any value for a squared loss
  std::vector<float> weight;  // [rows]: importance, 1 by default
  // Sparse features of row r: [begin[r], begin[r + 1]), in the order of the fields, within a field
  // in the order of the text. A missing field has none.
  std::vector<uint32_t> begin;  // [rows + 1]; empty in a batch that never had rows
  std::vector<uint64_t> key;    // hash of (field, value): never 0
  std::vector<uint16_t> field;
  std::vector<float> value;  // 1 unless the format or a transform gives another
  // Numeric features of nets, [rows, dense_columns].
  int64_t dense_columns = 0;
  std::vector<float> dense;
  std::vector<uint64_t> group;  // [rows] or empty: hash of the field that GAUC groups by
  std::vector<uint64_t> id;     // [rows] or empty: hash of the id that joined features go by

  // Empties it for those who set every size themselves (RowParser, SampleCache): the vectors keep
  // their lengths until then, so that nothing is filled with zeros first.
  void Reuse() { rows = 0; }
  void Clear() {
    rows = 0;
    label.clear();
    weight.clear();
    begin.clear();
    key.clear();
    field.clear();
    value.clear();
    dense.clear();
    group.clear();
    id.clear();
  }
};

// Appends rows [first, last) of `from`, with all that `from` has.
void AppendRows(const RowBatch& from, int64_t first, int64_t last, RowBatch* to);

}  // namespace mariana
