#include "mariana_cluster/table/table_file.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/train/safetensors_header.h"

namespace mariana {
namespace {

constexpr int64_t kRowsAtOnce = 1 << 14;

bool IsKeyed(const Table& t) { return t.shard(0)->form() == TableForm::kKeyed; }

void ForEachRow(
    const Table& table,
    const std::function<void(uint64_t key, const char* row, const TableShard& shard)>& f) {
  for (int s = 0; s < table.shards(); ++s) {
    const TableShard& shard = *table.shard(s);
    shard.ForEach([&](uint64_t key, const char* row) { f(key, row, shard); });
  }
}

// A tensor of the file and how its bytes are made.
struct Stream {
  SafetensorsFile::Entry entry;
  std::function<void(FileWriter* out)> write;
};

void AddTensor(const Table& table, const char* what, Dtype dtype, Shape shape,
               std::function<void(FileWriter*)> write, std::vector<Stream>* streams) {
  const int64_t bytes = shape.elements() * SizeOf(dtype);
  streams->push_back(
      {{table.name() + "." + what, dtype, std::move(shape), 0, bytes}, std::move(write)});
}

// The floats of all rows, those of one kind: `width` a row, picked from (values, state).
void WriteFloats(const Table& table, bool state, int64_t width, FileWriter* out) {
  std::vector<float> v(table.width()), s(static_cast<size_t>(table.layout().state_floats()));
  ForEachRow(table, [&](uint64_t, const char* row, const TableShard&) {
    ReadRow(table.layout(), row, v.data(), s.data());
    out->Append(state ? s.data() : v.data(), static_cast<size_t>(width) * sizeof(float));
  });
}

int64_t RowsOf(const Table& table) {
  int64_t rows = 0;
  ForEachRow(table, [&](uint64_t, const char*, const TableShard&) { ++rows; });
  return rows;
}

int64_t SeenLines(const Table& table) {
  int64_t lines = 0;
  for (int s = 0; s < table.shards(); ++s) lines += table.shard(s)->sightings().bytes();
  return lines / Sightings::kLineBytes;
}

// f(line among all shards', its counters) for lines in which something was counted.
void ForEachSeen(const Table& table, const std::function<void(int64_t, const char*)>& f) {
  int64_t line = 0;
  const char zeros[Sightings::kLineBytes] = {};
  for (int s = 0; s < table.shards(); ++s) {
    const Sightings& seen = table.shard(s)->sightings();
    for (int64_t at = 0; at < seen.bytes(); at += Sightings::kLineBytes, ++line) {
      const char* counters = seen.data() + at;
      if (std::memcmp(counters, zeros, sizeof(zeros)) != 0) f(line, counters);
    }
  }
}

void AddModel(const Table& table, std::vector<Stream>* streams) {
  const Table* t = &table;
  const int64_t rows = RowsOf(table), width = table.width();
  AddTensor(
      table, "key", Dtype::kI64, {rows},
      [t](FileWriter* out) {
        ForEachRow(*t, [&](uint64_t key, const char*, const TableShard&) {
          out->Append(&key, sizeof(key));
        });
      },
      streams);
  AddTensor(
      table, "value", Dtype::kF32, {rows, width},
      [=](FileWriter* out) { WriteFloats(*t, false, width, out); }, streams);
}

void AddOptimizer(const Table& table, std::vector<Stream>* streams) {
  const Table* t = &table;
  const int64_t state = table.layout().state_floats();
  const int64_t rows = state > 0 || IsKeyed(table) ? RowsOf(table) : 0;
  if (state > 0) {
    AddTensor(
        table, "state", Dtype::kF32, {rows, state},
        [=](FileWriter* out) { WriteFloats(*t, true, state, out); }, streams);
  }
  if (!IsKeyed(table)) return;
  AddTensor(
      table, "stamp", Dtype::kI32, {rows},
      [t](FileWriter* out) {
        ForEachRow(*t, [&](uint64_t, const char* row, const TableShard& shard) {
          const uint32_t stamp = shard.StampOf(row);
          out->Append(&stamp, sizeof(stamp));
        });
      },
      streams);
  int64_t lines = 0;
  ForEachSeen(table, [&](int64_t, const char*) { ++lines; });
  if (lines == 0) return;
  AddTensor(
      table, "seen_line", Dtype::kI64, {lines},
      [t](FileWriter* out) {
        ForEachSeen(*t, [&](int64_t line, const char*) { out->Append(&line, sizeof(line)); });
      },
      streams);
  AddTensor(
      table, "seen", Dtype::kU8, {lines, Sightings::kLineBytes},
      [t](FileWriter* out) {
        ForEachSeen(*t, [&](int64_t, const char* counters) {
          out->Append(counters, static_cast<size_t>(Sightings::kLineBytes));
        });
      },
      streams);
}

std::string Description(const Table& table) {
  const nlohmann::json about = {{"form", IsKeyed(table) ? "keyed" : "hashed"},
                                {"bits", IsKeyed(table) ? 0 : table.shard(0)->bits()},
                                {"parts", table.layout().Signature()},
                                {"seen_lines", SeenLines(table)},
                                {"stamp", table.shard(0)->stamp()}};
  return about.dump();
}

// ---- reading
// Consecutive rows of one tensor, [rows, width] elements of `size` bytes.
class TensorRows {
 public:
  TensorRows(const SafetensorsFile* file, const SafetensorsFile::Entry* entry, int64_t row_bytes)
      : file_(file), entry_(entry), row_bytes_(row_bytes) {}
  // Rows [first, first + n); null when the file lacks the tensor.
  const char* Read(int64_t first, int64_t n) {
    if (entry_ == nullptr) return nullptr;
    buffer_.resize(static_cast<size_t>(n * row_bytes_));
    file_->ReadBytes(*entry_, first * row_bytes_, n * row_bytes_, buffer_.data());
    return buffer_.data();
  }

 private:
  const SafetensorsFile* file_;
  const SafetensorsFile::Entry* entry_;
  int64_t row_bytes_;
  std::vector<char> buffer_;
};

class TableReader {
 public:
  TableReader(const SafetensorsFile& model, const SafetensorsFile* optimizer, Table* table)
      : model_(model), optimizer_(optimizer), exact_(optimizer != nullptr), table_(table) {}

  int64_t Run() {
    const nlohmann::json about = Describe();
    const auto* key = Find(&model_, "key", Dtype::kI64, {-1});
    if (key == nullptr) throw Bad("has no rows of this table");
    rows_ = key->shape[0];
    const int64_t width = table_->width(), state = table_->layout().state_floats();
    const auto* value = Find(&model_, "value", Dtype::kF32, {rows_, width});
    if (value == nullptr) throw Bad("lacks the weights of this table");
    const auto* states =
        exact_ && state > 0 ? Find(optimizer_, "state", Dtype::kF32, {rows_, state}) : nullptr;
    if (exact_ && state > 0 && states == nullptr) throw Bad("lacks the optimizer's state");
    const auto* stamps = exact_ ? Find(optimizer_, "stamp", Dtype::kI32, {rows_}) : nullptr;
    TensorRows keys(&model_, key, 8), values(&model_, value, width * 4),
        state_rows(optimizer_, states, state * 4), stamp_rows(optimizer_, stamps, 4);
    for (int64_t at = 0; at < rows_; at += kRowsAtOnce) {
      const int64_t n = std::min(kRowsAtOnce, rows_ - at);
      Put(n, keys.Read(at, n), values.Read(at, n), state_rows.Read(at, n), stamp_rows.Read(at, n));
    }
    if (exact_) ReadSightings();
    for (int s = 0; exact_ && s < table_->shards(); ++s) {
      table_->shard(s)->SetStamp(about.value("stamp", 0u));
    }
    return rows_;
  }

 private:
  Error Bad(const std::string& what) const {
    return Fail(ExitCode::kBadData, model_.path(), ": table \"", table_->name(), "\": ", what);
  }

  // The metadata, checked against the table.
  nlohmann::json Describe() const {
    const auto found = model_.metadata().find(table_->name());
    if (found == model_.metadata().end()) throw Bad("is not there");
    auto about = nlohmann::json::parse(found->second, nullptr, false);
    const nlohmann::json mine = nlohmann::json::parse(Description(*table_));
    if (!about.is_object()) throw Bad("its description is no JSON object");
    for (const char* what : {"form", "bits", "parts", "seen_lines"}) {
      if (!exact_ && (std::string(what) == "parts" || std::string(what) == "seen_lines")) continue;
      if (!about.contains(what) || about[what] != mine[what]) {
        throw Bad(StrCat("its ", what, " was ", about.value(what, nlohmann::json()).dump(),
                         " and is ", mine[what].dump(), " here"));
      }
    }
    if (about.contains("stamp") && !about["stamp"].is_number_unsigned())
      throw Bad("has a bad stamp");
    return about;
  }

  // Null if the file lacks it; -1 stands for any extent.
  const SafetensorsFile::Entry* Find(const SafetensorsFile* file, const char* what, Dtype dtype,
                                     const Shape& shape) const {
    const auto* entry = file->Find(table_->name() + "." + what);
    if (entry == nullptr) return nullptr;
    bool fits = entry->dtype == dtype && entry->shape.rank() == shape.rank();
    for (int i = 0; fits && i < shape.rank(); ++i) {
      fits = shape[i] < 0 || entry->shape[i] == shape[i];
    }
    if (!fits) {
      throw Bad(StrCat(what, " is ", Name(entry->dtype), " ", entry->shape.ToString(),
                       " and should be ", Name(dtype), " ", shape.ToString()));
    }
    return entry;
  }

  void Put(int64_t n, const char* keys, const char* values, const char* states,
           const char* stamps) const {
    const int64_t width = table_->width(), state = table_->layout().state_floats();
    for (int64_t i = 0; i < n; ++i) {
      uint64_t key;
      uint32_t stamp = 0;
      std::memcpy(&key, keys + i * 8, sizeof(key));
      if (stamps != nullptr) std::memcpy(&stamp, stamps + i * 4, sizeof(stamp));
      OwnerOf(key)->Put(
          key, reinterpret_cast<const float*>(values) + i * width,
          states == nullptr ? nullptr : reinterpret_cast<const float*>(states) + i * state, stamp);
    }
  }

  TableShard* OwnerOf(uint64_t key) const {
    if (!IsKeyed(*table_)) {
      const int64_t bits = table_->shard(0)->bits();
      if (key >> bits != 0) throw Bad(StrCat("row ", key, " lies beyond its 2^", bits, " rows"));
      key <<= 64 - bits;
    }
    return table_->shard(TableShard::ShardOf(key, table_->shards()));
  }

  void ReadSightings() const {
    const auto* number = Find(optimizer_, "seen_line", Dtype::kI64, {-1});
    if (number == nullptr) return;
    const int64_t lines = number->shape[0], bytes = Sightings::kLineBytes;
    const auto* counters = Find(optimizer_, "seen", Dtype::kU8, {lines, bytes});
    if (counters == nullptr) throw Bad("lacks its sightings");
    TensorRows numbers(optimizer_, number, 8), seen(optimizer_, counters, bytes);
    for (int64_t at = 0; at < lines; at += kRowsAtOnce) {
      const int64_t n = std::min(kRowsAtOnce, lines - at);
      const char *from = numbers.Read(at, n), *line = seen.Read(at, n);
      for (int64_t i = 0; i < n; ++i) {
        int64_t where;
        std::memcpy(&where, from + i * 8, sizeof(where));
        std::memcpy(SeenLine(where), line + i * bytes, static_cast<size_t>(bytes));
      }
    }
  }

  // A line among all shards'.
  char* SeenLine(int64_t line) const {
    for (int s = 0; line >= 0 && s < table_->shards(); ++s) {
      const Sightings& seen = table_->shard(s)->sightings();
      const int64_t lines = seen.bytes() / Sightings::kLineBytes;
      if (line < lines) return seen.data() + line * Sightings::kLineBytes;
      line -= lines;
    }
    throw Bad("has sightings beyond its end");
  }

  const SafetensorsFile& model_;
  const SafetensorsFile* optimizer_;
  bool exact_;
  Table* table_;
  int64_t rows_ = 0;
};

}  // namespace

void WriteTables(FileWriter* out, const std::vector<const Table*>& tables, TablePart part,
                 const std::vector<HostTensor>& others, const Metadata& metadata) {
  SafetensorsHeader header{metadata, {}};
  std::vector<Stream> streams;
  for (const Table* table : tables) {
    (part == TablePart::kModel ? AddModel : AddOptimizer)(*table, &streams);
    CHECK(header.metadata.emplace(table->name(), Description(*table)).second) << table->name();
  }
  for (const HostTensor& t : others) {
    streams.push_back({{t.name, t.dtype, t.shape, 0, static_cast<int64_t>(t.bytes.size())},
                       [&t](FileWriter* to) { to->Append(t.bytes.data(), t.bytes.size()); }});
  }
  // Wide types first, so that each tensor is aligned to its own width.
  std::stable_sort(streams.begin(), streams.end(), [](const Stream& a, const Stream& b) {
    return SizeOf(a.entry.dtype) > SizeOf(b.entry.dtype);
  });
  int64_t offset = 0;
  for (Stream& s : streams) {
    s.entry.offset = offset;
    offset += s.entry.bytes;
    header.tensors.push_back(s.entry);
  }
  const std::string text = PrintSafetensorsHeader(header);
  const uint64_t length = text.size();
  out->Append(&length, sizeof(length));  // little-endian, as x86 is
  out->Append(text.data(), text.size());
  for (const Stream& s : streams) {
    const int64_t before = out->bytes();
    s.write(out);
    CHECK_EQ(out->bytes() - before, s.entry.bytes) << s.entry.name << " changed while it was saved";
  }
}

int64_t TableFileBytes(const std::vector<const Table*>& tables, TablePart part,
                       const std::vector<HostTensor>& others) {
  int64_t bytes = SafetensorsBytes(others, {});
  for (const Table* table : tables) {
    std::vector<Stream> streams;
    (part == TablePart::kModel ? AddModel : AddOptimizer)(*table, &streams);
    for (const Stream& s : streams) bytes += s.entry.bytes;
  }
  return bytes;
}

int64_t ReadTable(const SafetensorsFile& model, const SafetensorsFile* optimizer, Table* table) {
  return TableReader(model, optimizer, table).Run();
}

}  // namespace mariana
