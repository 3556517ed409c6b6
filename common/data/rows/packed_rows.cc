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

size_t MaskWords(uint32_t fields) { return (fields + 63) / 64; }

// What comes before a record's features.
struct MarksLayout {
  int weight = -1, group = -1, id = -1, dense = 0, bytes = 0;
  explicit MarksLayout(const Header& header) {
    const auto take = [this](bool there, size_t size) {
      const int at = bytes;
      bytes += there ? static_cast<int>(size) : 0;
      return there ? at : -1;
    };
    take(true, sizeof(float));  // the label
    weight = take(header.weights, sizeof(float));
    group = take(header.groups, sizeof(uint64_t));
    id = take(header.ids, sizeof(uint64_t));
    dense = take(true, sizeof(float) * header.dense_columns);
  }
};

// Whether any row has fields in another order than ascending, each once.
bool FieldsRepeat(const RowBatch& batch, size_t begin, size_t end) {
  const uint32_t first = batch.begin[begin], last = batch.begin[end];
  const uint16_t* field = batch.field.data();
  int64_t falls = 0;
  for (uint32_t i = first + 1; i < last; ++i) falls += field[i] <= field[i - 1];
  // Where a row with features begins they may fall.
  for (size_t r = begin + 1; r < end; ++r) {
    const uint32_t i = batch.begin[r];
    falls -= i > first && i < batch.begin[r + 1] && field[i] <= field[i - 1];
  }
  return falls > 0;
}

// A bit per field that has another value than 1 somewhere.
std::vector<uint64_t> ValuedFields(const RowBatch& batch, size_t begin, size_t end, size_t words) {
  std::vector<uint64_t> valued(words, 0);
  const uint32_t last = batch.begin[end];
  for (uint32_t i = batch.begin[begin]; i < last; ++i) {
    valued[batch.field[i] / 64] |= uint64_t{batch.value[i] != 1} << (batch.field[i] % 64);
  }
  return valued;
}

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

template <class T>
char* Put(const T& value, char* to) {
  std::memcpy(to, &value, sizeof(T));
  return to + sizeof(T);
}

// Writes records. Up to 8 bytes behind each may be written, too.
class RecordWriter {
 public:
  RecordWriter(const RowBatch& batch, const Header& header, std::vector<uint64_t> valued)
      : batch_(batch), header_(header), valued_(std::move(valued)), mask_(valued_.size()) {}

  char* Put(size_t row, char* to) {
    to = PutMarks(row, to);
    const uint32_t begin = batch_.begin[row], end = batch_.begin[row + 1];
    return header_.repeats ? PutRepeating(begin, end, to) : PutFields(begin, end, to);
  }

 private:
  char* PutMarks(size_t row, char* to) const {
    to = mariana::Put(batch_.label[row], to);
    if (header_.weights) to = mariana::Put(batch_.weight[row], to);
    if (header_.groups) to = mariana::Put(batch_.group[row], to);
    if (header_.ids) to = mariana::Put(batch_.id[row], to);
    const size_t columns = header_.dense_columns;
    const float* dense = batch_.dense.data() + row * columns;
    for (size_t c = 0; c < columns; ++c) to = mariana::Put(dense[c], to);
    return to;
  }

  char* PutKeys(uint32_t begin, uint32_t end, char* to) const {
    const int bytes = header_.key_bytes, shift = 64 - 8 * bytes;
    const uint64_t* key = batch_.key.data();
    for (uint32_t i = begin; i < end; ++i, to += bytes) mariana::Put(key[i] >> shift, to);
    return to;
  }

  char* PutFields(uint32_t begin, uint32_t end, char* to) {
    const uint16_t* field = batch_.field.data();
    const float* value = batch_.value.data();
    if (mask_.size() == 1) {
      uint64_t mask = 0;
      for (uint32_t i = begin; i < end; ++i) mask |= uint64_t{1} << field[i];
      mask_[0] = mask;
    } else {
      std::fill(mask_.begin(), mask_.end(), 0);
      for (uint32_t i = begin; i < end; ++i) mask_[field[i] / 64] |= uint64_t{1} << field[i] % 64;
    }
    for (const uint64_t word : mask_) to = mariana::Put(word, to);
    to = PutKeys(begin, end, to);
    const uint64_t* valued = valued_.data();
    for (uint32_t i = begin; i < end; ++i) {
      mariana::Put(value[i], to);
      to += 4 * (valued[field[i] / 64] >> field[i] % 64 & 1);
    }
    return to;
  }

  char* PutRepeating(uint32_t begin, uint32_t end, char* to) const {
    to = mariana::Put(end - begin, to);
    for (uint32_t i = begin; i < end; ++i) to = mariana::Put(batch_.field[i], to);
    to = PutKeys(begin, end, to);
    for (uint32_t i = begin; i < end; ++i) to = mariana::Put(batch_.value[i], to);
    return to;
  }

  const RowBatch& batch_;
  const Header header_;
  const std::vector<uint64_t> valued_;
  std::vector<uint64_t> mask_;
};

}  // namespace

size_t PackRows(const RowBatch& batch, int64_t begin, int64_t end, int fields, int key_bytes,
                std::vector<char>* block) {
  const auto first = static_cast<size_t>(begin), last = static_cast<size_t>(end);
  const size_t rows = last - first;
  Header header{};
  header.rows = static_cast<uint32_t>(rows);
  header.dense_columns = static_cast<uint32_t>(batch.dense_columns);
  header.fields = static_cast<uint32_t>(fields);
  header.key_bytes = static_cast<uint8_t>(key_bytes);
  for (size_t r = first; r < last; ++r) {
    header.most_features = std::max(header.most_features, batch.begin[r + 1] - batch.begin[r]);
  }
  header.repeats = FieldsRepeat(batch, first, last);
  header.weights = std::any_of(batch.weight.begin() + begin, batch.weight.begin() + end,
                               [](float w) { return w != 1; });
  header.groups = !batch.group.empty();
  header.ids = !batch.id.empty();
  const size_t words = MaskWords(header.fields);
  const auto valued = ValuedFields(batch, first, last, words);
  const size_t offsets_at = sizeof(Header) + 8 * words, records_at = offsets_at + 4 * (rows + 1);
  const size_t features = batch.begin[last] - batch.begin[first];
  const size_t of_row = static_cast<size_t>(MarksLayout(header).bytes) + 8 * words + 4;
  const size_t most = records_at + rows * of_row + features * (8 + 2 + 4) + kReadAhead;
  if (block->size() < most) block->resize(most);
  char* const out = block->data();
  std::memcpy(out, &header, sizeof(Header));
  if (words > 0) std::memcpy(out + sizeof(Header), valued.data(), 8 * words);
  RecordWriter records(batch, header, valued);
  char* to = out + records_at;
  for (size_t r = first; r <= last; ++r) {
    CHECK_LT(to - out, INT64_C(1) << 32) << "rows of a block exceed 4 GiB";
    mariana::Put(static_cast<uint32_t>(to - out - records_at), out + offsets_at + 4 * (r - first));
    if (r < last) to = records.Put(r, to);
  }
  std::memset(to, 0, kReadAhead);
  return static_cast<size_t>(to - out) + kReadAhead;
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
  const MarksLayout marks(header);
  weight_at_ = marks.weight;
  group_at_ = marks.group;
  id_at_ = marks.id;
  dense_at_ = marks.dense;
  marks_bytes_ = marks.bytes;
  valued_.resize(words);
  const char* p = block + sizeof(Header);
  if (words > 0) std::memcpy(valued_.data(), p, 8 * words);
  p += 8 * words;
  offsets_ = reinterpret_cast<const uint32_t*>(p);
  records_ = p + 4 * (rows + 1);
  read_keys_ = kReadKeys[key_bytes_];
  if (words == 1) SetRanges();
}

void PackedRows::MakeRoom(size_t rows, RowBatch* batch) const {
  batch->label.resize(rows);
  batch->weight.resize(rows);
  batch->begin.resize(rows + 1);
  batch->dense_columns = dense_columns_;
  batch->dense.resize(rows * static_cast<size_t>(dense_columns_));
  batch->group.resize(group_at_ >= 0 ? rows : 0);
  batch->id.resize(id_at_ >= 0 ? rows : 0);
}

void PackedRows::ReadMarks(int64_t r, size_t to, RowBatch* batch) const {
  const char* record = records_ + offsets_[r];
  batch->label[to] = Load<float>(record);
  batch->weight[to] = weight_at_ >= 0 ? Load<float>(record + weight_at_) : 1;
  if (group_at_ >= 0) batch->group[to] = Load<uint64_t>(record + group_at_);
  if (id_at_ >= 0) batch->id[to] = Load<uint64_t>(record + id_at_);
  const auto columns = static_cast<size_t>(dense_columns_);
  const char* dense = record + dense_at_;
  float* out = batch->dense.data() + to * columns;
  if (columns < kFloats) {
    for (size_t c = 0; c < columns; ++c) out[c] = Load<float>(dense + 4 * c);
    return;
  }
  // Whole vectors; the last one overlaps the one before.
  for (size_t c = 0; c < columns; c += kFloats) {
    const size_t at = std::min(c, columns - kFloats);
    Store(Load<Floats>(dense + 4 * at), out + at);
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
