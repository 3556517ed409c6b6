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
  uint32_t most_features;  // of a row
  uint8_t key_bytes;
  bool repeats, weights, groups, ids;
};

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
        const uint64_t first = batch_.key[i] >> (64 - 8 * header_.key_bytes);
        out->Put(reinterpret_cast<const char*>(&first), header_.key_bytes);
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

// What reading a record may touch behind it.
constexpr size_t kReadAhead = 64;

using Words = uint64_t __attribute__((vector_size(32)));
using Floats = float __attribute__((vector_size(32)));
using Bytes8 = uint8_t __attribute__((vector_size(8)));
using Shorts8 = uint16_t __attribute__((vector_size(16)));
constexpr size_t kFloats = sizeof(Floats) / sizeof(float), kWords = sizeof(Words) / 8;

template <class V, class T>
void Store(const V& v, T* to) {
  std::memcpy(to, &v, sizeof(V));
}

// Whole vectors at a time: what they write too much the next ones overwrite.
template <int kBytes>
void ReadKeys(const char* from, size_t n, uint64_t* to) {
  if (kBytes == 8) {
    for (size_t i = 0; i < n; i += kWords) Store(Load<Words>(from + 8 * i), to + i);
    return;
  }
  for (size_t i = 0; i < n; i += kWords) {
    const char* p = from + i * kBytes;
    const Words four{Load<uint64_t>(p), Load<uint64_t>(p + kBytes), Load<uint64_t>(p + 2 * kBytes),
                     Load<uint64_t>(p + 3 * kBytes)};
    Store(four << (64 - 8 * kBytes), to + i);
  }
}

constexpr void (*kReadKeys[9])(const char*, size_t, uint64_t*) = {
    nullptr,     ReadKeys<1>, ReadKeys<2>, ReadKeys<3>, ReadKeys<4>,
    ReadKeys<5>, ReadKeys<6>, ReadKeys<7>, ReadKeys<8>};

// The places of the bits of a byte, in order.
struct BitPlaces {
  uint8_t of[256][8] = {};
  constexpr BitPlaces() {
    for (int byte = 0; byte < 256; ++byte) {
      for (int bit = 0, n = 0; bit < 8; ++bit) {
        if ((byte >> bit & 1) != 0) of[byte][n++] = static_cast<uint8_t>(bit);
      }
    }
  }
};
constexpr BitPlaces kBitPlaces;

// The numbers of the bits of a mask. Returns how many.
uint16_t* ReadBits(uint64_t mask, uint16_t first, uint16_t* to) {
  for (; mask != 0; mask >>= 8, first = static_cast<uint16_t>(first + 8)) {
    const auto places = Load<Bytes8>(reinterpret_cast<const char*>(kBitPlaces.of[mask & 255]));
    Store(__builtin_convertvector(places, Shorts8) + first, to);
    to += __builtin_popcountll(mask & 255);
  }
  return to;
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
  for (size_t r = first; r < first + rows; ++r) {
    header.most_features = std::max(header.most_features, batch.begin[r + 1] - batch.begin[r]);
  }
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
  out.bytes()->resize(out.size() + kReadAhead);
  return std::move(*out.bytes());
}

PackedRows::PackedRows(const char* block) {
  const auto header = Load<Header>(block);
  const size_t rows = header.rows, words = MaskWords(header.fields);
  rows_ = header.rows;
  dense_columns_ = header.dense_columns;
  key_bytes_ = header.key_bytes;
  most_features_ = header.most_features;
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
  read_keys_ = kReadKeys[key_bytes_];
  if (words == 1) SetRanges();
}

void PackedRows::MakeRoom(size_t rows, RowBatch* batch) const {
  batch->label.resize(rows);
  batch->weight.resize(rows);
  batch->begin.resize(rows + 1);
  batch->dense_columns = dense_columns_;
  batch->dense.resize(rows * static_cast<size_t>(dense_columns_));
  batch->group.resize(group_ != nullptr ? rows : 0);
  batch->id.resize(id_ != nullptr ? rows : 0);
}

void PackedRows::ReadMarks(int64_t r, size_t to, RowBatch* batch) const {
  batch->label[to] = Load<float>(label_ + 4 * r);
  batch->weight[to] = weight_ != nullptr ? Load<float>(weight_ + 4 * r) : 1;
  if (group_ != nullptr) batch->group[to] = Load<uint64_t>(group_ + 8 * r);
  if (id_ != nullptr) batch->id[to] = Load<uint64_t>(id_ + 8 * r);
  const auto columns = static_cast<size_t>(dense_columns_);
  if (columns > 0) {
    std::memcpy(&batch->dense[to * columns], dense_ + 4 * dense_columns_ * r, 4 * columns);
  }
}

// Cuts the fields of a record with one mask into ranges.
void PackedRows::SetRanges() {
  uint64_t left = ~uint64_t{0};
  for (uint64_t stored = valued_[0]; left != 0;) {
    Range range{left, 0};
    if (stored != 0) {
      const int begin = __builtin_ctzll(stored);
      const uint64_t from = ~uint64_t{0} << begin, behind = ~stored & from;
      const uint64_t end = behind == 0 ? 0 : ~uint64_t{0} << __builtin_ctzll(behind);
      range = {left & ~from, from & ~end};
      left = end;
      stored &= end;
    } else {
      left = 0;
    }
    ranges_.push_back(range);
  }
}

size_t PackedRows::ReadRecord(const char* p, uint64_t* key, uint16_t* field, float* value) const {
  uint16_t* end = field;
  for (int w = 0; w < mask_words_; ++w) {
    end = ReadBits(Load<uint64_t>(p + 8 * w), static_cast<uint16_t>(64 * w), end);
  }
  const auto n = static_cast<size_t>(end - field);
  const char* keys = p + 8 * mask_words_;
  read_keys_(keys, n, key);
  ReadValues(p, keys + static_cast<size_t>(key_bytes_) * n, value);
  return n;
}

void PackedRows::ReadValues(const char* mask, const char* stored, float* value) const {
  if (mask_words_ == 1) {
    const auto there = Load<uint64_t>(mask);
    for (const Range& range : ranges_) {
      const auto ones = static_cast<size_t>(__builtin_popcountll(there & range.ones));
      for (size_t i = 0; i < ones; i += kFloats) Store(Floats{} + 1.0f, value + i);
      value += ones;
      const auto own = static_cast<size_t>(__builtin_popcountll(there & range.stored));
      for (size_t i = 0; i < own; i += kFloats) Store(Load<Floats>(stored + 4 * i), value + i);
      value += own;
      stored += 4 * own;
    }
    return;
  }
  for (int w = 0; w < mask_words_; ++w) {
    const uint64_t valued = valued_[static_cast<size_t>(w)];
    for (uint64_t left = Load<uint64_t>(mask + 8 * w); left != 0; left &= left - 1) {
      const bool own = (valued >> __builtin_ctzll(left) & 1) != 0;
      const auto v = Load<float>(stored);
      *value++ = own ? v : 1;
      stored += own ? 4 : 0;
    }
  }
}

size_t PackedRows::ReadRepeating(const char* p, uint64_t* key, uint16_t* field,
                                 float* value) const {
  const size_t n = Load<uint32_t>(p);
  p += 4;
  std::memcpy(field, p, 2 * n);
  read_keys_(p + 2 * n, n, key);
  std::memcpy(value, p + 2 * n + static_cast<size_t>(key_bytes_) * n, 4 * n);
  return n;
}

}  // namespace mariana
