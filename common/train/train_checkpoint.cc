#include "common/train/train_checkpoint.h"

#include <cstring>
#include <optional>
#include <utility>

#include "common/train/identity.h"

namespace mariana {
namespace {

using nlohmann::json;

// Tensors as one string: their names, types and shapes as a line of JSON, then their bytes.
std::string Pack(const std::vector<HostTensor>& tensors) {
  json list = json::array();
  size_t bytes = 0;
  for (const HostTensor& t : tensors) {
    list.push_back(
        {{"name", t.name}, {"dtype", static_cast<int>(t.dtype)}, {"shape", t.shape.dims()}});
    bytes += t.bytes.size();
  }
  std::string text = list.dump() + "\n";
  text.reserve(text.size() + bytes);
  for (const HostTensor& t : tensors) text.append(t.bytes.data(), t.bytes.size());
  return text;
}

std::vector<HostTensor> Unpack(const std::string& text) {
  size_t at = text.find('\n') + 1;
  std::vector<HostTensor> tensors;
  for (const json& entry : json::parse(text.substr(0, at))) {
    HostTensor t;
    t.name = entry.at("name");
    t.dtype = static_cast<Dtype>(entry.at("dtype").get<int>());
    t.shape = Shape(entry.at("shape").get<std::vector<int64_t>>());
    const auto bytes = static_cast<size_t>(t.shape.elements() * SizeOf(t.dtype));
    t.bytes.assign(text.begin() + static_cast<ptrdiff_t>(at),
                   text.begin() + static_cast<ptrdiff_t>(at + bytes));
    at += bytes;
    tensors.push_back(std::move(t));
  }
  return tensors;
}

// Loads the checkpoint that rank 0 has read.
void LoadOnAll(const Checkpoint* read, const std::string& where, DataParallel* workers) {
  Ranks* const ranks = workers->options().ranks;
  workers->LoadModel(TensorsFromFirst(ranks, [&] { return read->model; }), where);
  workers->LoadOptimizer(TensorsFromFirst(ranks, [&] { return read->optimizer; }), where);
}

}  // namespace

std::vector<HostTensor> TensorsFromFirst(Ranks* ranks,
                                         const std::function<std::vector<HostTensor>()>& read) {
  if (ranks == nullptr || ranks->size() == 1) return read();
  std::vector<HostTensor> tensors;
  if (ranks->first()) tensors = read();
  const std::string packed = ranks->FromFirst(ranks->first() ? Pack(tensors) : "");
  return ranks->first() ? tensors : Unpack(packed);
}

void SaveTraining(const RunDirectory* run, const DataParallel& workers, const TrainState& state,
                  const std::string& identity, const CheckpointSpec& spec, bool best,
                  ModelExtras extras) {
  Checkpoint c;
  c.step = state.step;
  c.model = workers.SaveModel();
  c.optimizer = workers.SaveOptimizer();
  if (!run) return;
  for (HostTensor& t : extras.tensors) c.model.push_back(std::move(t));
  c.model_metadata = std::move(extras.metadata);
  c.state = state.ToJson();
  c.state["identity"] = identity;
  SaveOptions options;
  options.keep_last = static_cast<int>(spec.keep);
  options.best = best;
  if (state.best_step > 0) options.pinned.push_back(state.best_step);
  SaveCheckpoint(*run, c, options);
}

bool ResumeTraining(const RunDirectory* run, const std::string& identity, DataParallel* workers,
                    TrainState* state, Summary* summary,
                    const std::function<void(const std::string&)>& say) {
  std::optional<Checkpoint> checkpoint;
  std::string where;
  if (run && run->resumed()) {
    std::string line;
    checkpoint = LoadNewestCheckpoint(*run, &line);
    if (checkpoint) {
      say(line);
      where = run->checkpoint_path(checkpoint->step);
      summary->keep = true;  // until it is known to be this run
      CheckIdentity(checkpoint->state.value("identity", ""), identity, where);
      summary->keep = false;
    }
  }
  Ranks* const ranks = workers->options().ranks;
  std::string text = checkpoint ? checkpoint->state.dump() : "";
  if (ranks) text = ranks->FromFirst(text);
  if (text.empty()) return false;
  const int64_t steps_in_epoch = state->steps_in_epoch;
  *state = TrainState::FromJson(json::parse(text), where);
  state->steps_in_epoch = steps_in_epoch;
  LoadOnAll(checkpoint ? &*checkpoint : nullptr, where, workers);
  workers->set_steps_done(state->step);
  return true;
}

void RollBack(const RunDirectory* run, const TrainState& state, DataParallel* workers) {
  std::optional<Checkpoint> best;
  if (run) best = LoadCheckpoint(*run, state.best_step);
  LoadOnAll(best ? &*best : nullptr, run ? run->checkpoint_path(state.best_step) : "", workers);
}

}  // namespace mariana
