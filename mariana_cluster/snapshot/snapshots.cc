#include "mariana_cluster/snapshot/snapshots.h"

#include <glog/logging.h>

#include <algorithm>
#include <filesystem>

#include "common/train/net_values.h"

namespace mariana {
namespace {

using nlohmann::json;

// An index as other tools read models in parts by: which file has which tensor.
json IndexOf(const std::vector<WrittenFile>& files) {
  json map = json::object();
  int64_t bytes = 0;
  for (const WrittenFile& f : files) {
    for (const std::string& tensor : f.tensors) map[tensor] = f.name;
    bytes += f.bytes;
  }
  return {{"metadata", {{"total_size", bytes}}}, {"weight_map", map}};
}

CheckpointFile AsFile(const std::string& name, const std::string& text) {
  return {name, static_cast<int64_t>(text.size()),
          [text](FileWriter* out) { out->Append(text.data(), text.size()); }};
}

}  // namespace

// ---- the cut
bool Snapshots::MayBeOfChanges(int64_t step) const {
  if (!last_ || *last_ >= step || changes_ + 1 >= options_.spec.full_every) return false;
  return std::filesystem::exists(options_.run->checkpoint_path(*last_));
}

void Snapshots::Cut(const TrainState& state, json position, bool best) {
  CHECK(!running());
  failure_.reset();
  now_ = Snapshot{};
  now_->state = state;
  now_->all = state.ToJson();
  now_->all["identity"] = options_.identity;
  now_->all["position"] = std::move(position);
  now_->best = best;
  if (MayBeOfChanges(state.step)) now_->base = last_;
  const double begin = Clock::Real()->NowSeconds();
  std::string refused;
  if (options_.servers > 0) {  // an Error from here is the job's end
    for (const std::string& error : options_.ask_all({"cut", state.step, "", {}})) {
      if (!error.empty()) refused = error;
    }
  }
  Guard([&] {
    if (!refused.empty()) throw Error(ExitCode::kIo, refused);
    CopyDense();
    now_->held = true;
  });
  LOG(INFO) << "the cut at step " << state.step << " took " << Clock::Real()->NowSeconds() - begin
            << " s";
}

void Snapshots::CopyDense() {
  if (options_.dense == nullptr) return;
  const auto add = [&](const std::string& suffix, const float* from) {
    now_->arenas.push_back({suffix, {from, from + options_.dense->elements()}});
  };
  add("", options_.dense->values());
  for (size_t k = 0; k < options_.slots.size(); ++k) {
    add("." + options_.slots[k], options_.dense->slot(static_cast<int>(k)));
  }
}

// ---- writing
void Snapshots::Tick() {
  if (running() && now_->held && now_->folder.empty()) Guard([this] { StartWriting(); });
}

std::vector<HostTensor> Snapshots::Unpack(size_t first, size_t last) const {
  std::vector<HostTensor> tensors;
  for (size_t a = first; a < std::min(last, now_->arenas.size()); ++a) {
    const Arena& arena = now_->arenas[a];
    for (size_t i = 0; i < options_.net->params().size(); ++i) {
      const ParamInfo& p = options_.net->params()[i];
      tensors.push_back(EmptyF32(p.name + arena.suffix, p.shape));
      options_.net->UnpackParam(static_cast<int>(i), arena.floats.data() + p.offset,
                                tensors.back().f32());
    }
  }
  return tensors;
}

std::vector<HostTensor> Snapshots::ModelTensors() const {
  std::vector<HostTensor> tensors = options_.extras.tensors;
  for (HostTensor& t : Unpack(0, 1)) tensors.push_back(std::move(t));
  return tensors;
}

void Snapshots::WriteOthers(const std::string& what, const std::vector<HostTensor>& tensors,
                            const Metadata& metadata) const {
  FileWriter out(OthersPath(now_->folder, what));
  WriteSafetensors(&out, tensors, metadata);
  out.Finish();
}

void Snapshots::StartWriting() {
  now_->begun = Clock::Real()->NowSeconds();
  now_->folder = PrepareCheckpoint(*options_.run, now_->state.step);
  now_->parts.resize(static_cast<size_t>(options_.servers));
  if (options_.servers == 0) return Finish();
  WriteOthers("model", ModelTensors(), options_.extras.metadata);
  WriteOthers("optimizer", Unpack(1, now_->arenas.size()), {});
  now_->arenas.clear();
  now_->asked = true;
  for (int s = 0; s < options_.servers; ++s) {
    WriteCommand command;
    command.folder = std::filesystem::absolute(now_->folder).string();
    command.part = s + 1;
    command.parts = options_.servers;
    command.changes = now_->base.has_value();
    command.others = s == 0;
    options_.send(s, {"write", 0, command.ToBody(), {}});
  }
}

void Snapshots::OnSaved(int server, const Message& message) {
  SavedPart part = SavedPart::FromBody(message.body);
  LOG(INFO) << "server " << server << ": its part of a snapshot took " << part.seconds << " s; "
            << part.copied_bytes
            << " bytes were copied before they were written, for which workers "
            << "waited " << part.waited_seconds << " s so far" << (part.error.empty() ? "" : ": ")
            << part.error;
  if (!running() || !now_->asked) return;  // of one that has been dropped
  now_->parts[static_cast<size_t>(server)] = std::move(part);
  const auto& parts = now_->parts;
  if (!std::all_of(parts.begin(), parts.end(), [](const auto& p) { return p.has_value(); })) return;
  Guard([&] {
    for (const auto& p : parts) {
      if (!p->error.empty()) throw Error(static_cast<ExitCode>(p->error_code), p->error);
    }
    Finish();
  });
}

// ---- the end
std::vector<CheckpointFile> Snapshots::Files() const {
  if (options_.servers == 0) {
    const auto file = [](const std::string& what, std::vector<HostTensor> tensors,
                         const Metadata& metadata) {
      const int64_t bytes = SafetensorsBytes(tensors, metadata);
      return CheckpointFile{PartFileName(what, 1, 1), bytes,
                            [tensors = std::move(tensors), metadata](FileWriter* out) {
                              WriteSafetensors(out, tensors, metadata);
                            }};
    };
    return {file("model", ModelTensors(), options_.extras.metadata),
            file("optimizer", Unpack(1, now_->arenas.size()), {})};
  }
  std::vector<CheckpointFile> files;
  std::vector<WrittenFile> kinds[2];
  for (const auto& part : now_->parts) {
    for (size_t k = 0; k < part->files.size(); ++k) {
      const WrittenFile& f = part->files[k];
      files.push_back({f.name, f.bytes, nullptr, f.crc32c});
      kinds[k].push_back(f);
    }
  }
  if (options_.servers > 1) {
    files.push_back(AsFile("model.safetensors.index.json", IndexOf(kinds[0]).dump(1)));
    files.push_back(AsFile("optimizer.safetensors.index.json", IndexOf(kinds[1]).dump(1)));
  }
  return files;
}

void Snapshots::Finish() {
  for (const char* what : {"model", "optimizer"}) RemoveTree(OthersPath(now_->folder, what));
  SaveOptions options;
  options.keep_last = static_cast<int>(options_.spec.keep);
  options.best = now_->best;
  options.base = now_->base;
  if (now_->state.best_step > 0) options.pinned.push_back(now_->state.best_step);
  const int64_t step = now_->state.step;
  SaveCheckpointFiles(*options_.run, step, Files(), now_->all, options);
  LOG(INFO) << "snapshot of step " << step << (now_->base ? " (changes)" : "") << " written in "
            << Clock::Real()->NowSeconds() - now_->begun << " s";
  changes_ = now_->base ? changes_ + 1 : 0;
  last_ = step;
  now_.reset();
  if (options_.saved) options_.saved();
}

void Snapshots::Guard(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& e) {
    Drop(e);
  }
}

void Snapshots::Drop(const Error& why) {
  const int64_t step = now_->state.step;
  for (int s = 0; s < options_.servers && !now_->asked; ++s) {
    options_.send(s, {"let_go", 0, "", {}});
  }
  std::error_code ignored;
  if (!now_->folder.empty()) std::filesystem::remove_all(now_->folder, ignored);
  last_.reset();
  now_.reset();
  failure_ = why;
  const auto newest = options_.run->LinkedStep("latest");
  options_.warn(StrCat(
      "step ", step, " is not saved: ", why.message(), "; ",
      newest ? StrCat("the newest that is: step ", *newest) : std::string("nothing is saved yet")));
}

}  // namespace mariana
