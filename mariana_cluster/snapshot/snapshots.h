// Snapshots: how the job control saves a run while it trains on. A snapshot begins with a cut: all
// workers pause between two batches, the servers hold their rows as they are (cut_copies.h), the
// dense parameters are copied, and training goes on. Then each server writes its part, and when all
// have, the state, the manifest, the new name and the links follow, as in every checkpoint
// (common/train/checkpoint.h): until then the one before it is the newest.
//
//   snapshots.Cut(state, position, best);   // in the pause
//   ... workers are told to go on ...
//   snapshots.Tick();                       // several times a second, and
//   snapshots.OnSaved(server, message);     // as they come, until !running()
//
// Changes alone (`full_every: K`): K - 1 of K snapshots hold the rows that were written since the
// one before, if that was saved, and no rows were evicted.
//
// A snapshot that fails (disk full, a server killed) is told of and dropped; the run goes on and
// tries the next one at its time.
//
// Threading: the agent's thread.
#pragma once

#include <functional>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/train/train_checkpoint.h"
#include "common/train/train_state.h"
#include "mariana_cluster/dense_parameters.h"
#include "mariana_cluster/process/channel.h"
#include "mariana_cluster/snapshot/snapshot_writer.h"

namespace mariana {

class Snapshots {
 public:
  struct Options {
    const RunDirectory* run = nullptr;
    CheckpointSpec spec;
    std::string identity;
    int servers = 1;     // of all nodes; 0: there are no tables
    ModelExtras extras;  // of model.safetensors, beside tables and parameters
    // The dense parameters, and anyone's net, which knows their layout; null: none.
    DenseParameters* dense = nullptr;
    const Net* net = nullptr;
    std::vector<std::string> slots;  // the optimizer's, by name
    // To all servers, and the bodies of their answers of the same kind; to one, which says "saved"
    // to that at some time, and a new one in its place, if it is killed, too.
    std::function<std::vector<std::string>(const Message&)> ask_all;
    std::function<void(int server, const Message&)> send;
    std::function<void(const std::string&)> warn;
    std::function<void()> saved;  // a whole snapshot; may be null
  };
  explicit Snapshots(Options options) : options_(std::move(options)) {}

  // Not while one is running. `position`: of the readers, for state.json.
  void Cut(const TrainState& state, nlohmann::json position, bool best);
  void Tick();
  void OnSaved(int server, const Message& message);
  bool running() const { return now_.has_value(); }
  // Why the last one failed, if it did.
  const std::optional<Error>& failure() const { return failure_; }
  // Rows are gone, which changes cannot tell: the next one is full.
  void OnEviction() { last_.reset(); }

 private:
  struct Arena {
    std::string suffix;
    std::vector<float> floats;
  };
  struct Snapshot {
    TrainState state;
    nlohmann::json all;  // state.json
    bool best = false;
    std::optional<int64_t> base;  // of which it holds the changes
    std::vector<Arena> arenas;    // values, then slots
    std::string folder;           // once there is one
    bool held = false;            // the cut is made
    bool asked = false;           // servers write it
    std::vector<std::optional<SavedPart>> parts;
    double begun = 0;
  };
  bool MayBeOfChanges(int64_t step) const;
  void CopyDense();
  void StartWriting();
  // Of arenas [first, last).
  std::vector<HostTensor> Unpack(size_t first, size_t last) const;
  void WriteOthers(const std::string& what, const std::vector<HostTensor>& tensors,
                   const Metadata& metadata) const;
  std::vector<HostTensor> ModelTensors() const;
  void Finish();
  std::vector<CheckpointFile> Files() const;
  // Runs `body`; a failure of it is the snapshot's.
  void Guard(const std::function<void()>& body);
  void Drop(const Error& why);

  Options options_;
  std::optional<Snapshot> now_;
  std::optional<Error> failure_;
  std::optional<int64_t> last_;  // the step of the last one, which changes can be told to
  int64_t changes_ = 0;          // snapshots since the last full one
};

}  // namespace mariana
