#include "common/data/rows/packed_rows.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

namespace mariana {
namespace {

struct Header {
  uint32_t rows;
  uint32_t dense_columns;
  uint32_t fields;
  uint8_t key_bytes;
  bool repeats, weights, groups, ids;
};

uint64_t LowMask(int bytes) { return bytes == 8 ? ~uint64_t{0} : (uint64_t{1} << (8 * bytes)) - 1; }

class Writer {
 public:
  template <class T>
  void Put(const T* values, size_t n) {
    const char* p = reinterpret_cast<const char*>(values);
    bytes_.insert(bytes_.end(), p, p + n * sizeof(T));
  }
  void Align(size_t to) {
    while (bytes_.size() % to != 0) bytes_.push_back(0);
  }
  size_t size() const { return bytes_.size(); }
  std::vector<char>* bytes() { return &bytes_; }

 private:
  std::vector<char> bytes_;
};

bool FieldsRepeat(const RowBatch& batch, int64_t begin, int64_t end) {
  for (int64_t r = begin; r < end; ++r) {
    const auto at = static_cast<size_t>(r);
    for (uint32_t i = batch.begin[at] + 1; i < batch.begin[at + 1]; ++i) {
      if (batch.field[i] <= batch.field[i - 1]) return true;
    }
  }
  return false;
}

// A bit per field that has another value than 1 somewhere.
std::vector<uint64_t> ValuedFields(const RowBatch& batch, int64_t begin, int64_t end,
                                   size_t words) {
  std::vector<uint64_t> valued(words, 0);
  const uint32_t last = batch.begin[static_cast<size_t>(end)];
  for (uint32_t i = batch.begin[static_cast<size_t>(begin)]; i < last; ++i) {
    valued[batch.field[i] / 64] |= uint64_t{batch.value[i] != 1} << (batch.field[i] % 64);
  }
  return valued;
}

bool Has(const std::vector<uint64_t>& bits, size_t i) {
  return (bits[i / 64] >> (i % 64) & 1) != 0;
}

size_t MaskWords(uint32_t fields) { return (fields + 63) / 64; }

// Records one after the other, each a row's features.
class RecordWriter {
 public:
  RecordWriter(const RowBatch& batch, const Header& header, std::vector<uint64_t> valued)
      : batch_(batch), header_(header), valued_(std::move(valued)), mask_(valued_.size()) {}

  void Put(uint32_t begin, uint32_t end, Writer* out) {
    const uint32_t n = end - begin;
    if (header_.repeats) {
      out->Put(&n, 1);
      out->Put(&batch_.field[begin], n);
    } else {
      std::fill(mask_.begin(), mask_.end(), 0);
      for (uint32_t i = begin; i < end; ++i) {
        mask_[batch_.field[i] / 64] |= uint64_t{1} << (batch_.field[i] % 64);
      }
      out->Put(mask_.data(), mask_.size());
    }
    if (header_.key_bytes == 8) {
      out->Put(batch_.key.data() + begin, n);
    } else {
      for (uint32_t i = begin; i < end; ++i) {
        out->Put(reinterpret_cast<const char*>(&batch_.key[i]), header_.key_bytes);
      }
    }
    if (header_.repeats) {
      out->Put(batch_.value.data() + begin, n);
    } else {
      for (uint32_t i = begin; i < end; ++i) {
        if (Has(valued_, batch_.field[i])) out->Put(&batch_.value[i], 1);
      }
    }
  }

 private:
  const RowBatch& batch_;
  const Header header_;
  const std::vector<uint64_t> valued_;
  std::vector<uint64_t> mask_;
};

template <class T>
T Load(const char* p) {
  T value;
  std::memcpy(&value, p, sizeof(T));
  return value;
}

}  // namespace

std::vector<char> PackRows(const RowBatch& batch, int64_t begin, int64_t end, int fields,
                           int key_bytes) {
  const auto first = static_cast<size_t>(begin), rows = static_cast<size_t>(end - begin);
  Header header{};
  header.rows = static_cast<uint32_t>(rows);
  header.dense_columns = static_cast<uint32_t>(batch.dense_columns);
  header.fields = static_cast<uint32_t>(fields);
  header.key_bytes = static_cast<uint8_t>(key_bytes);
  header.repeats = FieldsRepeat(batch, begin, end);
  header.weights = std::any_of(batch.weight.begin() + begin, batch.weight.begin() + end,
                               [](float w) { return w != 1; });
  header.groups = !batch.group.empty();
  header.ids = !batch.id.empty();
  const auto valued = ValuedFields(batch, begin, end, MaskWords(header.fields));
  Writer out;
  out.bytes()->reserve(rows * 64 + 10 * (batch.begin[first + rows] - batch.begin[first]));
  out.Put(&header, 1);
  out.Align(8);
  out.Put(valued.data(), valued.size());
  if (header.groups) out.Put(&batch.group[first], rows);
  if (header.ids) out.Put(&batch.id[first], rows);
  out.Put(&batch.label[first], rows);
  if (header.weights) out.Put(&batch.weight[first], rows);
  out.Put(batch.dense.data() + first * header.dense_columns, rows * header.dense_columns);
  const size_t offsets_at = out.size();
  std::vector<uint32_t> offsets(rows + 1, 0);
  out.Put(offsets.data(), rows + 1);
  const size_t records_at = out.size();
  RecordWriter records(batch, header, valued);
  for (size_t r = 0; r < rows; ++r) {
    records.Put(batch.begin[first + r], batch.begin[first + r + 1], &out);
    CHECK_LT(out.size() - records_at, UINT32_MAX) << "rows of a block exceed 4 GiB";
    offsets[r + 1] = static_cast<uint32_t>(out.size() - records_at);
  }
  std::memcpy(out.bytes()->data() + offsets_at, offsets.data(), 4 * (rows + 1));
  out.bytes()->resize(out.size() + 8);
  return std::move(*out.bytes());
}

PackedRows::PackedRows(const char* block) {
  const auto header = Load<Header>(block);
  const size_t rows = header.rows, words = MaskWords(header.fields);
  rows_ = header.rows;
  dense_columns_ = header.dense_columns;
  key_bytes_ = header.key_bytes;
  mask_words_ = static_cast<int>(words);
  repeats_ = header.repeats;
  const char* p = block + (sizeof(Header) + 7) / 8 * 8;
  valued_.resize(words);
  std::memcpy(valued_.data(), p, 8 * words);
  const auto take = [&](bool there, size_t bytes) {
    const char* begin = there ? p : nullptr;
    p += there ? bytes : 0;
    return begin;
  };
  take(true, 8 * words);
  group_ = take(header.groups, 8 * rows);
  id_ = take(header.ids, 8 * rows);
  label_ = take(true, 4 * rows);
  weight_ = take(header.weights, 4 * rows);
  dense_ = take(true, 4 * rows * header.dense_columns);
  offsets_ = reinterpret_cast<const uint32_t*>(take(true, 4 * (rows + 1)));
  records_ = p;
}

void PackedRows::Append(int64_t r, RowBatch* batch) const {
  batch->label.push_back(Load<float>(label_ + 4 * r));
  batch->weight.push_back(weight_ != nullptr ? Load<float>(weight_ + 4 * r) : 1);
  if (group_ != nullptr) batch->group.push_back(Load<uint64_t>(group_ + 8 * r));
  if (id_ != nullptr) batch->id.push_back(Load<uint64_t>(id_ + 8 * r));
  if (dense_columns_ > 0) {
    const size_t at = batch->dense.size();
    batch->dense.resize(at + static_cast<size_t>(dense_columns_));
    std::memcpy(batch->dense.data() + at, dense_ + 4 * dense_columns_ * r,
                4 * static_cast<size_t>(dense_columns_));
  }
  if (batch->begin.empty()) batch->begin.push_back(0);
  if (repeats_) {
    AppendRepeating(records_ + offsets_[r], batch);
  } else {
    AppendRecord(records_ + offsets_[r], batch);
  }
  batch->begin.push_back(static_cast<uint32_t>(batch->key.size()));
  batch->dense_columns = dense_columns_;
  ++batch->rows;
}

void PackedRows::AppendKeys(const char* p, size_t n, uint64_t* to) const {
  if (n == 0) return;  // `to` may be null
  if (key_bytes_ == 8) {
    std::memcpy(to, p, 8 * n);
    return;
  }
  const uint64_t mask = LowMask(key_bytes_);
  for (size_t i = 0; i < n; ++i, p += key_bytes_) to[i] = Load<uint64_t>(p) & mask;
}

void PackedRows::AppendRecord(const char* p, RowBatch* batch) const {
  size_t n = 0;
  for (int w = 0; w < mask_words_; ++w) {
    n += static_cast<size_t>(__builtin_popcountll(Load<uint64_t>(p + 8 * w)));
  }
  const size_t at = batch->key.size();
  batch->key.resize(at + n);
  batch->field.resize(at + n);
  batch->value.resize(at + n);
  const char* keys = p + 8 * mask_words_;
  AppendKeys(keys, n, batch->key.data() + at);
  const char* values = keys + static_cast<size_t>(key_bytes_) * n;
  uint16_t* field = batch->field.data() + at;
  float* value = batch->value.data() + at;
  for (int w = 0; w < mask_words_; ++w) {
    for (uint64_t left = Load<uint64_t>(p + 8 * w); left != 0; left &= left - 1) {
      const int bit = __builtin_ctzll(left);
      *field++ = static_cast<uint16_t>(64 * w + bit);
      const bool stored = (valued_[static_cast<size_t>(w)] >> bit & 1) != 0;
      // Reads (8 bytes follow a block), uses and advances without a branch.
      const auto v = Load<float>(values);
      *value++ = stored ? v : 1;
      values += stored ? 4 : 0;
    }
  }
}

void PackedRows::AppendRepeating(const char* p, RowBatch* batch) const {
  const size_t n = Load<uint32_t>(p), at = batch->key.size();
  if (n == 0) return;
  batch->key.resize(at + n);
  batch->field.resize(at + n);
  batch->value.resize(at + n);
  p += 4;
  std::memcpy(batch->field.data() + at, p, 2 * n);
  AppendKeys(p + 2 * n, n, batch->key.data() + at);
  std::memcpy(batch->value.data() + at, p + 2 * n + static_cast<size_t>(key_bytes_) * n, 4 * n);
}

}  // namespace mariana
