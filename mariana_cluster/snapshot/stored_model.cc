#include "mariana_cluster/snapshot/stored_model.h"

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <utility>

#include "common/base/error.h"
#include "mariana_cluster/table/table_file.h"

namespace mariana {
namespace {

constexpr int64_t kRowsAtOnce = 1 << 14;

const SafetensorsFile::Entry& FindTensor(const SafetensorsFile& file, const std::string& name,
                                         Dtype dtype, const Shape& shape) {
  const SafetensorsFile::Entry* e = file.Find(name);
  if (e == nullptr || e->dtype != dtype || e->shape != shape ||
      e->stored != SafetensorsFile::Stored::kAsRead) {
    throw Fail(ExitCode::kBadData, file.path(), ": tensor \"", name, "\" is ",
               e == nullptr ? "missing" : StrCat(Name(e->dtype), " ", e->shape.ToString()),
               "; expected ", Name(dtype), " ", shape.ToString());
  }
  return *e;
}

int64_t RowsIn(const SafetensorsFile& file, const std::string& table) {
  const SafetensorsFile::Entry* e = file.Find(TensorOfTable(file, table, "key"));
  return e == nullptr || e->shape.rank() != 1 ? 0 : e->shape[0];
}

// The rows of a table in some files, one after the other.
class RowCursor {
 public:
  RowCursor(std::vector<const SafetensorsFile*> files, std::string table, int64_t width)
      : files_(std::move(files)), table_(std::move(table)), width_(width) {}

  // Goes to the next row; false behind the last one.
  bool Next() {
    if (++at_ < static_cast<int64_t>(keys_.size())) return true;
    at_ = 0;
    first_ += static_cast<int64_t>(keys_.size());
    keys_.clear();
    while (file_ < files_.size()) {
      const int64_t rows = RowsIn(*files_[file_], table_);
      if (first_ < rows) {
        Fill(*files_[file_], rows);
        return true;
      }
      first_ = 0;
      ++file_;
    }
    return false;
  }
  int64_t key() const { return keys_[static_cast<size_t>(at_)]; }
  const float* weights() const { return &weights_[static_cast<size_t>(at_ * width_)]; }

 private:
  void Fill(const SafetensorsFile& file, int64_t rows) {
    const auto& keys = FindTensor(file, TensorOfTable(file, table_, "key"), Dtype::kI64, {rows});
    const auto& values =
        FindTensor(file, TensorOfTable(file, table_, "value"), Dtype::kF32, {rows, width_});
    const int64_t n = std::min(kRowsAtOnce, rows - first_), row_bytes = width_ * 4;
    keys_.resize(static_cast<size_t>(n));
    weights_.resize(static_cast<size_t>(n * width_));
    file.ReadBytes(keys, first_ * 8, n * 8, reinterpret_cast<char*>(keys_.data()));
    file.ReadBytes(values, first_ * row_bytes, n * row_bytes,
                   reinterpret_cast<char*>(weights_.data()));
  }

  std::vector<const SafetensorsFile*> files_;
  std::string table_;
  int64_t width_;
  size_t file_ = 0;
  int64_t first_ = 0, at_ = -1;  // of the file's rows, those in memory; among these
  std::vector<int64_t> keys_;
  std::vector<float> weights_;
};

}  // namespace

StoredModel StoredModel::Open(const std::string& path) {
  StoredModel model;
  if (const auto folder = FindModelFolder(path)) {
    for (const CheckpointFolder& base : folder->bases) model.AddLayer(base, false);
    model.AddLayer(*folder, false);
  } else {
    model.layers_.emplace_back();
    model.layers_.back().push_back({SafetensorsFile(FindModel(path)), std::nullopt});
  }
  return model;
}

StoredModel::StoredModel(const CheckpointFolder& checkpoint) {
  for (const CheckpointFolder& base : checkpoint.bases) AddLayer(base, true);
  AddLayer(checkpoint, true);
}

void StoredModel::AddLayer(const CheckpointFolder& folder, bool with_optimizer) {
  if (with_optimizer && folder.model.size() != folder.optimizer.size()) {
    throw Fail(ExitCode::kBadData, folder.path, ": has ", folder.model.size(),
               " files of weights and ", folder.optimizer.size(), " of the optimizer's state");
  }
  Layer layer;
  for (size_t i = 0; i < folder.model.size(); ++i) {
    layer.push_back({SafetensorsFile(folder.model[i]), std::nullopt});
    if (with_optimizer) layer.back().optimizer.emplace(folder.optimizer[i]);
  }
  layers_.push_back(std::move(layer));
}

std::string StoredModel::Files() const {
  nlohmann::json layers = nlohmann::json::array();
  for (const Layer& layer : layers_) {
    layers.push_back(nlohmann::json::array());
    for (const Part& p : layer) {
      const auto path = [](const SafetensorsFile& file) {
        return std::filesystem::absolute(file.path()).string();
      };
      layers.back().push_back({path(p.model), p.optimizer ? path(*p.optimizer) : ""});
    }
  }
  return layers.dump();
}

StoredModel StoredModel::FromFiles(const std::string& text) {
  StoredModel model;
  for (const auto& layer : nlohmann::json::parse(text)) {
    model.layers_.emplace_back();
    for (const auto& part : layer) {
      const std::string optimizer = part.at(1);
      model.layers_.back().push_back(
          {SafetensorsFile(part.at(0).get<std::string>()), std::nullopt});
      if (!optimizer.empty()) model.layers_.back().back().optimizer.emplace(optimizer);
    }
  }
  return model;
}

bool StoredModel::IsOfTable(const std::string& tensor,
                            const std::vector<std::string>& tables) const {
  return std::any_of(tables.begin(), tables.end(), [&](const std::string& table) {
    return tensor == TensorOfTable(newest(), table, "key") ||
           tensor == TensorOfTable(newest(), table, "value");
  });
}

int64_t StoredModel::ReadTable(const std::vector<TableShard*>& shards, bool with_optimizer) const {
  int64_t rows = 0;
  for (const Layer& layer : layers_) {
    for (const Part& part : layer) {
      rows += mariana::ReadTable(part.model, with_optimizer ? &*part.optimizer : nullptr, shards);
    }
  }
  return rows;
}

int64_t StoredModel::RowsOf(const std::string& table, int64_t width) const {
  int64_t rows = 0;
  if (layers_.size() == 1) {
    for (const Part& part : layers_[0]) rows += RowsIn(part.model, table);
  } else {
    ForEachRow(table, width, [&](int64_t, const float*) { ++rows; });
  }
  return rows;
}

void StoredModel::ForEachRow(
    const std::string& table, int64_t width,
    const std::function<void(int64_t key, const float* weights)>& f) const {
  std::vector<RowCursor> cursors;  // the newest layer first: of equal keys it has the say
  for (auto layer = layers_.rbegin(); layer != layers_.rend(); ++layer) {
    std::vector<const SafetensorsFile*> files;
    for (const Part& part : *layer) files.push_back(&part.model);
    cursors.emplace_back(std::move(files), table, width);
    if (!cursors.back().Next()) cursors.pop_back();
  }
  while (!cursors.empty()) {
    // Keys are unsigned.
    const auto least = std::min_element(
        cursors.begin(), cursors.end(), [](const RowCursor& a, const RowCursor& b) {
          return static_cast<uint64_t>(a.key()) < static_cast<uint64_t>(b.key());
        });
    const int64_t key = least->key();
    f(key, least->weights());
    cursors.erase(std::remove_if(cursors.begin(), cursors.end(),
                                 [&](RowCursor& c) { return c.key() == key && !c.Next(); }),
                  cursors.end());
  }
}

void WriteInOneFile(const StoredModel& model,
                    const std::vector<std::pair<std::string, int64_t>>& tables_and_widths,
                    const std::string& path) {
  std::vector<std::string> names;
  for (const auto& [table, width] : tables_and_widths) names.push_back(table);
  std::vector<TensorFile::Tensor> tensors;
  const SafetensorsFile& newest = model.newest();
  for (const SafetensorsFile::Entry& e : newest.tensors()) {
    if (!model.IsOfTable(e.name, names)) tensors.push_back({e.name, e.dtype, e.shape});
  }
  const size_t dense = tensors.size();
  Metadata metadata = newest.metadata();
  for (const auto& [table, width] : tables_and_widths) {
    const int64_t rows = model.RowsOf(table, width);
    tensors.push_back({table + ".key", Dtype::kI64, {rows}});
    tensors.push_back({table + ".value", Dtype::kF32, {rows, width}});
    nlohmann::json about = nlohmann::json::parse(metadata[table], nullptr, false);
    if (!about.is_object()) continue;
    about.erase("part");
    about.erase("rows");
    metadata[table] = about.dump();
  }
  TensorFile out(path, tensors, metadata);
  for (size_t i = 0; i < dense; ++i) {
    const HostTensor tensor = newest.Read(tensors[i].name);
    out.Append(i, tensor.bytes.data(), tensor.bytes.size());
  }
  for (size_t t = 0; t < tables_and_widths.size(); ++t) {
    const auto& [table, width] = tables_and_widths[t];
    const size_t bytes = static_cast<size_t>(width) * sizeof(float), key_at = dense + 2 * t;
    model.ForEachRow(table, width, [&](int64_t key, const float* weights) {
      out.Append(key_at, &key, sizeof(key));
      out.Append(key_at + 1, weights, bytes);
    });
  }
  out.Finish();
}

}  // namespace mariana
