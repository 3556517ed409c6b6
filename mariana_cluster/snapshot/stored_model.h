// StoredModel: a click model on disk, whatever it is in: one file; parts, written by as many
// servers; changes on top of an earlier snapshot. To its reader it is one: tables as ascending
// rows, dense tensors by name, metadata.
//
//   checkpoints/step-00000900/  model-00001-of-00002.safetensors  model-00002-of-00002.safetensors
//   checkpoints/step-00001000/  the same names: rows changed since step 900   <- manifest: base
//
// Rows are streamed. Error(kBadData) for files that are no such model. Thread-safe: const methods
// share nothing but open files.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/train/checkpoint.h"
#include "mariana_cluster/table/table_shard.h"

namespace mariana {

class StoredModel {
 public:
  // A run directory, a checkpoint, or a .safetensors file (FindModelFolder).
  static StoredModel Open(const std::string& path);
  // With the optimizer's state.
  explicit StoredModel(const CheckpointFolder& checkpoint);
  // As text, for a process that is to open the same files, which have been verified.
  std::string Files() const;
  static StoredModel FromFiles(const std::string& text);

  // For people: the file, or the first of them.
  const std::string& path() const { return newest().path(); }
  // That has the metadata, and all that is no table.
  const SafetensorsFile& newest() const { return layers_.back().front().model; }
  const SafetensorsFile& newest_optimizer() const { return *layers_.back().front().optimizer; }
  bool is_one_file() const { return layers_.size() == 1 && layers_[0].size() == 1; }
  // Whether a tensor of newest() belongs to one of these tables.
  bool IsOfTable(const std::string& tensor, const std::vector<std::string>& tables) const;

  // As table_file.h's ReadTable: the rows of these shards. How many were put there.
  int64_t ReadTable(const std::vector<TableShard*>& shards, bool with_optimizer) const;

  // Rows of a table, 0 where there is none; f(key, weights [width]) by ascending key, hashed: the
  // row's number.
  int64_t RowsOf(const std::string& table, int64_t width) const;
  void ForEachRow(const std::string& table, int64_t width,
                  const std::function<void(int64_t key, const float* weights)>& f) const;

 private:
  struct Part {
    SafetensorsFile model;
    std::optional<SafetensorsFile> optimizer;
  };
  using Layer = std::vector<Part>;  // in the order of its keys
  StoredModel() = default;
  void AddLayer(const CheckpointFolder& folder, bool with_optimizer);

  std::vector<Layer> layers_;  // the full one first, each with the changes since the one before it
};

// Writes the model into one file, whatever it was in.
void WriteInOneFile(const StoredModel& model,
                    const std::vector<std::pair<std::string, int64_t>>& tables_and_widths,
                    const std::string& path);

}  // namespace mariana
