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

// A worker and the thread it runs on.
class DataParallel::Worker {
 public:
  Worker(int index, const DataParallelOptions& options, int64_t max_rows, BlockGate* gate,
         Clock* clock)
      : sync(index, options, max_rows, gate),
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

struct DataParallel::Shared {
  explicit Shared(const DataParallelOptions& o)
      : options(o), clock(o.clock ? o.clock : Clock::Real()), gate(clock, o.local()), idle(clock) {}
  DataParallelOptions options;
  Clock* clock;
  BlockGate gate;
  std::unique_ptr<ExchangeGroup> group;
  std::vector<Range> buckets;
  int64_t steps_done = 0;

  std::mutex mutex;
  CondVar idle;
  int running = 0;
  std::optional<Error> failure;  // the first one
};

DataParallel::DataParallel(const DataParallelOptions& options)
    : shared_(std::make_unique<Shared>(options)) {
  const DataParallelOptions& o = shared_->options;
  const int n = o.total();
  CHECK_GE(o.local(), 1);
  // Enough rows for the largest share's largest part, counted in whole groups of any size that
  // the net may choose: dealing out is monotone in the number of rows.
  NetOptions probe;
  probe.device = o.devices[0];
  probe.max_rows = 1;
  probe.input = o.input;
  probe.outputs = o.outputs;
  probe.compute = o.compute;
  const NetPlan plan = PlanNet(*o.net, probe);
  const int64_t group = plan.group;
  std::vector<std::string> names;
  for (const ParamInfo& p : plan.params) names.push_back(p.name);
  CheckGroups(o.optimizer, names);
  CHECK(o.ema >= 0 && o.ema < 1);
  CHECK(o.block.steps == 0 || (o.ema == 0 && o.optimizer.type == OptimizerType::kSgd));
  const int64_t share = DealOut(o.batch_size, group, n)[0].rows;
  const int64_t rows = DealOut(share, group, static_cast<int>(o.accumulate))[0].rows;
  for (int w = o.first(); w < o.first() + o.local(); ++w) {
    workers_.push_back(std::make_unique<Worker>(w, o, rows, &shared_->gate, shared_->clock));
  }
  std::string why;
  shared_->buckets = workers_[0]->sync.PlanBuckets(
      BucketBytes(o.bucket_bytes, plan.arena_elements * int64_t{sizeof(float)}, n,
                  o.ranks && n > o.local() ? o.ranks->world() : nullptr, &why));
  ExchangeOptions exchange;
  exchange.topology = o.topology;
  exchange.workers = n;
  if (o.ranks && n > o.local()) {
    static_cast<Wiring&>(exchange) = WireUp(o.topology, o.local(), *o.ranks);
    exchange.world = o.ranks->world();
    for (int w = 0; w < n; ++w) exchange.rank_of.push_back(w / o.local());
  }
  exchange.buckets = shared_->buckets;
  exchange.clock = shared_->clock;
  if (o.chunk_elements > 0) exchange.chunk_elements = o.chunk_elements;
  exchange.collect_wire = o.collect_wire;
  exchange.distribute_wire = o.distribute_wire;
  if (!o.node_of.empty()) exchange.node_of = o.node_of;
  exchange.make_link = o.make_link;
  if (o.devices[0]->info().queued && !o.make_link) {
    CHECK_EQ(n, o.local()) << "links between processes need memory that the host can read";
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
  shared_->group = ExchangeGroup::Make(exchange);
  for (auto& w : workers_) w->sync.Join(shared_->group.get(), shared_->buckets);
}

// The exchange reads the workers' arenas until it is gone.
DataParallel::~DataParallel() {
  for (auto& w : workers_) w->sync.Leave();
  shared_->group.reset();
  workers_.clear();
}

const DataParallelOptions& DataParallel::options() const { return shared_->options; }
Net* DataParallel::net(int local) { return workers_[static_cast<size_t>(local)]->sync.net(); }
int64_t DataParallel::steps_done() const { return shared_->steps_done; }
void DataParallel::set_steps_done(int64_t t) { shared_->steps_done = t; }
std::vector<LinkBytes> DataParallel::Traffic() const { return shared_->group->Traffic(); }
const std::vector<Range>& DataParallel::buckets() const { return shared_->buckets; }
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
    s.group->Abort(w, where, static_cast<int>(code), message);
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
    slot.assign(static_cast<size_t>(p.elements), 0.0f);
    net->PackParam(static_cast<int>(i), map.Find(p.name + suffix, p.shape), slot.data());
    net->options().device->Upload(net->values() + p.offset, slot.data(),
                                  p.elements * int64_t{sizeof(float)});
  }
  net->RefreshShadow(0, net->arena_elements());
}

}  // namespace

std::vector<HostTensor> DataParallel::SaveModel() const {
  std::vector<HostTensor> values = SaveNetValues(workers_[0]->sync.net());
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
  const std::vector<HostTensor> values = SaveNetValues(workers_[0]->sync.net());
  const std::vector<HostTensor> averages = SaveModel();
  for (auto& worker : workers_) LoadNetValues(worker->sync.net(), averages, "averages");
  fn();
  for (auto& worker : workers_) LoadNetValues(worker->sync.net(), values, "values");
}

// Each worker's slot goes over as it lies; PlanSlots tells where its elements belong.
void DataParallel::GatherSlot(int k, bool on_all, std::vector<float>* arena) const {
  const DataParallelOptions& o = shared_->options;
  std::string mine;
  for (const auto& w : workers_) {
    const size_t begin = mine.size();
    mine.resize(begin + static_cast<size_t>(w->sync.layout().elements()) * sizeof(float));
    std::vector<float> elements(static_cast<size_t>(w->sync.layout().elements()));
    w->sync.ReadSlot(k, elements.data());
    std::memcpy(mine.data() + begin, elements.data(), mine.size() - begin);
  }
  std::vector<std::string> all;
  if (workers() == o.local()) {
    all.push_back(std::move(mine));
  } else {
    all = on_all ? o.ranks->Gather(mine) : o.ranks->GatherToFirst(mine);
  }
  const Net& net = *workers_[0]->sync.net();
  arena->assign(static_cast<size_t>(net.arena_elements()), 0.0f);
  for (size_t rank = 0; rank < all.size(); ++rank) {
    const char* from = all[rank].data();
    for (int i = 0; i < o.local(); ++i) {
      const int w = static_cast<int>(rank) * o.local() + i;
      for (const auto& list : PlanSlots(net, o.optimizer, shared_->buckets, w, workers()).buckets) {
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
  std::vector<float> arena;
  GatherSlot(k, on_all, &arena);
  const Net& net = *workers_[0]->sync.net();
  for (size_t i = 0; i < net.params().size(); ++i) {
    const ParamInfo& p = net.params()[i];
    out->push_back(EmptyF32(p.name + suffix, p.shape));
    net.UnpackParam(static_cast<int>(i), arena.data() + p.offset, out->back().f32());
  }
}

std::vector<HostTensor> DataParallel::SaveOptimizer() const {
  std::vector<HostTensor> out;
  const std::vector<std::string> names = shared_->options.SlotNames();
  for (size_t k = 0; k < names.size(); ++k) {
    SaveSlot(static_cast<int>(k), "." + names[k], false, &out);
  }
  if (shared_->options.ema == 0) return out;
  Net* net = workers_[0]->sync.net();
  std::vector<HostTensor> values = SaveNetValues(net);
  values.resize(net->params().size());  // without the running averages
  for (HostTensor& t : values) {
    t.name += kValue;
    out.push_back(std::move(t));
  }
  return out;
}

void DataParallel::LoadOptimizer(const std::vector<HostTensor>& tensors, const std::string& where) {
  const NamedTensors map(tensors, where);
  const Net& net = *workers_[0]->sync.net();
  const std::vector<std::string> names = shared_->options.SlotNames();
  std::vector<float> slot;
  for (size_t i = 0; i < net.params().size(); ++i) {
    const ParamInfo& p = net.params()[i];
    for (size_t k = 0; k < names.size(); ++k) {
      slot.assign(static_cast<size_t>(p.elements), 0.0f);
      net.PackParam(static_cast<int>(i), map.Find(p.name + "." + names[k], p.shape), slot.data());
      for (auto& w : workers_) {
        w->sync.WriteSlots(static_cast<int>(k), {p.offset, p.offset + p.elements}, slot.data());
      }
    }
  }
  if (shared_->options.ema == 0) return;
  for (auto& w : workers_) LoadParams(w->sync.net(), map, kValue);
}

}  // namespace mariana
