#include "common/train/data_parallel.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "common/base/error.h"
#include "common/train/joins.h"
#include "common/train/sync_worker.h"

namespace mariana {

std::vector<Share> DealOut(int64_t rows, int64_t group, int workers) {
  const int64_t unit = std::max<int64_t>(group, 1);
  const int64_t groups = (rows + unit - 1) / unit;
  std::vector<Share> shares;
  int64_t begin = 0;
  for (int64_t w = 0; w < workers; ++w) {
    const int64_t mine = groups / workers + (w < groups % workers ? 1 : 0);
    const int64_t end = std::min(rows, begin + mine * unit);
    shares.push_back({begin, end - begin});
    begin = end;
  }
  return shares;
}

std::vector<std::string> DataParallelOptions::SlotNames() const {
  if (block.steps == 0) {
    std::vector<std::string> names = OptimizerSlotNames(optimizer);
    if (masters()) names.push_back("master");
    return names;
  }
  return block.momentum > 0 ? std::vector<std::string>{"block_momentum"}
                            : std::vector<std::string>{};
}

NetOptions DataParallelOptions::NetFor(int64_t rows) const {
  NetOptions net;
  net.device = devices[0];
  net.max_rows = rows;
  net.input = input;
  net.outputs = outputs;
  net.compute = compute;
  // The devices of a group each hold the batch: one of them waits in room that is there anyway.
  net.next_input = split.workers > 1 && accumulate == 1 && !devices[0]->info().host_memory;
  return net;
}

// The largest share's largest part, counted in whole groups of any size that the net may choose:
// dealing out is monotone in the number of rows.
int64_t DataParallelOptions::MostRows(int groups, int64_t group) const {
  const int64_t share = DealOut(batch_size, group, groups)[0].rows;
  return DealOut(share, group, static_cast<int>(accumulate))[0].rows;
}

// A worker and the thread it runs on.
class DataParallel::Worker {
 public:
  Worker(int index, const DataParallelOptions& options, int64_t max_rows, BlockGate* gate,
         Clock* clock, std::shared_ptr<const SplitPlan> split, TransferGroup* transfers)
      : sync(index, options, max_rows, gate, std::move(split), transfers),
        tasks_(clock, 1),
        thread_(clock, StrCat("worker ", index), [this] {
          while (auto task = tasks_.Pop()) (*task)();
        }) {}
  ~Worker() { tasks_.Close(); }
  void Post(std::function<void()> task) { CHECK(tasks_.Push(std::move(task))); }

  SyncWorker sync;

 private:
  Queue<std::function<void()>> tasks_;
  ClockedThread thread_;  // last: it ends before what it uses
};

// The workers that have the same part of the model.
struct DataParallel::Partition {
  std::vector<Range> buckets;
  std::unique_ptr<ExchangeGroup> group;
};

struct DataParallel::Shared {
  explicit Shared(const DataParallelOptions& o)
      : options(o), clock(o.clock ? o.clock : Clock::Real()), gate(clock, o.local()), idle(clock) {}
  DataParallelOptions options;
  Clock* clock;
  BlockGate gate;
  NetPlan plan;                                           // of the whole model
  std::shared_ptr<const SplitPlan> split;                 // null: each worker has a model
  std::unique_ptr<WorldParts> world;                      // of split models on several ranks
  std::vector<std::unique_ptr<TransferGroup>> transfers;  // by group with workers of this rank
  std::vector<Partition> partitions;                      // empty where none is of this rank
  int64_t steps_done = 0;

  std::mutex mutex;
  CondVar idle;
  int running = 0;
  std::optional<Error> failure;  // the first one
};

DataParallel::DataParallel(const DataParallelOptions& options)
    : shared_(std::make_unique<Shared>(options)) {
  Shared& s = *shared_;
  const DataParallelOptions& o = s.options;
  CHECK_GE(o.local(), 1);
  CheckSplit(o);
  const NetOptions probe = o.NetFor(1);  // to learn what the model is made of
  s.plan = PlanNet(*o.net, probe);
  std::vector<std::string> names;
  for (const ParamInfo& p : s.plan.params) names.push_back(p.name);
  CheckGroups(o.optimizer, names);
  CHECK(o.ema >= 0 && o.ema < 1);
  CHECK(o.block.steps == 0 || (o.ema == 0 && o.optimizer.type == OptimizerType::kSgd));
  const int parts = o.split.workers;
  if (parts > 1) {
    s.split = PlanSplitNet(*o.net, probe, o.split);
    s.world = ShareWorld(o);
    for (int g = o.group_of(o.first()); g <= o.group_of(o.first() + o.local() - 1); ++g) {
      World* const world = GroupWorld(o, s.world.get(), g);
      s.transfers.push_back(std::make_unique<TransferGroup>(TransfersOf(o, *s.split, g, world)));
    }
  }
  const int64_t rows = o.MostRows(o.groups(), s.plan.group);
  for (int i = 0; i < o.local(); ++i) {
    const int w = o.first() + i, group = o.group_of(w) - o.group_of(o.first());
    workers_.push_back(std::make_unique<Worker>(w, o, rows, &s.gate, s.clock, s.split,
                                                parts > 1 ? s.transfers[group].get() : nullptr));
  }
  for (int part = 0; part < parts; ++part) {
    Partition& p = s.partitions.emplace_back();
    if (LocalOf(part).empty()) continue;
    SyncWorker& worker = workers_[LocalOf(part)[0]]->sync;
    World* const world = PartitionWorld(o, s.world.get(), part);
    p.buckets = worker.PlanBuckets(BucketBytesOf(o, world, worker.net()));
    p.group = ExchangeGroup::Make(ExchangeOf(o, part, world, p.buckets));
  }
  for (int i = 0; i < o.local(); ++i) {
    const Partition& p = s.partitions[o.part_of(o.first() + i)];
    workers_[i]->sync.Join(p.group.get(), p.buckets);
  }
}

// The exchange and the transfers read the workers' memory until they are gone.
DataParallel::~DataParallel() {
  for (auto& w : workers_) w->sync.Leave();
  shared_->partitions.clear();
  shared_->transfers.clear();
  workers_.clear();
}

const DataParallelOptions& DataParallel::options() const { return shared_->options; }
Net* DataParallel::net(int local) { return workers_[static_cast<size_t>(local)]->sync.net(); }
std::vector<Tensor> DataParallel::NextInputs() {
  std::vector<Tensor> room;
  for (auto& w : workers_) room.push_back(w->sync.net()->next_input());
  return room;
}
int64_t DataParallel::steps_done() const { return shared_->steps_done; }
void DataParallel::set_steps_done(int64_t t) { shared_->steps_done = t; }
const NetPlan& DataParallel::plan() const { return shared_->plan; }
const SplitPlan* DataParallel::split() const { return shared_->split.get(); }

std::vector<LinkBytes> DataParallel::Traffic() const {
  const int parts = options().split.workers;
  std::vector<LinkBytes> all;
  for (int part = 0; part < parts; ++part) {
    const Partition& p = shared_->partitions[part];
    if (!p.group) continue;
    for (LinkBytes link : p.group->Traffic()) {
      link.from = link.from * parts + part;
      link.to = link.to * parts + part;
      all.push_back(link);
    }
  }
  return all;
}

const std::vector<Range>& DataParallel::buckets() const {
  return shared_->partitions[options().part_of(options().first())].buckets;
}

std::vector<int64_t> DataParallel::TransferredBytes() const {
  std::vector<int64_t> sum(shared_->split ? shared_->split->messages.size() : 0);
  for (const auto& group : shared_->transfers) {
    const std::vector<int64_t> bytes = group->bytes();
    for (size_t m = 0; m < sum.size(); ++m) sum[m] += bytes[m];
  }
  return sum;
}

std::vector<int> DataParallel::LocalOf(int part) const {
  const DataParallelOptions& o = options();
  std::vector<int> workers;
  for (int i = 0; i < o.local(); ++i) {
    if (o.part_of(o.first() + i) == part) workers.push_back(i);
  }
  return workers;
}
void DataParallel::EnableProfile(bool on) { net(0)->EnableProfile(on); }
std::vector<std::pair<double, double>> DataParallel::TakeProfile() { return net(0)->TakeProfile(); }
PhaseSeconds DataParallel::TakePhaseSeconds() {
  return std::exchange(workers_[0]->sync.seconds, PhaseSeconds());
}

namespace {

// For the other ranks.
Error NameWorker(const DataParallelOptions& o, int worker, const std::string& where, ExitCode code,
                 const std::string& message) {
  return Fail(code, "worker ", worker, " (rank ", o.ranks->rank(), ", ", o.ranks->world()->node(),
              "), ", where, ": ", message);
}

}  // namespace

void DataParallel::OnAll(const std::string& phase, const std::function<void(int)>& fn) {
  Shared& s = *shared_;
  const int n = static_cast<int>(workers_.size());
  {
    std::unique_lock<std::mutex> lock(s.mutex);
    if (s.failure) throw *s.failure;
    s.running = n;
  }
  // The first failure ends everybody: the exchange wakes whoever waits in it, with an error that
  // must not count as a failure of its own; so the failure is noted before.
  auto fail = [&s, this](int local, const std::string& where, ExitCode code,
                         const std::string& message) {
    const int w = s.options.first() + local;
    {
      std::unique_lock<std::mutex> lock(s.mutex);
      if (s.failure) return;
      s.failure = workers() == 1 ? Error(code, message)
                                 : Fail(code, "worker ", w, ", ", where, ": ", message);
    }
    s.gate.Open();
    if (s.world) s.options.ranks->world()->Abort(NameWorker(s.options, w, where, code, message));
    for (const Partition& p : s.partitions) {
      if (p.group) p.group->Abort(s.options.group_of(w), where, static_cast<int>(code), message);
    }
    for (const auto& group : s.transfers) group->Abort(Error(code, message));
  };
  for (int w = 0; w < n; ++w) {
    Worker* worker = workers_[static_cast<size_t>(w)].get();
    worker->Post([&, w, worker] {
      const auto where = [&] { return phase.empty() ? std::string(worker->sync.phase()) : phase; };
      try {
        fn(w);
      } catch (const Error& e) {
        fail(w, where(), e.code(), e.message());
      } catch (const std::exception& e) {
        fail(w, where(), ExitCode::kInternal, e.what());
      }
      std::unique_lock<std::mutex> lock(s.mutex);
      if (--s.running == 0) s.idle.NotifyAll();
    });
  }
  std::unique_lock<std::mutex> lock(s.mutex);
  s.idle.Wait(&lock, [&] { return s.running == 0; });
  if (s.failure) throw *s.failure;
}

int64_t DataParallel::Run(BatchSource* source, const RunOptions& options) {
  const size_t n = workers_.size();
  std::vector<RunOutcome> outcomes(n);
  std::vector<int64_t> done(n, 0);
  std::vector<StepResult> results(n);
  shared_->gate.Reset(options.first_step);
  OnAll("", [&](int w) {
    const size_t i = static_cast<size_t>(w);
    outcomes[i] =
        workers_[i]->sync.RunSteps(source, options, shared_->steps_done, &done[i], &results[i]);
  });
  shared_->steps_done += done[0];
  if (outcomes[0] != RunOutcome::kDiverged) return done[0];

  std::string message = StrCat(shared_->options.block.steps > 0 ? "the block that ends with " : "",
                               "step ", results[0].step + 1, " diverged: loss ", results[0].loss);
  for (size_t w = 0; w < n; ++w) {
    const std::string name = workers_[w]->sync.FirstNonFinite();
    if (name.empty()) continue;
    message += StrCat("; the gradient of ", name, " is not finite on worker ",
                      static_cast<size_t>(shared_->options.first()) + w);
    break;
  }
  throw Error(ExitCode::kDiverged,
              message +
                  "; the values are still those of before it; try a lower "
                  "train.schedule.learning_rate, warm-up or train.optimizer.clip_norm");
}

void DataParallel::Initialize() {
  OnAll("initialize", [&](int w) {
    SyncWorker& worker = workers_[static_cast<size_t>(w)]->sync;
    worker.net()->Initialize(shared_->options.seed);
    worker.ClearSlots();
    worker.StartFromValues();
  });
  shared_->steps_done = 0;
}

namespace {

constexpr char kValue[] = ".value";  // of the values in training, beside a model that is averages

// Parameters of these names in place of the net's own.
void LoadParams(Net* net, const NamedTensors& map, const std::string& suffix) {
  std::vector<float> slot;
  for (size_t i = 0; i < net->params().size(); ++i) {
    const ParamInfo& p = net->params()[i];
    slot.resize(static_cast<size_t>(p.elements));
    PackPart(*net, static_cast<int>(i), map.Find(p.name + suffix, p.part.whole), slot.data());
    net->options().device->Upload(net->values() + p.offset, slot.data(),
                                  p.elements * int64_t{sizeof(float)});
  }
  net->RefreshShadow(0, net->arena_elements());
}

// Whether this rank saves the part: it has worker `part` of the first group, or of its own.
bool IsSaver(const DataParallelOptions& o, int part) {
  return o.whole_here() || o.rank_of(part) == o.ranks->rank();
}

}  // namespace

std::vector<HostTensor> DataParallel::SaveValues() const {
  const DataParallelOptions& o = options();
  std::vector<NetPlan> plans;
  std::vector<std::vector<float>> values(static_cast<size_t>(o.split.workers));
  for (int part = 0; part < o.split.workers; ++part) {
    plans.push_back(PlanOfPart(part));
    if (IsSaver(o, part)) values[part] = PlainValues(workers_[LocalOf(part)[0]]->sync.net());
  }
  return JoinValues(plan(), plans, GatherParts(std::move(values), true));
}

std::vector<HostTensor> DataParallel::SaveModel() const {
  std::vector<HostTensor> values = SaveValues();
  if (shared_->options.ema == 0) return values;
  std::vector<HostTensor> averages;
  SaveSlot(workers_[0]->sync.average_slot(), "", true, &averages);
  std::move(averages.begin(), averages.end(), values.begin());  // parameters come first
  return values;
}

void DataParallel::LoadModel(const std::vector<HostTensor>& tensors, const std::string& where) {
  for (auto& worker : workers_) {
    LoadNetValues(worker->sync.net(), tensors, where);
    worker->sync.StartFromValues();
  }
}

void DataParallel::WithAverages(const std::function<void()>& fn) {
  if (shared_->options.ema == 0) return fn();
  std::vector<std::vector<float>> values;
  for (auto& worker : workers_) {
    Net* const net = worker->sync.net();
    values.emplace_back(static_cast<size_t>(net->arena_elements()));
    net->options().device->Download(values.back().data(), net->values(),
                                    net->arena_elements() * int64_t{sizeof(float)});
  }
  const std::vector<HostTensor> averages = SaveModel();
  for (auto& worker : workers_) LoadNetValues(worker->sync.net(), averages, "averages");
  fn();
  for (size_t i = 0; i < workers_.size(); ++i) {
    Net* const net = workers_[i]->sync.net();
    net->options().device->Upload(net->values(), values[i].data(),
                                  net->arena_elements() * int64_t{sizeof(float)});
    net->RefreshShadow(0, net->arena_elements());
  }
}

NetPlan DataParallel::PlanOfPart(int part) const {
  const std::vector<int> here = LocalOf(part);
  if (!here.empty()) return workers_[here[0]]->sync.net()->plan();
  NetOptions net = options().NetFor(1);
  net.split = shared_->split;
  net.worker = part;
  return PlanNet(*options().net, net);
}

// Of each part what its saver has, on all ranks, or on rank 0 (elsewhere nothing).
std::vector<std::vector<float>> DataParallel::GatherParts(std::vector<std::vector<float>> mine,
                                                          bool on_all) const {
  const DataParallelOptions& o = options();
  if (o.whole_here()) return mine;
  std::string said;
  for (const std::vector<float>& part : mine) {
    const uint64_t n = part.size();
    said.append(reinterpret_cast<const char*>(&n), sizeof n);
    said.append(reinterpret_cast<const char*>(part.data()), n * sizeof(float));
  }
  std::vector<std::vector<float>> parts(mine.size());
  for (const std::string& rank : on_all ? o.ranks->Gather(said) : o.ranks->GatherToFirst(said)) {
    const char* from = rank.data();
    for (std::vector<float>& part : parts) {
      uint64_t n = 0;
      std::memcpy(&n, from, sizeof n);
      from += sizeof n;
      if (n == 0) continue;
      part.resize(n);
      std::memcpy(part.data(), from, n * sizeof(float));
      from += n * sizeof(float);
    }
  }
  return parts;
}

// Each worker's slot goes over as it lies; PlanSlots tells where its elements belong. Plain, of the
// part's parameters, on rank `root`, which has a worker of it; on all with -1.
std::vector<float> DataParallel::GatherSlot(int part, int k, int root) const {
  const DataParallelOptions& o = shared_->options;
  std::string mine;
  for (int i : LocalOf(part)) {
    const SyncWorker& worker = workers_[i]->sync;
    std::vector<float> elements(static_cast<size_t>(worker.layout().elements()));
    worker.ReadSlot(k, elements.data());
    mine.append(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(float));
  }
  std::vector<std::string> all;
  if (!o.on_ranks()) {
    all.push_back(std::move(mine));
  } else if (root < 0) {
    all = o.ranks->Gather(mine);
  } else {
    all = o.ranks->world()->GatherTo(root, mine);
  }
  if (all.empty()) return {};
  const Net& net = *workers_[LocalOf(part)[0]]->sync.net();
  const std::vector<Range>& buckets = shared_->partitions[part].buckets;
  std::vector<float> arena(static_cast<size_t>(net.arena_elements()), 0.0f);
  std::vector<size_t> at(all.size(), 0);
  for (int w : PartitionOf(o, part)) {
    const auto rank = static_cast<size_t>(o.on_ranks() ? o.rank_of(w) : 0);
    for (const auto& list :
         PlanSlots(net, o.optimizer, buckets, o.group_of(w), o.groups()).buckets) {
      for (const Segment& s : list) {
        const size_t bytes = static_cast<size_t>(s.range.size()) * sizeof(float);
        std::memcpy(arena.data() + s.range.begin, all[rank].data() + at[rank], bytes);
        at[rank] += bytes;
      }
    }
  }
  return PlainParams(net, arena.data());
}

void DataParallel::SaveSlot(int k, const std::string& suffix, bool on_all,
                            std::vector<HostTensor>* out) const {
  const DataParallelOptions& o = options();
  std::vector<NetPlan> plans;
  std::vector<std::vector<float>> slots;
  for (int part = 0; part < o.split.workers; ++part) {
    plans.push_back(PlanOfPart(part));
    slots.push_back(GatherSlot(part, k, o.whole_here() ? (on_all ? -1 : 0) : o.rank_of(part)));
  }
  for (HostTensor& t : JoinParams(plan(), plans, GatherParts(std::move(slots), on_all))) {
    t.name += suffix;
    out->push_back(std::move(t));
  }
}

std::vector<HostTensor> DataParallel::SaveOptimizer() const {
  std::vector<HostTensor> out;
  const std::vector<std::string> names = shared_->options.SlotNames();
  for (size_t k = 0; k < names.size(); ++k) {
    SaveSlot(static_cast<int>(k), "." + names[k], false, &out);
  }
  if (shared_->options.ema == 0) return out;
  std::vector<HostTensor> values = SaveValues();
  values.resize(plan().params.size());  // without the running averages
  for (HostTensor& t : values) {
    t.name += kValue;
    out.push_back(std::move(t));
  }
  return out;
}

void DataParallel::LoadOptimizer(const std::vector<HostTensor>& tensors, const std::string& where) {
  const NamedTensors map(tensors, where);
  const std::vector<std::string> names = shared_->options.SlotNames();
  std::vector<float> slot;
  for (int part = 0; part < options().split.workers; ++part) {
    const std::vector<int> here = LocalOf(part);
    if (here.empty()) continue;
    const Net& net = *workers_[here[0]]->sync.net();
    for (size_t i = 0; i < net.params().size(); ++i) {
      const ParamInfo& p = net.params()[i];
      for (size_t k = 0; k < names.size(); ++k) {
        slot.resize(static_cast<size_t>(p.elements));
        PackPart(net, static_cast<int>(i), map.Find(p.name + "." + names[k], p.part.whole),
                 slot.data());
        for (int w : here) {
          workers_[w]->sync.WriteSlots(static_cast<int>(k), {p.offset, p.offset + p.elements},
                                       slot.data());
        }
      }
    }
  }
  if (shared_->options.ema == 0) return;
  for (auto& w : workers_) LoadParams(w->sync.net(), map, kValue);
}

}  // namespace mariana
