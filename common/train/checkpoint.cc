#include "common/train/checkpoint.h"

#include <glog/logging.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <utility>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr char kFormat[] = "mariana checkpoint 1";
constexpr char kManifest[] = "manifest.json";
constexpr char kModel[] = "model.safetensors";
constexpr char kOptimizer[] = "optimizer.safetensors";
constexpr char kState[] = "state.json";
constexpr int64_t kSpareBytes = 64 << 10;  // folders, manifest, rounding up to blocks

std::string Hex(uint32_t crc) {
  char text[16];
  std::snprintf(text, sizeof(text), "%08x", crc);
  return text;
}

bool IsModel(const std::string& name) { return name.rfind("model", 0) == 0; }
bool IsTensors(const std::string& name) {
  return fs::path(name).extension().string() == ".safetensors";
}

std::string HiddenFolder(const RunDirectory& run, const char* prefix, int64_t step) {
  return run.checkpoints_path() + "/" + prefix + CheckpointName(step);
}

void Rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) != 0) {
    throw Fail(ExitCode::kIo, "cannot move ", from, " to ", to, ": ", std::strerror(errno));
  }
}

// One save, from the hidden folder to the pruning.
class Saving {
 public:
  Saving(const RunDirectory& run, int64_t step, const std::vector<CheckpointFile>& files,
         const SaveOptions& options)
      : run_(run),
        step_(step),
        files_(files),
        options_(options),
        final_(run.checkpoint_path(step)),
        new_(HiddenFolder(run, ".new-", step)),
        old_(HiddenFolder(run, ".old-", step)) {}

  void Run() {
    CheckSpace();
    try {
      WriteFolder();
      Publish();
    } catch (...) {
      std::error_code ignored;
      fs::remove_all(new_, ignored);
      throw;
    }
    run_.MoveLink("latest", step_);
    Did("link latest");
    if (options_.best) {
      run_.MoveLink("best", step_);
      Did("link best");
    }
    Prune();
  }

 private:
  void Did(const std::string& operation) const {
    if (options_.after_operation) options_.after_operation(operation);
  }

  void CheckSpace() const {
    int64_t needed = kSpareBytes;
    for (const CheckpointFile& file : files_) needed += file.write ? file.bytes : 0;
    const int64_t free = FreeBytes(run_.checkpoints_path());
    if (free < needed) {
      throw Fail(ExitCode::kIo, "cannot save ", final_, ": disk full: it needs ", needed,
                 " bytes, ", free, " are free");
    }
  }

  bool IsPrepared() const {
    return std::any_of(files_.begin(), files_.end(), [](const auto& f) { return !f.write; });
  }

  void WriteFolder() {
    if (!IsPrepared()) PrepareCheckpoint(run_, step_);
    Did("create folder");
    Json written = Json::object();
    for (const CheckpointFile& part : files_) {
      if (!part.write) {
        written[part.name] = {{"bytes", part.bytes}, {"crc32c", Hex(part.crc32c)}};
        continue;
      }
      FileWriter file(new_ + "/" + part.name);
      Did("create " + part.name);
      part.write(&file);
      file.Finish();
      written[part.name] = {{"bytes", file.bytes()}, {"crc32c", Hex(file.crc32c())}};
      Did("write " + part.name);
    }
    FsyncDirectory(new_);
    Json manifest = {{"format", kFormat}, {"step", step_}, {"files", written}};
    if (options_.base) {
      const std::string base = run_.checkpoint_path(*options_.base) + "/" + kManifest;
      manifest["base"] = {{"step", *options_.base}, {"manifest_crc32c", Hex(Crc32cOfFile(base))}};
    }
    WriteFileAtomic(new_ + "/" + kManifest, manifest.dump(1) + "\n");  // syncs the folder, too
    Did("write manifest");
  }

  // A checkpoint of the same step steps aside first; RunDirectory puts it back if we die here.
  void Publish() {
    const bool replaces = fs::exists(final_);
    if (replaces) {
      RemoveTree(old_);
      Rename(final_, old_);
    }
    try {
      if (replaces) Did("set the replaced one aside");
      Rename(new_, final_);
    } catch (...) {
      std::error_code ignored;
      if (replaces) fs::rename(old_, final_, ignored);
      throw;
    }
    Did("rename");
    FsyncDirectory(run_.checkpoints_path());
    Did("sync");
  }

  // Keeps the newest keep_last up to this step, what is pinned or linked, and nothing after it:
  // those would be a future that is no longer this run's.
  void Prune() const {
    std::vector<int64_t> kept = options_.pinned;
    for (const char* link : {"latest", "best"}) {
      if (const auto step = run_.LinkedStep(link)) kept.push_back(*step);
    }
    std::vector<int64_t> steps = run_.CheckpointSteps();
    const auto end = std::upper_bound(steps.begin(), steps.end(), step_);
    const auto newest = std::min<ptrdiff_t>(options_.keep_last, end - steps.begin());
    kept.insert(kept.end(), end - newest, end);
    for (size_t i = 0; i < kept.size(); ++i) {  // and what they are changes of
      if (const auto base = BaseOf(run_.checkpoint_path(kept[i]))) kept.push_back(*base);
    }
    for (const int64_t step : steps) {
      if (std::find(kept.begin(), kept.end(), step) != kept.end()) continue;
      const std::string gone = HiddenFolder(run_, ".gone-", step);
      RemoveTree(gone);
      Rename(run_.checkpoint_path(step), gone);  // so that a half-removed one is none
      Did("hide " + CheckpointName(step));
      RemoveTree(gone);
      Did("remove " + CheckpointName(step));
    }
    RemoveTree(old_);
  }

  // Without verifying anything.
  static std::optional<int64_t> BaseOf(const std::string& folder) {
    const std::string path = folder + "/" + kManifest;
    if (!fs::exists(path)) return std::nullopt;
    const Json manifest = Json::parse(ReadFile(path), nullptr, false);
    if (!manifest.is_object() || !manifest.contains("base")) return std::nullopt;
    const Json step = manifest["base"].value("step", Json());
    return step.is_number_integer() ? std::optional(step.get<int64_t>()) : std::nullopt;
  }

  const RunDirectory& run_;
  const int64_t step_;
  const std::vector<CheckpointFile>& files_;
  const SaveOptions& options_;
  const std::string final_, new_, old_;
};

// The files of a checkpoint folder, each checked against the manifest as it is read.
class CheckedFolder {
 public:
  explicit CheckedFolder(const std::string& folder) : folder_(folder) {
    if (!fs::exists(folder + "/" + kManifest)) throw Bad(kManifest, "is missing");
    manifest_ = Parse(kManifest, ReadFile(folder + "/" + kManifest));
    if (!manifest_.is_object() || manifest_.value("format", Json()) != kFormat ||
        !manifest_.value("step", Json()).is_number_integer() ||
        !manifest_.value("files", Json()).is_object()) {
      throw Bad(kManifest, StrCat("is not of the form \"", kFormat, "\""));
    }
  }

  int64_t step() const { return manifest_["step"].get<int64_t>(); }
  // Of tensors, in their order.
  std::vector<std::string> names() const {
    std::vector<std::string> names;
    for (const auto& [name, file] : manifest_["files"].items()) {
      if (IsTensors(name)) names.push_back(name);
    }
    return names;
  }
  // The folder of what it is based on, and the checksum that its manifest must have.
  std::optional<std::pair<std::string, std::string>> base() const {
    if (!manifest_.contains("base")) return std::nullopt;
    const Json base = manifest_["base"].is_object() ? manifest_["base"] : Json::object();
    const Json of = base.value("step", Json()), crc = base.value("manifest_crc32c", Json());
    if (!of.is_number_integer() || of >= step() || !crc.is_string()) {
      throw Bad(kManifest, "has a bad base");
    }
    const fs::path beside = fs::canonical(folder_).parent_path();  // folder_ may be a link
    return std::pair((beside / CheckpointName(of.get<int64_t>())).string(), crc.get<std::string>());
  }

  // The path of a file that is as the manifest says.
  std::string Verify(const std::string& name) const {
    const Json expected = manifest_["files"].value(name, Json());
    if (!expected.is_object()) throw Bad(name, "is not in the manifest");
    std::string path = folder_ + "/" + name;
    std::error_code error;
    const auto size = fs::file_size(path, error);
    if (error) throw Bad(name, error.message());
    if (expected.value("bytes", Json()) != size) {
      throw Bad(name, StrCat("has ", size, " bytes, the manifest says ",
                             expected.value("bytes", Json()).dump()));
    }
    if (expected.value("crc32c", Json()) != Hex(Crc32cOfFile(path))) {
      throw Bad(name, "its checksum differs from the manifest's");
    }
    return path;
  }

  Json ReadState() const { return Parse(kState, ReadFile(Verify(kState))); }

 private:
  Error Bad(const std::string& name, const std::string& what) const {
    return Fail(ExitCode::kBadData, folder_, "/", name, ": ", what);
  }
  Json Parse(const char* name, const std::string& text) const {
    Json value = Json::parse(text, nullptr, false);
    if (value.is_discarded()) throw Bad(name, "is not JSON");
    return value;
  }

  std::string folder_;
  Json manifest_;
};

// Where the model alone is wanted the rest is not looked at.
enum class Wanted { kModel, kAll };

CheckpointFolder CheckFolder(const std::string& folder, Wanted wanted) {
  const CheckedFolder files(folder);
  CheckpointFolder checked;
  checked.step = files.step();
  checked.path = folder;
  for (const std::string& name : files.names()) {
    if (!IsModel(name) && wanted == Wanted::kModel) continue;
    const SafetensorsFile reads(files.Verify(name));
    (IsModel(name) ? checked.model : checked.optimizer).push_back(reads.path());
  }
  if (checked.model.empty()) files.Verify(kModel);
  if (wanted == Wanted::kAll) {
    if (checked.optimizer.empty()) files.Verify(kOptimizer);
    checked.state = files.ReadState();
  }
  if (const auto base = files.base()) {
    CheckpointFolder on = CheckFolder(base->first, wanted);
    if (Hex(Crc32cOfFile(base->first + "/" + kManifest)) != base->second) {
      throw Fail(ExitCode::kBadData, folder, ": holds the changes of another ", base->first);
    }
    checked.bases = std::exchange(on.bases, {});
    checked.bases.push_back(std::move(on));
  }
  return checked;
}

CheckpointFolder CheckFolderOfStep(const std::string& folder) {
  CheckpointFolder checked = CheckFolder(folder, Wanted::kAll);
  if (ParseCheckpointName(fs::path(folder).filename().string()) != checked.step) {
    throw Fail(ExitCode::kBadData, folder, "/", kManifest, ": is of step ", checked.step);
  }
  return checked;
}

Checkpoint LoadFolder(const CheckpointFolder& folder) {
  const SafetensorsFile model(folder.model_path());
  return {folder.step, model.ReadAll(), model.metadata(),
          SafetensorsFile(folder.optimizer_path()).ReadAll(), folder.state};
}

// The newest of a run without links.
CheckpointFolder NewestModel(const std::string& run) {
  std::string why = "holds no checkpoint yet";
  std::vector<std::string> folders;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(run + "/checkpoints", error)) {
    const auto name = entry.path().filename().string();
    if (ParseCheckpointName(name)) folders.push_back(entry.path().string());
  }
  std::sort(folders.begin(), folders.end(), [](const std::string& a, const std::string& b) {
    return a.size() != b.size() ? a.size() > b.size() : a > b;
  });
  for (const std::string& folder : folders) {
    try {
      return CheckFolder(folder, Wanted::kModel);
    } catch (const Error& e) {
      why = e.message();
    }
  }
  throw Fail(ExitCode::kBadData, run, ": no model: ", why);
}

}  // namespace

std::string PrepareCheckpoint(const RunDirectory& run, int64_t step) {
  std::string folder = HiddenFolder(run, ".new-", step);
  RemoveTree(folder);
  MakeDirectories(folder);
  return folder;
}

void SaveCheckpointFiles(const RunDirectory& run, int64_t step,
                         const std::vector<CheckpointFile>& files, const nlohmann::json& state,
                         const SaveOptions& options) {
  CHECK_GE(step, 0);
  CHECK_GE(options.keep_last, 1);
  const std::string text = state.dump(1);
  std::vector<CheckpointFile> all = files;
  all.push_back({kState, static_cast<int64_t>(text.size()),
                 [&text](FileWriter* out) { out->Append(text.data(), text.size()); }});
  Saving(run, step, all, options).Run();
}

void SaveCheckpoint(const RunDirectory& run, const Checkpoint& c, const SaveOptions& options) {
  SaveCheckpointFiles(
      run, c.step,
      {{kModel, SafetensorsBytes(c.model, c.model_metadata),
        [&c](FileWriter* out) { WriteSafetensors(out, c.model, c.model_metadata); }},
       {kOptimizer, SafetensorsBytes(c.optimizer, {}),
        [&c](FileWriter* out) { WriteSafetensors(out, c.optimizer, {}); }}},
      c.state, options);
}

CheckpointFolder ReadCheckpointFolder(const std::string& folder) {
  return CheckFolder(folder, Wanted::kAll);
}

void WriteManifest(const std::string& folder, int64_t step,
                   const std::vector<CheckpointFile>& files) {
  Json written = Json::object();
  for (const CheckpointFile& f : files) {
    written[f.name] = {{"bytes", f.bytes}, {"crc32c", Hex(f.crc32c)}};
  }
  const Json manifest = {{"format", kFormat}, {"step", step}, {"files", written}};
  WriteFileAtomic(folder + "/" + kManifest, manifest.dump(1) + "\n");
}

CheckpointFolder FindCheckpoint(const RunDirectory& run, int64_t step) {
  return CheckFolderOfStep(run.checkpoint_path(step));
}

Checkpoint LoadCheckpoint(const RunDirectory& run, int64_t step) {
  return LoadFolder(FindCheckpoint(run, step));
}

std::optional<CheckpointFolder> FindNewestCheckpoint(const RunDirectory& run, std::string* line) {
  std::vector<int64_t> steps = run.CheckpointSteps();
  std::string passed_over;
  for (auto step = steps.rbegin(); step != steps.rend(); ++step) {
    try {
      CheckpointFolder checkpoint = FindCheckpoint(run, *step);
      *line = "going on from " + run.checkpoint_path(*step);
      if (!passed_over.empty()) *line += " (passed over" + passed_over + ")";
      return checkpoint;
    } catch (const Error& e) {
      passed_over += (passed_over.empty() ? " " : "; ") + e.message();
    }
  }
  if (!steps.empty()) {
    throw Fail(ExitCode::kBadData, run.path(), ": none of its ", steps.size(),
               " checkpoints is whole: ", passed_over.substr(1),
               "; start again with another --run_dir");
  }
  *line = run.path() + " has no checkpoint yet: starting";
  return std::nullopt;
}

std::optional<Checkpoint> LoadNewestCheckpoint(const RunDirectory& run, std::string* line) {
  const std::optional<CheckpointFolder> found = FindNewestCheckpoint(run, line);
  if (!found) return std::nullopt;
  return LoadFolder(*found);
}

std::optional<CheckpointFolder> FindModelFolder(const std::string& path) {
  if (!fs::exists(path)) throw Fail(ExitCode::kBadData, path, ": no such model");
  if (!fs::is_directory(path)) return std::nullopt;
  if (fs::exists(path + "/" + kManifest)) return CheckFolder(path, Wanted::kModel);
  for (const char* link : {"best", "latest"}) {
    const std::string linked = path + "/" + link;
    if (fs::exists(linked)) return CheckFolder(linked, Wanted::kModel);
  }
  if (RunDirectory::HoldsRun(path)) return NewestModel(path);
  return std::nullopt;
}

std::string FindModel(const std::string& path) {
  if (const auto folder = FindModelFolder(path)) {
    if (folder->model.size() == 1 && folder->bases.empty()) return folder->model_path();
    throw Fail(ExitCode::kBadData, folder->path,
               ": a model in several files: `mariana_cluster "
               "export` makes one of them");
  }
  if (!fs::is_directory(path)) return path;
  if (fs::exists(path + "/" + kModel)) return path + "/" + kModel;
  throw Fail(ExitCode::kBadData, path,
             ": no model: not a run directory, a checkpoint folder or a .safetensors file");
}

LoadedModel LoadModel(const std::string& path) {
  const SafetensorsFile file(FindModel(path));
  return {file.path(), file.ReadAll(), file.metadata()};
}

}  // namespace mariana
