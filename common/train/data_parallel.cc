#include "common/train/data_parallel.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <map>
#include <mutex>
#include <optional>
#include <utility>

#include "common/base/error.h"
#include "common/comm/device_link.h"
#include "common/comm/link_speed.h"
#include "common/train/parallel.h"
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
  std::vector<std::unique_ptr<TransferGroup>> transfers;  // by group of this rank
  std::vector<Partition> partitions;
  int64_t steps_done = 0;

  std::mutex mutex;
  CondVar idle;
  int running = 0;
  std::optional<Error> failure;  // the first one
};

namespace {

// Of the workers that have part `part`.
ExchangeOptions ExchangeOf(const DataParallelOptions& o, int part, std::vector<Range> buckets) {
  ExchangeOptions exchange;
  exchange.topology = o.topology;
  exchange.workers = o.groups();
  std::vector<int> nodes = o.node_of;
  if (o.ranks && o.total() > o.local()) {
    const Wiring wiring = WireUp(o.topology, o.local(), *o.ranks);
    exchange.topology = wiring.topology;
    nodes = wiring.node_of;
    exchange.world = o.ranks->world();
    for (int g = 0; g < o.groups(); ++g) {
      exchange.rank_of.push_back((g * o.split.workers + part) / o.local());
    }
  }
  for (size_t w = static_cast<size_t>(part); w < nodes.size();
       w += static_cast<size_t>(o.split.workers)) {
    exchange.node_of.push_back(nodes[w]);
  }
  exchange.buckets = std::move(buckets);
  exchange.clock = o.clock ? o.clock : Clock::Real();
  if (o.chunk_elements > 0) exchange.chunk_elements = o.chunk_elements;
  exchange.collect_wire = o.collect_wire;
  exchange.distribute_wire = o.distribute_wire;
  if (o.devices[0]->info().queued && !o.make_link) {
    CHECK_EQ(o.total(), o.local()) << "links between processes need memory that the host can read";
    if (o.collect_wire != Wire::kF32 || o.distribute_wire != Wire::kF32) {
      throw Fail(ExitCode::kUsage, "parallel.wire: between GPUs fp32 travels; use fp32");
    }
    // A chunk costs the host a round trip to the device.
    if (o.chunk_elements == 0) exchange.chunk_elements = int64_t{1} << 20;
    exchange.make_link = [devices = o.devices](const LinkEnds& ends) {
      return std::make_unique<DeviceLink>(ends, devices[static_cast<size_t>(ends.from)],
                                          devices[static_cast<size_t>(ends.to)]);
    };
  }
  if (o.make_link) {
    exchange.make_link = [&o, part](const LinkEnds& ends) {
      return o.make_link(ends.from * o.split.workers + part, ends.to * o.split.workers + part,
                         ends);
    };
  }
  return exchange;
}

// Of the buckets of what `net` has of the model.
int64_t BucketBytesOf(const DataParallelOptions& o, const Net* net) {
  std::string why;
  World* const world = o.ranks && o.total() > o.local() ? o.ranks->world() : nullptr;
  return BucketBytes(o.bucket_bytes, net->arena_elements() * int64_t{sizeof(float)}, o.groups(),
                     world, &why);
}

std::vector<TransferRoute> RoutesOf(const SplitPlan& plan) {
  std::vector<TransferRoute> routes;
  for (const TransferMessage& m : plan.messages) routes.push_back({m.from, m.to});
  return routes;
}

// Between the workers of group `group`.
TransferGroup::Carry CarryOf(const DataParallelOptions& o, int group) {
  if (!o.carry) return {};
  return [&o, first = group * o.split.workers](const TransferRoute& route, int64_t bytes,
                                               std::function<void()> arrived) {
    o.carry({first + route.from, first + route.to}, bytes, std::move(arrived));
  };
}

void CheckSplit(const DataParallelOptions& o) {
  if (o.split.workers == 1) return;
  if (o.total() > o.local()) {
    throw Fail(ExitCode::kUsage, "parallel.split: ", o.split.workers,
               ": a model is split between the devices of one process; start it without mpirun");
  }
  if (o.devices[0]->info().queued) {
    throw Fail(ExitCode::kUsage, "parallel.split: ", o.split.workers,
               ": this version splits a model between CPUs, or emulated devices, but not GPUs");
  }
  if (o.local() % o.split.workers != 0) {
    throw Fail(ExitCode::kUsage, "parallel.split: ", o.split.workers, " does not divide the ",
               o.local(), " devices");
  }
}

}  // namespace

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
    for (int g = 0; g < o.local() / parts; ++g) {
      s.transfers.push_back(
          std::make_unique<TransferGroup>(parts, RoutesOf(*s.split), s.clock, CarryOf(o, g)));
    }
  }
  const int64_t rows = o.MostRows(o.groups(), s.plan.group);
  for (int i = 0; i < o.local(); ++i) {
    TransferGroup* const transfers = parts > 1 ? s.transfers[i / parts].get() : nullptr;
    workers_.push_back(
        std::make_unique<Worker>(o.first() + i, o, rows, &s.gate, s.clock, s.split, transfers));
  }
  for (int part = 0; part < parts; ++part) {
    Partition p;
    p.buckets = workers_[part]->sync.PlanBuckets(BucketBytesOf(o, workers_[part]->sync.net()));
    p.group = ExchangeGroup::Make(ExchangeOf(o, part, p.buckets));
    s.partitions.push_back(std::move(p));
  }
  for (int i = 0; i < o.local(); ++i) {
    const Partition& p = s.partitions[o.part_of(i)];
    workers_[i]->sync.Join(p.group.get(), p.buckets);
  }
}

// The exchange reads the workers' arenas until it is gone.
DataParallel::~DataParallel() {
  for (auto& w : workers_) w->sync.Leave();
  shared_->partitions.clear();
  workers_.clear();
}

const DataParallelOptions& DataParallel::options() const { return shared_->options; }
Net* DataParallel::net(int local) { return workers_[static_cast<size_t>(local)]->sync.net(); }
int64_t DataParallel::steps_done() const { return shared_->steps_done; }
void DataParallel::set_steps_done(int64_t t) { shared_->steps_done = t; }
const NetPlan& DataParallel::plan() const { return shared_->plan; }
const SplitPlan* DataParallel::split() const { return shared_->split.get(); }

std::vector<LinkBytes> DataParallel::Traffic() const {
  const int parts = options().split.workers;
  std::vector<LinkBytes> all;
  for (int part = 0; part < parts; ++part) {
    for (LinkBytes link : shared_->partitions[part].group->Traffic()) {
      link.from = link.from * parts + part;
      link.to = link.to * parts + part;
      all.push_back(link);
    }
  }
  return all;
}

const std::vector<Range>& DataParallel::buckets() const { return shared_->partitions[0].buckets; }

std::vector<int64_t> DataParallel::TransferredBytes() const {
  std::vector<int64_t> sum(shared_->split ? shared_->split->messages.size() : 0);
  for (const auto& group : shared_->transfers) {
    const std::vector<int64_t> bytes = group->bytes();
    for (size_t m = 0; m < sum.size(); ++m) sum[m] += bytes[m];
  }
  return sum;
}

std::vector<Net*> DataParallel::NetsOfModel() const {
  std::vector<Net*> nets;
  for (int part = 0; part < options().split.workers; ++part) {
    nets.push_back(workers_[part]->sync.net());
  }
  return nets;
}
void DataParallel::EnableProfile(bool on) { net(0)->EnableProfile(on); }
std::vector<std::pair<double, double>> DataParallel::TakeProfile() { return net(0)->TakeProfile(); }
PhaseSeconds DataParallel::TakePhaseSeconds() {
  return std::exchange(workers_[0]->sync.seconds, PhaseSeconds());
}

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
    for (const Partition& p : s.partitions) {
      p.group->Abort(s.options.group_of(w), where, static_cast<int>(code), message);
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

}  // namespace

std::vector<HostTensor> DataParallel::SaveModel() const {
  std::vector<HostTensor> values = SaveNetValues(plan(), NetsOfModel());
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
  const std::vector<HostTensor> values = SaveNetValues(plan(), NetsOfModel());
  const std::vector<HostTensor> averages = SaveModel();
  for (auto& worker : workers_) LoadNetValues(worker->sync.net(), averages, "averages");
  fn();
  for (auto& worker : workers_) LoadNetValues(worker->sync.net(), values, "values");
}

// Each worker's slot goes over as it lies; PlanSlots tells where its elements belong.
void DataParallel::GatherSlot(int part, int k, bool on_all, std::vector<float>* arena) const {
  const DataParallelOptions& o = shared_->options;
  const int parts = o.split.workers;
  std::string mine;
  for (int i = part; i < o.local(); i += parts) {
    const SyncWorker& worker = workers_[i]->sync;
    std::vector<float> elements(static_cast<size_t>(worker.layout().elements()));
    worker.ReadSlot(k, elements.data());
    mine.append(reinterpret_cast<const char*>(elements.data()), elements.size() * sizeof(float));
  }
  std::vector<std::string> all;
  if (workers() == o.local()) {
    all.push_back(std::move(mine));
  } else {
    all = on_all ? o.ranks->Gather(mine) : o.ranks->GatherToFirst(mine);
  }
  const Net& net = *workers_[part]->sync.net();
  const std::vector<Range>& buckets = shared_->partitions[part].buckets;
  arena->assign(static_cast<size_t>(net.arena_elements()), 0.0f);
  int group = 0;
  for (const std::string& rank : all) {
    const char* from = rank.data();
    for (int i = part; i < o.local(); i += parts, ++group) {
      for (const auto& list : PlanSlots(net, o.optimizer, buckets, group, o.groups()).buckets) {
        for (const Segment& s : list) {
          const size_t bytes = static_cast<size_t>(s.range.size()) * sizeof(float);
          std::memcpy(arena->data() + s.range.begin, from, bytes);
          from += bytes;
        }
      }
    }
  }
}

void DataParallel::SaveSlot(int k, const std::string& suffix, bool on_all,
                            std::vector<HostTensor>* out) const {
  std::map<std::string, float*> by_name;
  const size_t first = out->size();
  for (const ParamInfo& p : plan().params) out->push_back(EmptyF32(p.name + suffix, p.shape));
  for (size_t i = 0; i < plan().params.size(); ++i) {
    by_name[plan().params[i].name] = (*out)[first + i].f32();
  }
  std::vector<float> arena, own;
  for (int part = 0; part < options().split.workers; ++part) {
    GatherSlot(part, k, on_all, &arena);
    const Net& net = *workers_[part]->sync.net();
    for (size_t i = 0; i < net.params().size(); ++i) {
      const ParamInfo& p = net.params()[i];
      own.resize(static_cast<size_t>(p.shape.elements()));
      net.UnpackParam(static_cast<int>(i), arena.data() + p.offset, own.data());
      PlacePart(own.data(), p.part, p.shape, by_name.at(p.name));
    }
  }
}

std::vector<HostTensor> DataParallel::SaveOptimizer() const {
  std::vector<HostTensor> out;
  const std::vector<std::string> names = shared_->options.SlotNames();
  for (size_t k = 0; k < names.size(); ++k) {
    SaveSlot(static_cast<int>(k), "." + names[k], false, &out);
  }
  if (shared_->options.ema == 0) return out;
  std::vector<HostTensor> values = SaveNetValues(plan(), NetsOfModel());
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
  const int parts = options().split.workers;
  std::vector<float> slot;
  for (int part = 0; part < parts; ++part) {
    const Net& net = *workers_[part]->sync.net();
    for (size_t i = 0; i < net.params().size(); ++i) {
      const ParamInfo& p = net.params()[i];
      for (size_t k = 0; k < names.size(); ++k) {
        slot.resize(static_cast<size_t>(p.elements));
        PackPart(net, static_cast<int>(i), map.Find(p.name + "." + names[k], p.part.whole),
                 slot.data());
        for (size_t w = static_cast<size_t>(part); w < workers_.size();
             w += static_cast<size_t>(parts)) {
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
