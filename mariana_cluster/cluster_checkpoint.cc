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

std::string LoadRows(const std::string& files, bool exact,
                     const std::vector<std::shared_ptr<TableShard>>& shards) {
  const StoredModel model = StoredModel::FromFiles(files);
  json tables = json::array();
  for (const auto& s : shards) {
    json table = {{"table", s->name()}, {"rows", 0}, {"why", ""}};
    try {
      table["rows"] = model.ReadTable({s.get()}, exact);
    } catch (const Error& e) {
      if (exact) throw;
      table["why"] = e.message();
    }
    tables.push_back(table);
  }
  return tables.dump();
}

void LoadDense(const StoredModel& model, const ClusterValues& values) {
  if (values.net == nullptr) return;
  DenseParameters& shared = *values.memory->dense;
  PackAll(model.newest(), *values.net, "", shared.values());
  const std::vector<std::string> names = OptimizerSlotNames(*values.optimizer);
  for (size_t k = 0; k < names.size(); ++k) {
    PackAll(model.newest_optimizer(), *values.net, "." + names[k],
            shared.slot(static_cast<int>(k)));
  }
}

void SayWhatWasTaken(const std::vector<std::string>& loaded, const std::string& from,
                     const std::function<void(const std::string&)>& say) {
  if (loaded.empty()) return;
  std::vector<json> all;
  for (const std::string& text : loaded) all.push_back(json::parse(text));
  for (size_t t = 0; t < all[0].size(); ++t) {
    int64_t rows = 0;
    for (const json& server : all) rows += server[t]["rows"].get<int64_t>();
    const std::string why = all[0][t]["why"], table = all[0][t]["table"];
    say(why.empty() ? StrCat("start from ", from, ": ", table, ": ", rows, " rows")
                    : "not taken: " + why);
  }
}

void WarmStartDense(const StoredModel& model, const ClusterValues& values,
                    const std::function<void(const std::string&)>& say) {
  const SafetensorsFile& file = model.newest();
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
