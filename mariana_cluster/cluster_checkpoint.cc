#include "mariana_cluster/cluster_checkpoint.h"

#include <utility>

#include "common/base/error.h"
#include "common/train/net_values.h"
#include "mariana_cluster/snapshot/stored_model.h"

namespace mariana {
namespace {

using nlohmann::json;

// One tensor into its slot of an arena, whose padding stays zero.
void Pack(const Net& net, size_t i, const HostTensor& tensor, float* arena) {
  const ParamInfo& p = net.params()[i];
  std::fill_n(arena + p.offset, p.elements, 0.0f);
  net.PackParam(static_cast<int>(i), tensor.f32(), arena + p.offset);
}

std::vector<TableShard*> Pointers(const std::vector<std::shared_ptr<TableShard>>& shards) {
  std::vector<TableShard*> pointers;
  for (const auto& s : shards) pointers.push_back(s.get());
  return pointers;
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

void LoadCluster(const CheckpointFolder& from, const ClusterValues& values) {
  const StoredModel model(from);
  for (const auto& shards : values.memory->shards) model.ReadTable(Pointers(shards), true);
  if (values.net == nullptr) return;
  DenseParameters& shared = *values.memory->dense;
  PackAll(model.newest(), *values.net, "", shared.values());
  const std::vector<std::string> names = OptimizerSlotNames(*values.optimizer);
  for (size_t k = 0; k < names.size(); ++k) {
    PackAll(model.newest_optimizer(), *values.net, "." + names[k],
            shared.slot(static_cast<int>(k)));
  }
}

void WarmStart(const std::string& path, const ClusterValues& values,
               const std::function<void(const std::string&)>& say) {
  const StoredModel model = StoredModel::Open(path);
  const SafetensorsFile& file = model.newest();
  if (!values.memory->shards.empty()) ReadSavedModel(file);  // it is one
  for (const auto& shards : values.memory->shards) {
    try {
      say(StrCat("start from ", file.path(), ": ", shards[0]->name(), ": ",
                 model.ReadTable(Pointers(shards), false), " rows"));
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
