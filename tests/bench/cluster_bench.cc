// cluster_bench [--seconds 4] [--workers 2] [--rows 256]: keys a second and core that a parameter
// server answers to emulated workers of other nodes, pulls and pushes counted alike, over ZeroMQ
// and TCP on loopback. Workers are processes of their own; what counts is the CPU time of the
// server's process: its service thread, ZeroMQ's thread, and the kernel's part of both. Batches
// have the columns of Criteo's logs (as many values as those have, Zipf's law in each) in 2^22
// rows; a list of keys is forgotten before it comes again, so lists travel with every pull.
// Prints `cluster.keys...: R (target 10M)`.
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <unordered_set>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/random.h"
#include "mariana_cluster/net/remote_shards.h"
#include "mariana_cluster/net/shard_service.h"

namespace mariana {
namespace {

constexpr int64_t kBits = 22;
// Distinct values of the columns C1 to C26 of the Kaggle Display Advertising data.
constexpr double kValues[] = {1460,  583,  10131227, 2202608, 305, 24,     12517,   633,   3,
                              93145, 5683, 8351593,  3194,    27,  14992,  5461306, 10,    5652,
                              2173,  4,    7046547,  18,      15,  286181, 105,     142572};
constexpr int kFields = sizeof(kValues) / sizeof(kValues[0]);

struct Settings {
  double seconds = 4;
  int workers = 2;
  int64_t rows = 256;
};

struct Case {
  const char* name;
  TableForm form;
  std::vector<PartSpec> parts;
};

double CpuSeconds() {
  rusage use;
  getrusage(RUSAGE_SELF, &use);
  const auto seconds = [](const timeval& t) {
    return static_cast<double>(t.tv_sec) + 1e-6 * static_cast<double>(t.tv_usec);
  };
  return seconds(use.ru_utime) + seconds(use.ru_stime);
}

NodeMap Map(int workers, const std::string& endpoint) {
  NodeMap map;  // the server is node 1, the workers are node 0
  map.nodes = 2;
  map.workers = workers;
  map.endpoints = {"tcp://127.0.0.1:1", endpoint};  // nobody asks the first
  return map;
}

// The distinct keys of a batch that live on shard 1, in the order of first appearance.
void BatchKeys(const Settings& settings, const TableShard& shard, RandomSequence* random,
               std::vector<uint64_t>* keys) {
  keys->clear();
  std::unordered_set<uint64_t> seen;
  for (int64_t r = 0; r < settings.rows; ++r) {
    for (int f = 0; f < kFields; ++f) {
      const auto id =
          static_cast<uint64_t>(std::pow(kValues[f] + 1, static_cast<double>(random->Uniform())));
      const Philox4 p = Philox(1, static_cast<uint64_t>(f), id);
      const uint64_t key = shard.Canonical(uint64_t{p.v[0]} << 32 | p.v[1]);
      if (TableShard::ShardOf(key, 2) == 1 && seen.insert(key).second) keys->push_back(key);
    }
  }
}

[[noreturn]] void Work(const Settings& settings, const TableShard& shard, int worker,
                       const std::string& endpoint) {
  const NodeMap map = Map(settings.workers, endpoint);
  RemoteShards::Options options;
  options.worker = worker;
  const auto width = static_cast<size_t>(shard.layout().width);
  RemoteShards remote(map, options, {{shard.layout().width, KeyBytesOf(shard)}});
  RandomSequence random(7, static_cast<uint64_t>(worker));
  // Drawn before: the workers are there to ask, not to think.
  std::vector<std::vector<uint64_t>> batches(500);
  for (auto& keys : batches) BatchKeys(settings, shard, &random, &keys);
  std::vector<float> values(static_cast<size_t>(settings.rows * kFields) * width);
  std::vector<float> gradients(values.size(), 0.001f);
  const auto request = [&](size_t b) {
    const auto& keys = batches[b % batches.size()];
    return remote.Request(0, keys.data(), static_cast<int64_t>(keys.size()), Missing::kInsert);
  };
  auto next = request(0);
  for (size_t b = 1;; ++b) {
    auto now = std::move(next);
    next = request(b);
    remote.Await(now.get(), values.data());
    remote.Push(std::move(now), gradients.data(), 1);
  }
}

void Bench(const Settings& settings, const Case& c) {
  TableSpec spec;
  spec.name = c.name;
  spec.form = c.form;
  spec.bits = kBits;
  spec.max_rows = int64_t{1} << kBits;
  spec.parts = c.parts;
  auto shard = std::make_shared<TableShard>(TableShard::Create(spec, 1, 2));
  int pipes[2];
  if (pipe(pipes) != 0) abort();
  std::vector<pid_t> children;
  for (int w = 0; w < settings.workers; ++w) {
    const pid_t child = fork();
    if (child == 0) {
      char endpoint[64] = {};
      if (read(pipes[0], endpoint, sizeof(endpoint)) <= 0) _exit(1);
      Work(settings, *shard, w, endpoint);
    }
    children.push_back(child);
  }
  PushLedger ledger = PushLedger::Create();
  ShardService::Options options;
  options.address = "127.0.0.1";
  options.desk.shard = 1;
  // Smaller than the workers' batches together: no list is ever known from before.
  options.desk.list_bytes = int64_t{16} << 20;
  options.failed = [](const Error& e) {
    std::fprintf(stderr, "%s\n", e.what());
    abort();
  };
  ShardService service(options);
  service.Start({shard}, &ledger, nullptr);
  char endpoint[64] = {};
  std::snprintf(endpoint, sizeof(endpoint), "%s", service.endpoint().c_str());
  for (int w = 0; w < settings.workers; ++w) {
    if (write(pipes[1], endpoint, sizeof(endpoint)) != sizeof(endpoint)) abort();
  }
  while (service.counters().pushes < int64_t{100} * settings.workers)
    Clock::Real()->SleepFor(10'000'000);
  const ShardDesk::Counters before = service.counters();
  const double cpu = CpuSeconds(), wall = Clock::Real()->NowSeconds();
  Clock::Real()->SleepFor(static_cast<int64_t>(settings.seconds * 1e9));
  const ShardDesk::Counters after = service.counters();
  const double cpu_used = CpuSeconds() - cpu, wall_used = Clock::Real()->NowSeconds() - wall;
  for (const pid_t child : children) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }
  const auto keys = static_cast<double>(after.keys_pulled + after.keys_pushed - before.keys_pulled -
                                        before.keys_pushed);
  const auto bytes =
      static_cast<double>(after.bytes_in + after.bytes_out - before.bytes_in - before.bytes_out);
  const auto frames = static_cast<double>(after.frames - before.frames);
  std::printf(
      "cluster.keys_%s: %.1fM (target 10M)  keys a second of CPU time; rows of %d weights, %.1f "
      "bytes a key, %.0f keys a frame, %.2f GB/s, %.2f cores\n",
      c.name, keys / cpu_used * 1e-6, shard->layout().width, bytes / keys, keys / frames,
      bytes / wall_used * 1e-9, cpu_used / wall_used);
  std::fflush(stdout);
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) {
  using namespace mariana;
  Settings settings;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::strcmp(argv[i], "--seconds") == 0) settings.seconds = std::atof(argv[i + 1]);
    if (std::strcmp(argv[i], "--workers") == 0) settings.workers = std::atoi(argv[i + 1]);
    if (std::strcmp(argv[i], "--rows") == 0) settings.rows = std::atoll(argv[i + 1]);
  }
  RowOptimizerSpec ftrl, adagrad;
  adagrad.type = RowOptimizer::kAdaGrad;
  adagrad.initial_sum = 5;
  const Case cases[] = {
      {"linear", TableForm::kHashed, {{"linear", 1, ftrl, 0}}},
      {"keyed", TableForm::kKeyed, {{"linear", 1, ftrl, 0}}},
      {"deepfm", TableForm::kHashed, {{"linear", 1, ftrl, 0}, {"embedding", 16, adagrad, 0.01}}},
  };
  for (const Case& c : cases) Bench(settings, c);
  return 0;
}
