// The exchange alone: the time of a step's collect, commit and distribute between workers that
// compute nothing. `bazel run --config=opt //tests/bench:allreduce_bench [-- steps [plain]]`
//
// GB/s counts what goes over the busiest link, both phases; the memory moves more: an add reads
// two and writes one, a copy reads one and writes one. cpu is of all threads; wakes are their
// voluntary context switches. `plain` prints the milliseconds of each step of an all-reduce of 50M
// floats in place between 2 workers, as other libraries have it: gradients and values are one
// arena, so owners have nothing to do, and a meeting ends a step. Under mpirun, with `plain`, a
// worker on each rank.
#include <sys/resource.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/comm/exchange.h"
#include "common/comm/mpi/mpi_world.h"
#include "common/device/device.h"

namespace mariana {
namespace {

struct Case {
  const char* name;
  Topology topology;
  int workers;
  int64_t floats, bucket_floats, chunk_floats;
};

struct Usage {
  double seconds, cpu_seconds;
  int64_t wakes;
};

Usage Now() {
  rusage u;
  getrusage(RUSAGE_SELF, &u);
  const auto seconds = [](const timeval& t) { return t.tv_sec + 1e-6 * t.tv_usec; };
  return {Clock::Real()->NowSeconds(), seconds(u.ru_utime) + seconds(u.ru_stime), u.ru_nvcsw};
}

void Step(Exchange* e, int buckets) {
  for (int b = buckets; b-- > 0;) e->Collect(b);
  e->FinishCollect();
  e->Commit({});
  for (int b = 0; b < buckets; ++b) e->Distribute(b);
  for (int b = 0; b < buckets; ++b) e->WaitValues(b);
}

// Arenas where the trainers have them.
class Memory {
 public:
  float* Allocate(int64_t floats) {
    blocks_.push_back(static_cast<float*>(device_->Allocate(floats * 4)));
    return blocks_.back();
  }
  ~Memory() {
    for (float* block : blocks_) device_->Free(block);
  }

 private:
  std::unique_ptr<Device> device_ = MakeCpuDevice(0, 1, -1);
  std::vector<float*> blocks_;
};

void Run(Case c, int steps, bool plain, World* world) {
  ExchangeOptions options;
  std::vector<int> here;  // workers of this process
  if (world->size() > 1) {
    c.workers = world->size();
    options.world = world;
    here = {world->rank()};
    for (int r = 0; r < world->size(); ++r) options.rank_of.push_back(r);
  }
  for (int w = 0; world->size() == 1 && w < c.workers; ++w) here.push_back(w);
  options.topology = c.topology;
  options.workers = c.workers;
  options.chunk_elements = c.chunk_floats;
  for (int64_t at = 0; at < c.floats; at += c.bucket_floats) {
    options.buckets.push_back({at, std::min(at + c.bucket_floats, c.floats)});
  }
  Memory memory;
  std::vector<float*> grads, values;
  for (size_t k = 0; k < here.size(); ++k) {
    grads.push_back(memory.Allocate(c.floats));
    values.push_back(plain ? grads[k] : memory.Allocate(c.floats));
    std::fill_n(grads[k], c.floats, 0.0f);
    std::fill_n(values[k], c.floats, 1.0f);
  }
  const auto group = ExchangeGroup::Make(options);
  std::vector<Exchange*> ends;
  for (size_t k = 0; k < here.size(); ++k) {
    ends.push_back(group->Join(here[k], nullptr, grads[k], values[k], nullptr));
  }
  std::vector<Usage> marks;  // the first worker's, before each step and after the last
  std::vector<std::thread> threads;
  for (size_t k = 0; k < here.size(); ++k) {
    threads.emplace_back([&, k] {
      const int warm_up = 2;
      std::vector<float> nothing;
      for (int s = -warm_up; s < steps; ++s) {
        if (k == 0 && s >= 0) marks.push_back(Now());
        Step(ends[k], static_cast<int>(options.buckets.size()));
        if (plain) ends[k]->GatherHost(nullptr, 0, &nothing);
      }
      if (k == 0) marks.push_back(Now());
    });
  }
  for (auto& t : threads) t.join();

  std::vector<double> seconds;
  for (int s = 0; s < steps; ++s) seconds.push_back(marks[s + 1].seconds - marks[s].seconds);
  if (plain) {
    for (double s : seconds) {
      if (world->rank() == 0) std::printf("%.3f\n", s * 1e3);
    }
    return;
  }
  std::sort(seconds.begin(), seconds.end());
  int64_t busiest = 0;
  for (const LinkBytes& l : group->Traffic()) {
    const LinkBytes one = ExpectedTraffic(options, options.buckets, l.from, l.to);
    busiest = std::max(busiest, one.collect + one.distribute);
  }
  const double median = seconds[steps / 2];
  std::printf("%-34s median %8.3f ms  best %8.3f ms  %6.2f GB/s  cpu %8.3f ms  wakes %.0f\n",
              c.name, median * 1e3, seconds[0] * 1e3, busiest / median * 1e-9,
              (marks.back().cpu_seconds - marks[0].cpu_seconds) / steps * 1e3,
              static_cast<double>(marks.back().wakes - marks[0].wakes) / steps);
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) {
  using mariana::Topology;
  const int steps = argc > 1 ? std::max(1, std::atoi(argv[1])) : 15;
  const mariana::Case cases[] = {
      {"50M floats, 2 workers", Topology::kLinear, 2, 50000000, 4194304, 1 << 16},
      {"50M floats, 2 workers, chunks 16k", Topology::kLinear, 2, 50000000, 4194304, 1 << 14},
      {"50M floats, 2 workers, chunks 256k", Topology::kLinear, 2, 50000000, 4194304, 1 << 18},
      {"50M floats, 2 workers, ring", Topology::kRing, 2, 50000000, 4194304, 1 << 16},
      {"50M floats, 4 workers", Topology::kLinear, 4, 50000000, 4194304, 1 << 16},
      {"2.3M floats, 2 workers", Topology::kLinear, 2, 2300000, 460000, 1 << 16},
      {"80 floats, 2 workers", Topology::kLinear, 2, 80, 16, 1 << 16},
  };
  const auto world = mariana::MakeWorld();
  if (argc > 2) {
    mariana::Run(cases[0], steps, true, world.get());
    return 0;
  }
  for (const mariana::Case& c : cases) {
    mariana::Run(c, c.floats > 10000000 ? steps : 20 * steps, false, world.get());
  }
}
