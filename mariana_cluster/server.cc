// A parameter server: the process that owns a shard of every table. It makes them, ages them at the
// end of an epoch, and in deterministic training applies the updates of each round to its shards
// and to its slices of the dense parameters, in their order. (Otherwise workers do that
// themselves.)
#include <glog/logging.h>

#include <filesystem>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>
#include <vector>

#include "mariana_cluster/click_data.h"
#include "mariana_cluster/cluster_checkpoint.h"
#include "mariana_cluster/commands.h"
#include "mariana_cluster/frame_learner.h"
#include "mariana_cluster/learner.h"
#include "mariana_cluster/node_service.h"
#include "mariana_cluster/server_rescue.h"
#include "mariana_cluster/snapshot/snapshot_writer.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

class Server {
 public:
  explicit Server(Member* me) : me_(me) {
    const ReceivedJob job = ReceiveJob(me_);
    index_ = job.index;
    LoadConfigText(job.yaml, "the agent's job", "/", {}, [this](Fields* f) { job_.Describe(f); });
    ClickData data;
    if (!job_.trains_frames()) data = OpenData(job_, true);
    if (job.remains.shards.empty()) MakeShards(data.plan.get(), job.place);
    for (const int fd : job.remains.shards) {
      shards_.push_back(std::make_shared<TableShard>(TableShard::Attach(fd)));
    }
    if (job.place.nodes > 1) {
      service_ = std::make_unique<NodeService>(job_, job, [this](const Message& m) { Tell(m); });
    }
    SendShards();
    memory_ = ReceiveMemory(me_, job.place);
    if (memory_.ordered) PrepareToApply(data);
    snapshots_ = std::make_unique<SnapshotWriter>(shards_, [this](const Message& m) { Tell(m); });
    if (job_.parallel.rescues()) {
      rescue_ =
          std::make_unique<Rescue>(std::filesystem::path(job.log_path).parent_path().string());
    }
    if (service_) service_->Start(shards_, &memory_);
  }

  int Run() {
    try {
      return Serve();
    } catch (const Error& e) {
      if (e.code() != ExitCode::kLostWorkers || rescue_ == nullptr) throw;
      LOG(INFO) << e.message();
      SaveByItself({&job_, index_, epoch_, &memory_, me_->board(), snapshots_.get(),
                    [this](const std::function<void()>& f) { WhileQuiet(f); }},
                   *rescue_);
      return static_cast<int>(ExitCode::kLostWorkers);
    }
  }

 private:
  int Serve() {
    Send({"ready", 0, "", {}});
    for (;;) {
      memory_.writer.SetState(ProcessState::kServing);
      const Message m = me_->Receive();
      if (m.kind == "epoch") {
        int64_t evicted = 0;
        WhileQuiet([&] { evicted = BeginEpoch(FromBody<EpochCommand>(m.body)); });
        epoch_ = FromBody<EpochCommand>(m.body).epoch;
        Send({"epoch", evicted, "", {}});
      } else if (m.kind == "flush") {
        if (service_) service_->FlushDense(static_cast<uint32_t>(m.number));
        Send({"flushed", 0, "", {}});
      } else if (m.kind == "apply") {
        Send({"applied", ApplyRounds(FromBody<TrainCommand>(m.body)), "", {}});
      } else if (m.kind == "load") {
        WhileQuiet([&] { Send({"loaded", 0, LoadRows(m.body, m.number != 0, shards_), {}}); });
      } else if (m.kind == "cut") {
        WhileQuiet([&] { snapshots_->Serve(m); });
      } else if (!snapshots_->Serve(m)) {
        CHECK_EQ(m.kind, "end");
        memory_.writer.SetState(ProcessState::kEnded);
        return 0;
      }
    }
  }

  void Send(const Message& message) {
    std::unique_lock<std::mutex> lock(send_mutex_);
    me_->Send(message);
  }
  // By another thread: that the agent is gone this one will notice.
  void Tell(const Message& message) {
    std::unique_lock<std::mutex> lock(send_mutex_);
    if (!me_->channel()->Send(message)) LOG(INFO) << "nobody hears \"" << message.kind << "\"";
  }

  // `plan` null: there are no tables.
  void MakeShards(const RowPlan* plan, Place place) {
    const int servers = static_cast<int>(job_.parallel.servers);
    std::vector<ClickTable> tables;
    if (plan) tables = MakeClickTables(job_.click, *plan, static_cast<uint64_t>(job_.seed));
    for (ClickTable& t : tables) {
      t.spec.keep_changes = job_.train.checkpoint.full_every > 1;
      shards_.push_back(std::make_shared<TableShard>(
          TableShard::Create(t.spec, place.node * servers + index_, place.nodes * servers)));
    }
  }

  void SendShards() {
    Message message{"shards", 0, service_ ? service_->endpoint() : "", {}};
    for (const auto& s : shards_) message.fds.push_back(s->fd());
    me_->Send(message);
  }

  // Runs f while nobody but this thread touches rows; workers of this node are paused.
  void WhileQuiet(const std::function<void()>& f) {
    if (service_) return service_->WhileQuiet(f);
    f();
  }

  void PrepareToApply(const ClickData& data) {
    device_ = MakeCpuDevice(0, 1, -1);
    if (memory_.dense) {
      dense_ = std::make_unique<DenseStep>(&*memory_.dense, PlanTheNet(data), job_.train.optimizer,
                                           device_.get());
    }
    applier_ =
        std::make_unique<BlockApplier>(index_, static_cast<int>(job_.parallel.servers), shards_,
                                       memory_.dense ? &*memory_.dense : nullptr, dense_.get());
  }

  NetPlan PlanTheNet(const ClickData& data) const {
    if (job_.trains_frames()) {
      return PlanFrameNet(job_, FrameFacts::FromBytes(memory_.measured).dim, device_.get());
    }
    return MakeClickModel(job_, *data.plan, data.joined_columns(), device_.get())->net()->plan();
  }

  int64_t BeginEpoch(const EpochCommand& command) {
    const int64_t keep = job_.click.rows.evict_after_epochs;
    int64_t evicted = 0;
    for (const auto& shard : shards_) {
      // Stamps count from 1: 0 is the age of rows that no gradient has reached.
      shard->SetStamp(static_cast<uint32_t>(command.epoch + 1));
      if (shard->form() != TableForm::kKeyed || !command.decay) continue;
      if (keep > 0 && command.epoch >= keep) {
        snapshots_->Wait();  // for those rows
        evicted += shard->Evict(static_cast<uint32_t>(command.epoch + 1 - keep));
        shard->DecaySightings();
      }
    }
    return evicted;
  }

  // Until the command's end or whoever ends the training; rounds done in all.
  int64_t ApplyRounds(const TrainCommand& command) {
    const ScheduleSpec& schedule = job_.train.schedule;
    int64_t step = command.step, round = command.round;
    for (; round < command.end_round; ++round) {
      const bool applied =
          memory_.ordered->Apply(me_->board(), index_, round, [&](int, std::string_view section) {
            const int64_t begin = Clock::Real()->NowNs();
            const double rate = LearningRate(schedule, step, command.epoch_steps);
            const auto sparse = static_cast<float>(rate / schedule.learning_rate);
            if (applier_->Apply(section, {rate, step + 1, 1}, sparse)) ++step;
            memory_.writer.AddServerTime(ServerStage::kApply, begin, Clock::Real()->NowNs());
          });
      if (!applied) break;
    }
    return round;
  }

  Member* me_;
  std::mutex send_mutex_;  // snapshots tell from a thread of their own
  JobSpec job_;
  int index_ = 0;
  int64_t epoch_ = 0;
  std::vector<std::shared_ptr<TableShard>> shards_;  // [table], its own
  JobMemory memory_;
  std::unique_ptr<Device> device_;
  std::unique_ptr<DenseStep> dense_;
  std::unique_ptr<BlockApplier> applier_;
  std::unique_ptr<SnapshotWriter> snapshots_;
  std::unique_ptr<Rescue> rescue_;  // null: deterministic training, which goes back to a checkpoint
  std::unique_ptr<NodeService> service_;  // over several nodes; last: it ends first
};                                        // namespace

}  // namespace

int ServerVerb(const CommandLine&) {
  return RunMember([](Member* me) { return Server(me).Run(); });
}

}  // namespace mariana
