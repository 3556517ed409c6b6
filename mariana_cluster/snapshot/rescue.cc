#include "mariana_cluster/snapshot/rescue.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <sys/file.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <filesystem>
#include <map>
#include <utility>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/summary.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;
using nlohmann::json;

constexpr char kState[] = "state.json", kBegan[] = "/began.json", kOthers[] = "others.safetensors",
               kAlive[] = ".alive";
constexpr int64_t kPatienceNs = 60'000'000'000, kLookNs = 50'000'000;

std::string RescuePath(const std::string& run) { return run + "/rescue"; }

// Numbers of the folders there, ascending.
std::vector<int64_t> Starts(const std::string& run) {
  std::vector<int64_t> starts;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(RescuePath(run), none)) {
    const std::string name = entry.path().filename().string();
    if (name.size() == 8 && std::all_of(name.begin(), name.end(), ::isdigit)) {
      starts.push_back(std::stoll(name));
    }
  }
  std::sort(starts.begin(), starts.end());
  return starts;
}

std::string FolderOf(const std::string& run, int64_t start) {
  char name[24];
  std::snprintf(name, sizeof(name), "%08lld", static_cast<long long>(start));
  return RescuePath(run) + "/" + name;
}

std::string SavedPath(const std::string& folder, int part, int parts) {
  char name[48];
  std::snprintf(name, sizeof(name), "/saved-%05d-of-%05d.json", part, parts);
  return folder + name;
}

// Until no server holds it; false when they take too long.
bool AwaitServers(const std::string& folder) {
  const int fd = open((folder + "/" + kAlive).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return true;  // none ever lived
  const int64_t deadline = Clock::Real()->NowNs() + kPatienceNs;
  bool alone = flock(fd, LOCK_EX | LOCK_NB) == 0;
  while (!alone && errno == EWOULDBLOCK && Clock::Real()->NowNs() < deadline) {
    Clock::Real()->SleepFor(kLookNs);
    alone = flock(fd, LOCK_EX | LOCK_NB) == 0;
  }
  close(fd);
  return alone;
}

// How many parts there are, for who is told that they are not all.
std::string PartsIn(const std::string& folder) {
  int saved = 0, of = 0;
  std::error_code none;
  for (const auto& entry : fs::directory_iterator(folder, none)) {
    int part;
    if (std::sscanf(entry.path().filename().c_str(), "saved-%d-of-%d.json", &part, &of) == 2) {
      ++saved;
    }
  }
  return saved == 0 ? "" : StrCat(saved, " of ", of, " parts");
}

// state.json of the whole: the agent's, as far as nodes have come since.
json StateOf(const json& began, const std::vector<json>& parts) {
  json all = began.at("state");
  std::map<int, json> nodes;
  for (const json& part : parts) nodes[part.at("node")] = part;
  int64_t steps = -began.at("steps").get<int64_t>(), samples = -began.at("samples").get<int64_t>();
  json& position = all.at("position");
  json batches = position.at("batches"), ended = position.at("ended");
  bool next_epoch = false;  // rows have aged already, but no batch of it was begun
  for (const auto& [number, node] : nodes) {
    steps += node.at("steps").get<int64_t>();
    samples += node.at("samples").get<int64_t>();
    next_epoch = next_epoch || node.at("epoch").get<int64_t>() > all.at("epoch").get<int64_t>();
    const json& lanes = node.at("lanes");
    for (size_t l = 0; l < batches.size() && l < lanes.size(); ++l) {
      batches[l] = std::max(batches[l].get<int64_t>(), lanes[l][0].get<int64_t>());
      ended[l] = ended[l].get<bool>() || lanes[l][1].get<bool>();
    }
  }
  const auto add = [](json* to, const char* what, int64_t n) {
    (*to)[what] = to->at(what).get<int64_t>() + std::max<int64_t>(0, n);
  };
  add(&all, "step", steps);
  add(&all, "step_in_epoch", steps);
  add(&all, "samples", samples);
  add(&position, "samples", samples);
  const bool all_ended = !ended.empty() && std::all_of(ended.begin(), ended.end(),
                                                       [](const json& e) { return e.get<bool>(); });
  position["batches"] = batches;
  position["ended"] = ended;
  position["epoch_ended"] = next_epoch || all_ended;
  return all;
}

}  // namespace

// ---- the agent
std::string MakeRescueFolder(const RunDirectory& run) {
  const std::vector<int64_t> starts = Starts(run.path());
  std::string folder = FolderOf(run.path(), starts.empty() ? 1 : starts.back() + 1);
  MakeDirectories(folder);
  WriteFileAtomic(folder + "/" + kAlive, "");
  return folder;
}

void WriteRescueOthers(const std::string& folder, const std::vector<HostTensor>& tensors,
                       const Metadata& metadata) {
  FileWriter out(folder + "/" + kOthers);
  WriteSafetensors(&out, tensors, metadata);
  out.Finish();
}

void WriteRescueState(const std::string& folder, const RescueState& state) {
  const json began = {{"state", state.state},
                      {"steps", state.steps},
                      {"samples", state.samples},
                      {"config_hash", state.config_hash}};
  WriteFileAtomic(folder + kBegan, began.dump(1) + "\n");
}

void RemoveRescues(const RunDirectory& run, const std::string& own_folder, bool own) {
  for (const int64_t start : Starts(run.path())) {
    const std::string folder = FolderOf(run.path(), start);
    if (own || fs::absolute(folder) != own_folder) RemoveTree(folder);
  }
  std::error_code ignored;
  if (own) fs::remove(RescuePath(run.path()), ignored);
}

std::optional<CheckpointFolder> FindRescue(const RunDirectory& run,
                                           const std::function<void(const std::string&)>& say) {
  std::vector<int64_t> starts = Starts(run.path());
  for (auto start = starts.rbegin(); start != starts.rend(); ++start) {
    const std::string folder = FolderOf(run.path(), *start);
    if (!AwaitServers(folder)) say(StrCat(folder, ": servers of an earlier start still hold it"));
    const std::string parts = PartsIn(folder);
    if (parts.empty()) continue;  // nobody had to
    try {
      return ReadCheckpointFolder(folder);
    } catch (const Error& e) {
      say(StrCat("what servers saved by themselves is not whole (", parts,
                 "), passed over: ", e.message()));
    }
  }
  return std::nullopt;
}

// ---- a server
Rescue::Rescue(const std::string& run_path) : run_path_(run_path) {
  const std::vector<int64_t> starts = Starts(run_path);
  CHECK(!starts.empty()) << run_path << " has no folder to save in by oneself";
  folder_ = FolderOf(run_path, starts.back());
  alive_ = open((folder_ + "/" + kAlive).c_str(), O_RDWR | O_CLOEXEC);
  if (alive_ < 0 || flock(alive_, LOCK_SH) != 0) {
    LOG(WARNING) << folder_ << "/" << kAlive << " cannot be locked: who resumes will not wait";
  }
}

Rescue::~Rescue() {
  if (alive_ >= 0) close(alive_);
}

SafetensorsFile Rescue::Others() const { return SafetensorsFile(folder_ + "/" + kOthers); }

std::optional<int64_t> Rescue::Finish(int part, int parts, const SavedPart& saved,
                                      const NodeProgress& progress) const {
  json mine = json::parse(saved.ToBody());
  mine["node"] = progress.node;
  mine["epoch"] = progress.epoch;
  mine["steps"] = progress.steps;
  mine["samples"] = progress.samples;
  mine["lanes"] = progress.lanes;
  WriteFileAtomic(SavedPath(folder_, part, parts), mine.dump(1) + "\n");
  std::vector<json> all;
  for (int p = 1; p <= parts; ++p) {
    if (!fs::exists(SavedPath(folder_, p, parts))) return std::nullopt;  // others will do it
    all.push_back(json::parse(ReadFile(SavedPath(folder_, p, parts))));
  }
  int64_t step = 0;
  Complete(all, &step);
  // One of them tells.
  const int told = open((folder_ + "/.told").c_str(), O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  if (told < 0) return std::nullopt;
  close(told);
  return step;
}

// An agent that gave the job up has left its own summary.
bool Rescue::AgentSaidWhy() const {
  std::error_code none;
  const auto said = fs::last_write_time(run_path_ + "/summary.json", none);
  return !none && said >= fs::last_write_time(folder_ + kBegan, none);
}

// Two servers that both find all the parts write the same.
void Rescue::Complete(const std::vector<json>& all, int64_t* step) const {
  const json began = json::parse(ReadFile(folder_ + kBegan));
  const json state = StateOf(began, all);
  *step = state.at("step");
  const std::string text = state.dump(1) + "\n";
  WriteFileAtomic(folder_ + "/" + kState, text);
  std::vector<CheckpointFile> files = {
      {kState, static_cast<int64_t>(text.size()), nullptr, Crc32c(text.data(), text.size())}};
  for (const json& part : all) {
    for (const WrittenFile& f : SavedPart::FromBody(part.dump()).files) {
      files.push_back({f.name, f.bytes, nullptr, f.crc32c});
    }
  }
  WriteManifest(folder_, *step, files);
  if (AgentSaidWhy()) return;
  Summary summary;
  summary.program = "mariana_cluster";
  summary.verb = "train";
  summary.exit_code = ExitCode::kLostWorkers;
  summary.error = StrCat("the job was given up; servers saved step ", *step, " to ", folder_,
                         "; the same command with --resume goes on");
  summary.config_hash = began.at("config_hash");
  summary.steps = *step;
  summary.samples = state.at("samples");
  WriteSummary(run_path_ + "/summary.json", summary);
}

}  // namespace mariana
