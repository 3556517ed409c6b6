#include "mariana_cluster/table/table_file.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

constexpr int64_t kRowsAtOnce = 1 << 14;
constexpr auto kLine = static_cast<size_t>(Sightings::kLineBytes);

bool IsKeyed(const TableShard& t) { return t.form() == TableForm::kKeyed; }

std::string PartName(const std::string& table, const std::string& what, int64_t part,
                     int64_t parts) {
  return StrCat(table, ".", what, parts == 1 ? "" : StrCat(".", part));
}

// What says what a table is, in the metadata.
nlohmann::json Description(const TableShard& t) {
  return {{"form", IsKeyed(t) ? "keyed" : "hashed"},
          {"bits", IsKeyed(t) ? 0 : t.bits()},
          {"parts", t.layout().Signature()},
          {"seen_lines", t.seen_lines()},
          {"stamp", t.saved_stamp()}};
}

// The tensors of one table in the two files, and how its rows come to them.
class TableWriter {
 public:
  TableWriter(const TablesToWrite& what, const std::vector<const TableShard*>& shards)
      : what_(what),
        shards_(shards),
        width_(shards[0]->layout().width),
        state_(shards[0]->layout().state_floats()) {
    for (const TableShard* s : shards) {
      s->ForEach([this](uint64_t, const char*) { ++rows_; }, what.rows);
      s->ForEachSeen([this](int64_t, const char*) { ++lines_; }, what.rows);
    }
  }

  void Describe(Metadata* metadata) const {
    nlohmann::json about = Description(*shards_[0]);
    if (what_.parts > 1) about["part"] = {what_.part, what_.parts};
    if (what_.rows == TableShard::Rows::kChanged) about["rows"] = "changed";
    CHECK(metadata->emplace(shards_[0]->name(), about.dump()).second) << shards_[0]->name();
  }

  void AddModel(std::vector<TensorFile::Tensor>* tensors) {
    key_ = Add("key", Dtype::kI64, {rows_}, tensors);
    value_ = Add("value", Dtype::kF32, {rows_, width_}, tensors);
  }

  void AddOptimizer(std::vector<TensorFile::Tensor>* tensors) {
    if (state_ > 0) state_at_ = Add("state", Dtype::kF32, {rows_, state_}, tensors);
    if (!IsKeyed(*shards_[0])) return;
    stamp_ = Add("stamp", Dtype::kI32, {rows_}, tensors);
    if (lines_ == 0) return;
    seen_line_ = Add("seen_line", Dtype::kI64, {lines_}, tensors);
    seen_ = Add("seen", Dtype::kU8, {lines_, Sightings::kLineBytes}, tensors);
  }

  void Write(TensorFile* model, TensorFile* optimizer) const {
    std::vector<float> value(static_cast<size_t>(width_)), state(static_cast<size_t>(state_));
    for (const TableShard* s : shards_) {
      s->ForEach(
          [&](uint64_t key, const char* row) {
            ReadRow(s->layout(), row, value.data(), state.data());
            model->Append(key_, &key, sizeof(key));
            model->Append(value_, value.data(), value.size() * sizeof(float));
            if (state_ > 0) {
              optimizer->Append(state_at_, state.data(), state.size() * sizeof(float));
            }
            if (!IsKeyed(*s)) return;
            const uint32_t stamp = s->StampOf(row);
            optimizer->Append(stamp_, &stamp, sizeof(stamp));
          },
          what_.rows);
      s->ForEachSeen(
          [&](int64_t line, const char* counters) {
            optimizer->Append(seen_line_, &line, sizeof(line));
            optimizer->Append(seen_, counters, static_cast<size_t>(Sightings::kLineBytes));
          },
          what_.rows);
    }
  }

 private:
  size_t Add(const char* what, Dtype dtype, Shape shape,
             std::vector<TensorFile::Tensor>* tensors) const {
    tensors->push_back(
        {PartName(shards_[0]->name(), what, what_.part, what_.parts), dtype, std::move(shape)});
    return tensors->size() - 1;
  }

  const TablesToWrite& what_;
  const std::vector<const TableShard*>& shards_;
  const int64_t width_, state_;
  int64_t rows_ = 0, lines_ = 0;
  size_t key_ = 0, value_ = 0, state_at_ = 0, stamp_ = 0, seen_line_ = 0, seen_ = 0;
};

void CheckSpace(const std::string& path, int64_t needed) {
  const int64_t free = FreeBytes(path);
  if (free >= needed) return;
  throw Fail(ExitCode::kIo, "cannot write ", path, ": disk full: it needs ", needed, " bytes, ",
             free, " are free");
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
  TableReader(const SafetensorsFile& model, const SafetensorsFile* optimizer,
              const std::vector<TableShard*>& shards)
      : model_(model),
        optimizer_(optimizer),
        exact_(optimizer != nullptr),
        shards_(shards),
        table_(*shards.at(0)),
        by_number_(static_cast<size_t>(table_.shards()), nullptr) {
    for (TableShard* s : shards) by_number_[static_cast<size_t>(s->shard())] = s;
  }

  int64_t Run() {
    const nlohmann::json about = Describe();
    const auto* key = Find(&model_, "key", Dtype::kI64, {-1});
    if (key == nullptr) throw Bad("has no rows of this table");
    rows_ = key->shape[0];
    const int64_t width = table_.layout().width, state = table_.layout().state_floats();
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
    for (TableShard* s : shards_) {
      if (exact_) s->SetStamp(about.value("stamp", 0u));
    }
    return put_;
  }

 private:
  Error Bad(const std::string& what) const {
    return Fail(ExitCode::kBadData, model_.path(), ": table \"", table_.name(), "\": ", what);
  }

  // The metadata, checked against the table.
  nlohmann::json Describe() const {
    const auto found = model_.metadata().find(table_.name());
    if (found == model_.metadata().end()) throw Bad("is not there");
    auto about = nlohmann::json::parse(found->second, nullptr, false);
    const nlohmann::json mine = Description(table_);
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
    const auto* entry = file->Find(TensorOfTable(*file, table_.name(), what));
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
           const char* stamps) {
    const int64_t width = table_.layout().width, state = table_.layout().state_floats();
    for (int64_t i = 0; i < n; ++i) {
      uint64_t key;
      uint32_t stamp = 0;
      std::memcpy(&key, keys + i * 8, sizeof(key));
      TableShard* const owner = OwnerOf(key);
      if (owner == nullptr) continue;
      if (stamps != nullptr) std::memcpy(&stamp, stamps + i * 4, sizeof(stamp));
      owner->Put(key, reinterpret_cast<const float*>(values) + i * width,
                 states == nullptr ? nullptr : reinterpret_cast<const float*>(states) + i * state,
                 stamp);
      ++put_;
    }
  }

  // Null: it is not among those to fill.
  TableShard* OwnerOf(uint64_t key) const {
    if (!IsKeyed(table_)) {
      const int64_t bits = table_.bits();
      if (key >> bits != 0) throw Bad(StrCat("row ", key, " lies beyond its 2^", bits, " rows"));
      key <<= 64 - bits;
    }
    return by_number_[static_cast<size_t>(TableShard::ShardOf(key, table_.shards()))];
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
        if (where < 0 || where >= table_.seen_lines()) throw Bad("has sightings beyond its end");
        for (TableShard* s : shards_) {
          if (s->HoldsSeen(where)) std::memcpy(s->SeenLine(where), line + i * bytes, kLine);
        }
      }
    }
  }

  const SafetensorsFile& model_;
  const SafetensorsFile* optimizer_;
  bool exact_;
  const std::vector<TableShard*>& shards_;  // to fill
  const TableShard& table_;                 // one of them
  std::vector<TableShard*> by_number_;      // null: not to fill
  int64_t rows_ = 0, put_ = 0;
};

}  // namespace

std::vector<WrittenFile> WriteTables(const TablesToWrite& what, const std::string& model_path,
                                     const std::string& optimizer_path) {
  std::vector<TableWriter> tables;
  for (const auto& shards : what.tables) tables.emplace_back(what, shards);
  std::vector<TensorFile::Tensor> model_tensors, optimizer_tensors;
  for (const HostTensor& t : what.model) model_tensors.push_back({t.name, t.dtype, t.shape});
  for (const HostTensor& t : what.optimizer) {
    optimizer_tensors.push_back({t.name, t.dtype, t.shape});
  }
  Metadata model_metadata = what.model_metadata, optimizer_metadata;
  for (TableWriter& t : tables) {
    t.AddModel(&model_tensors);
    t.AddOptimizer(&optimizer_tensors);
    t.Describe(&model_metadata);
    t.Describe(&optimizer_metadata);
  }
  TensorFile model(model_path, model_tensors, model_metadata);
  TensorFile optimizer(optimizer_path, optimizer_tensors, optimizer_metadata);
  CheckSpace(model_path, model.bytes() + optimizer.bytes());
  for (size_t i = 0; i < what.model.size(); ++i) {
    model.Append(i, what.model[i].bytes.data(), what.model[i].bytes.size());
  }
  for (size_t i = 0; i < what.optimizer.size(); ++i) {
    optimizer.Append(i, what.optimizer[i].bytes.data(), what.optimizer[i].bytes.size());
  }
  for (const TableWriter& t : tables) t.Write(&model, &optimizer);
  return {model.Finish(), optimizer.Finish()};
}

int64_t ReadTable(const SafetensorsFile& model, const SafetensorsFile* optimizer,
                  const std::vector<TableShard*>& shards) {
  return TableReader(model, optimizer, shards).Run();
}

std::string TensorOfTable(const SafetensorsFile& file, const std::string& table, const char* what) {
  const auto found = file.metadata().find(table);
  const auto about = nlohmann::json::parse(
      found == file.metadata().end() ? std::string() : found->second, nullptr, false);
  if (!about.is_object() || !about.contains("part")) return table + "." + what;
  const nlohmann::json& part = about["part"];
  if (!part.is_array() || part.size() != 2 || !part[0].is_number_integer()) {
    throw Fail(ExitCode::kBadData, file.path(), ": table \"", table, "\": has a bad part");
  }
  return PartName(table, what, part[0], 2);
}

}  // namespace mariana
