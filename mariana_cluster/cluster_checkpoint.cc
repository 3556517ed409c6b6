#include "mariana_cluster/cluster_checkpoint.h"

#include <optional>
#include <utility>

#include "common/base/error.h"
#include "common/train/net_values.h"
#include "mariana_cluster/table/table_file.h"

namespace mariana {
namespace {

using nlohmann::json;

// An arena of the shared parameters as tensors in the plain layout, names followed by `suffix`.
void Unpack(const Net& net, const float* arena, const std::string& suffix,
            std::vector<HostTensor>* out) {
  for (size_t i = 0; i < net.params().size(); ++i) {
    const ParamInfo& p = net.params()[i];
    out->push_back(EmptyF32(p.name + suffix, p.shape));
    net.UnpackParam(static_cast<int>(i), arena + p.offset, out->back().f32());
  }
}

// One tensor into its slot of an arena, whose padding stays zero.
void Pack(const Net& net, size_t i, const HostTensor& tensor, float* arena) {
  const ParamInfo& p = net.params()[i];
  std::fill_n(arena + p.offset, p.elements, 0.0f);
  net.PackParam(static_cast<int>(i), tensor.f32(), arena + p.offset);
}

void PackAll(const SafetensorsFile& file, const Net& net, const std::string& suffix, float* arena) {
  for (size_t i = 0; i < net.params().size(); ++i) {
    const ParamInfo& p = net.params()[i];
    const HostTensor tensor = file.Read(p.name + suffix);
    if (tensor.dtype != Dtype::kF32 || tensor.shape != p.shape) {
      throw Fail(ExitCode::kBadData, file.path(), ": tensor \"", tensor.name, "\" is ",
                 Name(tensor.dtype), " ", tensor.shape.ToString(), ", but the net needs f32 ",
                 p.shape.ToString());
    }
    Pack(net, i, tensor, arena);
  }
}

std::vector<const Table*> Pointers(const std::vector<Table>& tables) {
  std::vector<const Table*> pointers;
  for (const Table& t : tables) pointers.push_back(&t);
  return pointers;
}

}  // namespace

json ClusterPosition::ToJson() const {
  std::vector<int64_t> batches;
  std::vector<bool> ended;
  for (const LanePosition& l : lanes) {
    batches.push_back(l.batches);
    ended.push_back(l.ended);
  }
  return {{"batches", batches},
          {"ended", ended},
          {"epoch_rounds", epoch_rounds},
          {"samples", samples},
          {"epoch_ended", epoch_ended},
          {"epoch_steps", epoch_steps},
          {"rounds", rounds}};
}

ClusterPosition ClusterPosition::FromJson(const json& j, const std::string& where) {
  ClusterPosition p;
  try {
    const auto batches = j.at("batches").get<std::vector<int64_t>>();
    const auto ended = j.at("ended").get<std::vector<bool>>();
    for (size_t l = 0; l < batches.size(); ++l) p.lanes.push_back({batches[l], ended.at(l)});
    p.epoch_rounds = j.at("epoch_rounds");
    p.samples = j.at("samples");
    p.epoch_ended = j.at("epoch_ended");
    p.epoch_steps = j.at("epoch_steps");
    p.rounds = j.at("rounds");
  } catch (const std::exception& e) {
    throw Fail(ExitCode::kBadData, where, ": state.json: position: ", e.what());
  }
  return p;
}

void SaveCluster(const RunDirectory& run, const ClusterValues& values, const TrainState& state,
                 const ClusterPosition& position, const std::string& identity, ModelExtras extras,
                 const CheckpointSpec& spec, bool best) {
  const std::vector<Table> tables = values.memory->MakeTables();
  std::vector<HostTensor> dense = std::move(extras.tensors), slots;
  if (values.net != nullptr) {
    DenseParameters& shared = *values.memory->dense;
    Unpack(*values.net, shared.values(), "", &dense);
    const std::vector<std::string> names = OptimizerSlotNames(*values.optimizer);
    for (size_t k = 0; k < names.size(); ++k) {
      Unpack(*values.net, shared.slot(static_cast<int>(k)), "." + names[k], &slots);
    }
  }
  const auto file = [&](const char* name, TablePart part, const std::vector<HostTensor>* others,
                        const Metadata& metadata) {
    return CheckpointFile{name, TableFileBytes(Pointers(tables), part, *others),
                          [=, &tables](FileWriter* out) {
                            WriteTables(out, Pointers(tables), part, *others, metadata);
                          }};
  };
  json all = state.ToJson();
  all["identity"] = identity;
  all["position"] = position.ToJson();
  SaveOptions options;
  options.keep_last = static_cast<int>(spec.keep);
  options.best = best;
  if (state.best_step > 0) options.pinned.push_back(state.best_step);
  SaveCheckpointFiles(run, state.step,
                      {file("model.safetensors", TablePart::kModel, &dense, extras.metadata),
                       file("optimizer.safetensors", TablePart::kOptimizer, &slots, {})},
                      all, options);
}

void LoadCluster(const CheckpointFolder& from, const ClusterValues& values) {
  const SafetensorsFile model(from.model_path()), optimizer(from.optimizer_path());
  for (Table& t : values.memory->MakeTables()) ReadTable(model, &optimizer, &t);
  if (values.net == nullptr) return;
  DenseParameters& shared = *values.memory->dense;
  PackAll(model, *values.net, "", shared.values());
  const std::vector<std::string> names = OptimizerSlotNames(*values.optimizer);
  for (size_t k = 0; k < names.size(); ++k) {
    PackAll(optimizer, *values.net, "." + names[k], shared.slot(static_cast<int>(k)));
  }
}

void WarmStart(const std::string& path, const ClusterValues& values,
               const std::function<void(const std::string&)>& say) {
  const SafetensorsFile file(FindModel(path));
  if (!values.memory->shards.empty()) ReadSavedModel(file);  // it is one
  for (Table& t : values.memory->MakeTables()) {
    try {
      say(StrCat("start from ", file.path(), ": ", t.name(), ": ", ReadTable(file, nullptr, &t),
                 " rows"));
    } catch (const Error& e) {
      say(StrCat("not taken: ", e.message()));
    }
  }
  if (values.net == nullptr) return;
  int taken = 0;
  std::string left;
  for (size_t i = 0; i < values.net->params().size(); ++i) {
    const ParamInfo& p = values.net->params()[i];
    const SafetensorsFile::Entry* entry = file.Find(p.name);
    if (entry == nullptr || entry->dtype != Dtype::kF32 || entry->shape != p.shape) {
      left += StrCat(left.empty() ? "" : ", ", p.name);
      continue;
    }
    Pack(*values.net, i, file.Read(p.name), values.memory->dense->values());
    ++taken;
  }
  say(StrCat("start from ", file.path(), ": ", taken, " of ", values.net->params().size(),
             " dense parameters", left.empty() ? "" : "; new: " + left));
}

}  // namespace mariana
