#include "common/train/emulation.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <map>
#include <memory>
#include <mutex>

#include "common/base/error.h"
#include "common/comm/emulated/emulated_link.h"
#include "common/comm/link_speed.h"
#include "common/device/emulated/emulated_device.h"
#include "common/train/uploaded_batches.h"

namespace mariana {
namespace {

// The machine while it runs.
class Emulator {
 public:
  explicit Emulator(const EmulationOptions& options)
      : options_(options),
        clock_(Clock::MakeVirtual()),
        here_(clock_.get(), "main"),
        fabric_(*options.machine, clock_.get(), &timeline_) {
    if (options.workers.block.steps > 0) warm_up_ = steps_ = options.workers.block.steps;
    const Machine& machine = *options.machine;
    DataParallelOptions o = options.workers;
    o.clock = clock_.get();
    o.devices.clear();
    o.node_of.clear();
    for (int d = 0; d < options.devices; ++d) {
      devices_.push_back(EmulatedDevice::Make(d, machine, &fabric_));
      o.devices.push_back(devices_.back().get());
      o.node_of.push_back(machine.node_of(d));
    }
    o.make_link = [this, collect = o.collect_wire, distribute = o.distribute_wire](
                      int from, int to, const LinkEnds& ends) {
      return std::make_unique<EmulatedLink>(ends, devices_[static_cast<size_t>(from)].get(),
                                            devices_[static_cast<size_t>(to)].get(), collect,
                                            distribute);
    };
    o.carry = [this](const TransferRoute& route, int64_t bytes, std::function<void()> arrived) {
      Carry(route, bytes, std::move(arrived));
    };
    ChooseSizes(&o);
    workers_ = std::make_unique<DataParallel>(o);
    workers_->EnableProfile(options.profile);
  }

  Emulation Run() {
    const int64_t last = warm_up_ + steps_;
    UploadedBatches::Options upload;
    upload.last_step = last;
    upload.group = workers_->net(0)->group();
    upload.room = workers_->NextInputs();
    UploadedBatches source(workers_->options(), upload, [this] { return NextBatch(); });
    RunOptions run;
    run.last_step = last;
    run.learning_rate = [](int64_t) { return 0.0; };
    run.on_step = [this, last](const StepResult& r) {
      if (r.step + 1 == warm_up_) Begin();
      if (r.step + 1 == last) End();
    };
    workers_->Run(&source, run);
    DescribeBuckets();
    if (options_.trace) result_.chrome_trace = timeline_.ChromeTrace();
    return result_;
  }

 private:
  struct Counters {
    int64_t now_ns;
    std::vector<int64_t> busy_ns;  // by device
    std::vector<int64_t> bytes;    // by edge
  };

  // Activations from device to device, on a copy engine of the sender's: queued where its compute
  // stream stands, behind nothing but the links.
  void Carry(const TransferRoute& route, int64_t bytes, std::function<void()> arrived) {
    EmulatedDevice* const from = devices_[static_cast<size_t>(route.from)].get();
    const EmulatedDevice* const to = devices_[static_cast<size_t>(route.to)].get();
    const Route* way;
    {
      const std::lock_guard<std::mutex> lock(routes_mutex_);
      auto& known = routes_[{route.from, route.to}];
      if (!known) {
        known =
            std::make_unique<Route>(fabric_.routes().BetweenDevices(from->index(), to->index()));
      }
      way = known.get();
    }
    const auto latency = static_cast<int64_t>(std::llround(way->latency_ns));
    fabric_.Copy(*way, bytes, clock_->NowNs() + latency, "activations", std::move(arrived));
  }

  // Of buckets and ranges, where the job leaves them open: by the ways between neighbours. A range
  // takes a link as long as it takes to queue the next one.
  void ChooseSizes(DataParallelOptions* o) const {
    LinkSpeed slowest{0, 1e18, ""};
    double range_bytes = 0;
    for (int w = 0; w + 1 < options_.devices; ++w) {
      const Route route = fabric_.routes().BetweenDevices(w, w + 1);
      const double seconds = route.latency_ns * 1e-9 + options_.machine->device.launch_us * 1e-6;
      const double rate = route.bytes_per_ns * 1e9;
      slowest.latency_seconds = std::max(slowest.latency_seconds, seconds);
      slowest.bytes_per_second = std::min(slowest.bytes_per_second, rate);
      range_bytes = std::max(range_bytes, seconds * rate);
    }
    if (o->bucket_bytes == 0) {
      const int64_t arena = PlanNet(*o->net, o->NetFor(1)).arena_elements;
      o->bucket_bytes =
          ChooseBucketBytes(arena * int64_t{sizeof(float)}, options_.devices, slowest);
    }
    if (o->chunk_elements == 0) {
      o->chunk_elements = ExchangeOptions().chunk_elements;
      while (4.0 * static_cast<double>(o->chunk_elements) < range_bytes) o->chunk_elements *= 2;
    }
  }

  std::shared_ptr<HostBatch> NextBatch() {
    auto batch = std::make_shared<HostBatch>();
    batch->rows = options_.workers.batch_size;
    batch->input = batch->labels = this;  // never read
    return batch;
  }

  Counters Count() const {
    Counters c{clock_->NowNs(), {}, {}};
    for (const auto& device : devices_) c.busy_ns.push_back(device->busy_ns());
    for (size_t e = 0; e < fabric_.routes().edges().size(); ++e) {
      c.bytes.push_back(fabric_.EdgeBytes(static_cast<int>(e)));
    }
    return c;
  }

  // On worker 0's thread, as End.
  void Begin() {
    begin_ = Count();
    workers_->TakePhaseSeconds();
    workers_->TakeProfile();
    timeline_.Record(options_.trace);
  }

  void End() {
    timeline_.Record(false);
    const Counters end = Count();
    const auto steps = static_cast<double>(steps_);
    const auto ns = static_cast<double>(end.now_ns - begin_.now_ns);
    result_.devices = options_.devices;
    result_.batch_size = options_.workers.batch_size;
    result_.step_seconds = ns * 1e-9 / steps;
    const PhaseSeconds phases = workers_->TakePhaseSeconds();
    result_.norm_seconds = phases.commit / steps;
    result_.update_seconds = phases.update / steps;
    for (const auto& [forward, backward] : workers_->TakeProfile()) {
      result_.ops.emplace_back(forward / steps, backward / steps);
    }
    for (size_t d = 0; d < devices_.size(); ++d) {
      const auto busy = static_cast<double>(end.busy_ns[d] - begin_.busy_ns[d]);
      result_.compute_seconds = std::max(result_.compute_seconds, busy * 1e-9 / steps);
      result_.memory_bytes = std::max(result_.memory_bytes, devices_[d]->peak_bytes());
    }
    for (size_t e = 0; e < end.bytes.size(); ++e) {
      const auto bytes = static_cast<double>(end.bytes[e] - begin_.bytes[e]);
      const Edge& edge = fabric_.routes().edges()[e];
      if (bytes > 0) {
        result_.links.push_back({edge.name, bytes / steps, bytes / (edge.bytes_per_ns * ns)});
      }
    }
  }

  void DescribeBuckets() {
    result_.buckets = workers_->buckets();
    for (const Range& bucket : result_.buckets) {
      const auto& params = workers_->net(0)->params();
      const auto first = std::find_if(params.begin(), params.end(), [&](const ParamInfo& p) {
        return p.offset + p.elements > bucket.begin;
      });
      result_.first_op.push_back(first->op);
    }
  }

  const EmulationOptions& options_;
  int64_t warm_up_ = options_.warm_up, steps_ = options_.steps;  // or a whole block each
  const std::unique_ptr<Clock> clock_;
  const ClockThread here_;
  Timeline timeline_;
  Fabric fabric_;
  std::vector<std::unique_ptr<EmulatedDevice>> devices_;
  std::mutex routes_mutex_;
  std::map<std::pair<int, int>, std::unique_ptr<Route>> routes_;  // of activations
  std::unique_ptr<DataParallel> workers_;
  Counters begin_;
  Emulation result_;
};

std::string Line(const char* format, double a, double b = 0, double c = 0) {
  char text[200];
  std::snprintf(text, sizeof text, format, a, b, c);
  return text;
}

}  // namespace

void CheckDevices(const Machine& machine, int64_t devices) {
  if (devices <= machine.total_devices()) return;
  throw Fail(ExitCode::kUsage, devices, " workers, but ", machine.name, " has ",
             machine.total_devices(), machine.total_devices() == 1 ? " device" : " devices");
}

Emulation Emulate(const EmulationOptions& options) {
  CheckDevices(*options.machine, options.devices);
  return Emulator(options).Run();
}

double StepBound(const EmulationOptions& options, const Emulation& all) {
  Machine machine = *options.machine;
  machine.device.launch_us = machine.device.sync_us = 0;
  EmulationOptions alone = options;
  alone.machine = &machine;
  alone.devices = 1;
  alone.workers.batch_size = (all.batch_size + all.devices - 1) / all.devices;
  alone.trace = false;
  alone.profile = true;
  const Emulation one = Emulate(alone);
  const Wiring wiring = WiringOf(machine, options.workers.topology, all.devices);
  double forward = 0, backward = 0;
  for (const auto& [f, b] : one.ops) {
    forward += f;
    backward += b;
  }
  const double norm = one.norm_seconds / all.devices, update = one.update_seconds / all.devices;
  const double rest =  // the loss
      one.compute_seconds - forward - backward - one.norm_seconds - one.update_seconds;
  double to_commit = backward, to_outputs = update + forward;
  double collected = 0, updated = 0, arrived = 0;
  for (size_t k = 0; k < all.buckets.size(); ++k) {
    const Range& bucket = all.buckets[k];
    const ExchangeBound links = BoundOf(machine, wiring, {bucket}, options.workers.collect_wire,
                                        options.workers.distribute_wire);
    double f = 0, b = 0;  // from the bucket's first op upwards
    for (size_t op = static_cast<size_t>(all.first_op[k]); op < one.ops.size(); ++op) {
      f += one.ops[op].first;
      b += one.ops[op].second;
    }
    collected += links.collect;  // of this bucket and those that backward reaches later
    to_commit = std::max(to_commit, b + collected);
    updated +=
        update * static_cast<double>(bucket.size()) / static_cast<double>(all.buckets.back().end);
    arrived = std::max(arrived, updated) + links.distribute;
    to_outputs = std::max(to_outputs, arrived + f);
  }
  return to_commit + norm + to_outputs + rest;
}

std::string FormatEmulation(const Machine& machine, const Emulation& all, const Emulation& one,
                            const std::string& unit) {
  std::string text = StrCat(machine.name, " (emulated): ", all.devices, " x ", machine.device.name,
                            ", ", all.batch_size, " ", unit, " a step\n");
  text += Line("throughput            %.0f ", all.samples_per_second()) + unit + " a second";
  text += Line(", %.3f ms a step\n", all.step_seconds * 1e3);
  if (all.devices > 1) {
    text += Line("speed-up              %.2f over one device with as many ",
                 all.samples_per_second() / one.samples_per_second()) +
            StrCat(unit, " of its own (", one.batch_size, ")\n");
  }
  text += Line("exposed communication %.3f ms a step, %.1f %%\n", all.exposed_seconds() * 1e3,
               100 * all.exposed_seconds() / all.step_seconds);
  text += Line("memory of a device    %.2f GB of %.2f GB\n",
               static_cast<double>(all.memory_bytes) * 1e-9,
               static_cast<double>(machine.device.memory_bytes) * 1e-9);
  std::vector<LinkUse> links = all.links;
  std::stable_sort(links.begin(), links.end(),
                   [](const LinkUse& a, const LinkUse& b) { return a.share > b.share; });
  links.resize(std::min<size_t>(links.size(), 5));
  for (const LinkUse& link : links) {
    text +=
        "link " + link.name +
        Line(": %.1f MB a step, %.0f %% of what it carries\n", link.bytes * 1e-6, 100 * link.share);
  }
  return text;
}

}  // namespace mariana
