// Checkpoints: everything a run needs to go on, saved so that at any moment, kill -9 and a full
// disk included, the run directory holds a complete one.
//
// A save writes into a hidden folder beside the others: space check, model.safetensors,
// optimizer.safetensors, state.json, each with a CRC32C on the way and fsynced, manifest.json
// (sizes and checksums) last, fsync of the folder; then renames it to step-NNNNNNNN, fsyncs
// checkpoints/, moves `latest` (and `best`), and only then removes old ones. A folder without a
// manifest, or whose files do not match it, is not a checkpoint.
//
// A model may be in several files, parts of one whole; and a checkpoint may hold nothing but what
// has changed since an earlier one, its base, which the manifest names with the checksum of its own
// manifest. It is whole if its base is; pruning keeps the bases of what is kept.
//
// Saves are synchronous. Thread-compatible: one thread saves or loads in a run at a time.
#pragma once

#include <cstdint>
#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "common/base/files.h"
#include "common/train/run_directory.h"
#include "common/train/safetensors.h"

namespace mariana {

struct Checkpoint {
  int64_t step = 0;
  std::vector<HostTensor> model;
  Metadata model_metadata;  // net's YAML, preprocessing
  std::vector<HostTensor> optimizer;
  nlohmann::json state;  // cursor, random numbers, schedule; numbers must be finite
};

struct SaveOptions {
  int keep_last = 3;            // the newest K survive pruning, this one included; at least 1
  std::vector<int64_t> pinned;  // and so do these steps (newbob's), and what `best` points at
  bool best = false;            // `best` moves to this checkpoint, too
  std::optional<int64_t> base;  // the step whose changes it holds
  // Called after each file operation with its name; tests interrupt a save here.
  std::function<void(const std::string& operation)> after_operation;
};

// A file of a checkpoint whose contents are not in memory at once.
struct CheckpointFile {
  std::string name;
  int64_t bytes = 0;                           // about; for the space check
  std::function<void(FileWriter* out)> write;  // null: it lies in the folder already, ...
  uint32_t crc32c = 0;                         // ... has this checksum, and `bytes` are exact
};

// The hidden folder of a save that is to come, empty, for files that others write before it.
std::string PrepareCheckpoint(const RunDirectory& run, int64_t step);

// The same as SaveCheckpoint, file by file; `state.json` is added.
void SaveCheckpointFiles(const RunDirectory& run, int64_t step,
                         const std::vector<CheckpointFile>& files, const nlohmann::json& state,
                         const SaveOptions& options = {});

// Saves; a checkpoint of the same step is replaced, those of later steps (a future that the run
// left) are removed. On failure (kIo; a full disk says so) the earlier checkpoints and links are
// as they were and nothing of this one is left, unless it was already whole and in place.
void SaveCheckpoint(const RunDirectory& run, const Checkpoint& checkpoint,
                    const SaveOptions& options = {});

// The newest checkpoint that verifies (sizes, CRC32C, contents). `line` says in one line which
// was taken and why newer ones were passed over. nullopt: there is none yet (start). When there
// are some but none verifies: Error(kBadData).
std::optional<Checkpoint> LoadNewestCheckpoint(const RunDirectory& run, std::string* line);

// The checkpoint of one step, verified (a roll-back to a pinned one). kBadData if it is not whole.
Checkpoint LoadCheckpoint(const RunDirectory& run, int64_t step);

// A verified checkpoint whose tensors stay on disk.
struct CheckpointFolder {
  int64_t step = 0;
  std::string path;
  nlohmann::json state;
  // Paths, in their order: one each, or parts.
  std::vector<std::string> model, optimizer;
  std::vector<CheckpointFolder> bases;  // that it holds the changes of: the full one first
  const std::string& model_path() const { return model.front(); }
  const std::string& optimizer_path() const { return optimizer.front(); }
};
// A checkpoint in a folder of any name, verified.
CheckpointFolder ReadCheckpointFolder(const std::string& folder);
// Makes a folder one, of files that lie in it, state.json among them.
void WriteManifest(const std::string& folder, int64_t step,
                   const std::vector<CheckpointFile>& files);
// As LoadNewestCheckpoint and LoadCheckpoint.
std::optional<CheckpointFolder> FindNewestCheckpoint(const RunDirectory& run, std::string* line);
CheckpointFolder FindCheckpoint(const RunDirectory& run, int64_t step);

struct LoadedModel {
  std::string path;  // the .safetensors file it came from
  std::vector<HostTensor> tensors;
  Metadata metadata;
};

// The model of a run directory (`best` if there is one, else `latest`, else the newest that
// verifies), of a checkpoint folder (verified), or a .safetensors file. kBadData otherwise.
LoadedModel LoadModel(const std::string& path);
// The same model's .safetensors file, verified and left on disk. Error(kBadData) where it is in
// several.
std::string FindModel(const std::string& path);
// The same model's folder, the model's files verified; nullopt where it is a file by itself.
std::optional<CheckpointFolder> FindModelFolder(const std::string& path);

}  // namespace mariana
