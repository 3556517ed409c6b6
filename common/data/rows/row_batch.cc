#include "common/data/rows/row_batch.h"

#include <cstddef>

namespace mariana {
namespace {

template <class T>
void Append(const std::vector<T>& from, int64_t begin, int64_t end, std::vector<T>* to) {
  if (!from.empty()) to->insert(to->end(), from.begin() + begin, from.begin() + end);
}

}  // namespace

void AppendRows(const RowBatch& from, int64_t first, int64_t last, RowBatch* to) {
  if (first == last) return;
  const int64_t begin = from.begin[static_cast<size_t>(first)];
  const int64_t end = from.begin[static_cast<size_t>(last)];
  if (to->begin.empty()) to->begin.push_back(0);
  const int64_t shift = static_cast<int64_t>(to->key.size()) - begin;
  for (int64_t r = first + 1; r <= last; ++r) {
    to->begin.push_back(static_cast<uint32_t>(from.begin[static_cast<size_t>(r)] + shift));
  }
  Append(from.label, first, last, &to->label);
  Append(from.weight, first, last, &to->weight);
  Append(from.key, begin, end, &to->key);
  Append(from.field, begin, end, &to->field);
  Append(from.value, begin, end, &to->value);
  Append(from.dense, first * from.dense_columns, last * from.dense_columns, &to->dense);
  Append(from.group, first, last, &to->group);
  Append(from.id, first, last, &to->id);
  to->dense_columns = from.dense_columns;
  to->rows += last - first;
}

}  // namespace mariana
