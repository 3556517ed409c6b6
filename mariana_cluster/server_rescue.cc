#include "mariana_cluster/server_rescue.h"

#include <glog/logging.h>

#include <cstdio>
#include <fstream>
#include <memory>
#include <utility>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/train/net_values.h"
#include "mariana_cluster/click_data.h"
#include "mariana_cluster/frame_learner.h"
#include "mariana_cluster/learner.h"

namespace mariana {
namespace {

constexpr int64_t kLookNs = 20'000'000, kPatienceNs = 20'000'000'000;
// Until agents of other nodes have noticed, too, and ended their workers.
constexpr int64_t kOtherNodesNs = 5'000'000'000;

// Ended, reaped or not.
bool IsGone(int pid) {
  std::ifstream file(StrCat("/proc/", pid, "/stat"));
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');  // "4711 (name) Z ..."
  if (name_end == std::string::npos || name_end + 2 >= text.size()) return true;
  return text[name_end + 2] == 'Z' || text[name_end + 2] == 'X';
}

void AwaitWorkers(const Board& board, int servers) {
  const int64_t deadline = Clock::Real()->NowNs() + kPatienceNs;
  for (int m = servers; m < board.members(); ++m) {
    while (board.pid(m) != 0 && !IsGone(board.pid(m))) {
      if (Clock::Real()->NowNs() > deadline) {
        throw Fail(ExitCode::kLostWorkers, board.Describe(m), " goes on without its agent");
      }
      Clock::Real()->SleepFor(kLookNs);
    }
  }
}

void UnpackInto(const Net& net, const float* arena, const std::string& suffix,
                std::vector<HostTensor>* out) {
  for (size_t i = 0; i < net.params().size(); ++i) {
    const ParamInfo& p = net.params()[i];
    out->push_back(EmptyF32(p.name + suffix, p.shape));
    net.UnpackParam(static_cast<int>(i), arena + p.offset, out->back().f32());
  }
}

// The dense parameters, by the names that a checkpoint has them under; a net knows how they lie.
void UnpackDense(const JobSpec& job, JobMemory* memory, std::vector<HostTensor>* model,
                 std::vector<HostTensor>* optimizer) {
  const auto device = MakeCpuDevice(0, 1, -1);
  std::unique_ptr<ClickModel> clicks;
  std::unique_ptr<Net> frames;
  Net* net;
  if (job.trains_frames()) {
    const int64_t dim = FrameFacts::FromBytes(memory->measured).dim;
    frames = Net::Build(job.net, FrameNetOptions(job, dim, device.get()));
    net = frames.get();
  } else {
    const ClickData data = OpenData(job, true);
    clicks = MakeClickModel(job, *data.plan, data.joined_columns(), device.get());
    net = clicks->net();
  }
  UnpackInto(*net, memory->dense->values(), "", model);
  const std::vector<std::string> slots = OptimizerSlotNames(job.train.optimizer);
  for (size_t k = 0; k < slots.size(); ++k) {
    UnpackInto(*net, memory->dense->slot(static_cast<int>(k)), "." + slots[k], optimizer);
  }
}

void WriteOthers(const ServerRescue& s, const Rescue& rescue) {
  const SafetensorsFile others = rescue.Others();
  std::vector<HostTensor> model = others.ReadAll(), optimizer;
  if (s.memory->dense) UnpackDense(*s.job, s.memory, &model, &optimizer);
  const auto write = [&](const char* what, const std::vector<HostTensor>& tensors,
                         const Metadata& metadata) {
    FileWriter out(OthersPath(rescue.folder(), what));
    WriteSafetensors(&out, tensors, metadata);
    out.Finish();
  };
  write("model", model, others.metadata());
  write("optimizer", optimizer, {});
}

NodeProgress ProgressOf(const ServerRescue& s) {
  NodeProgress progress;
  progress.node = s.memory->place.node;
  progress.epoch = s.epoch;
  for (const LanePosition& l : s.memory->lanes->positions()) {
    progress.lanes.emplace_back(l.batches, l.ended);
  }
  const RunProgress::Totals totals = s.memory->progress->totals();
  progress.steps = totals.steps;
  progress.samples = totals.samples;
  return progress;
}

}  // namespace

void SaveByItself(const ServerRescue& s, const Rescue& rescue) {
  const int servers = static_cast<int>(s.job->parallel.servers);
  const Place place = s.memory->place;
  WriteCommand command;
  command.folder = rescue.folder();
  command.part = place.node * servers + s.index + 1;
  command.parts = s.memory->shards.empty() ? 1 : place.nodes * servers;
  command.others = command.part == 1;
  if (command.part > command.parts) return;  // there are no tables
  AwaitWorkers(*s.board, servers);
  if (place.nodes > 1) Clock::Real()->SleepFor(kOtherNodesNs);
  SavedPart saved;
  s.while_quiet([&] {
    if (command.others) WriteOthers(s, rescue);
    saved = s.snapshots->WriteNow(command);
  });
  if (command.others) {  // another server may still be without them
    for (const char* what : {"model", "optimizer"}) RemoveTree(OthersPath(rescue.folder(), what));
  }
  const bool told = rescue.AgentSaidWhy();
  const auto step = rescue.Finish(command.part, command.parts, saved, ProgressOf(s));
  LOG(INFO) << "saved part " << command.part << " of " << command.parts << " in "
            << rescue.folder();
  if (!step || told) return;
  std::fprintf(stderr,
               "mariana_cluster: lost: no agent leads this job any more; its servers saved step "
               "%lld to %s; the same command with --resume goes on\n",
               static_cast<long long>(*step), rescue.folder().c_str());
}

}  // namespace mariana
