// snapshot_bench [--quick] FOLDER: what a snapshot costs training. A table of 2^24 hashed rows of
// 64 bytes (1 GB; --quick: 2^22) is learned on by one worker, in batches of 4096 rows drawn as
// features are (half of them from 1 % of the rows), and a server saves it to FOLDER meanwhile: how
// long the worker stands still at the cut, and how many batches a second it does while the server
// writes, as a share of what it does before. One thread each. Medians over the rounds. Prints
// `cluster.snapshot_pause: MS ms (target 100)`, `cluster.snapshot_throughput: R (target 0.8)`, and
// what was copied.
#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/clock.h"
#include "common/base/random.h"
#include "mariana_cluster/snapshot/snapshot_writer.h"
#include "mariana_cluster/table/table.h"

namespace mariana {
namespace {

constexpr int64_t kBatch = 4096, kBatches = 512;
constexpr int kRounds = 5;

double Now() { return Clock::Real()->NowSeconds(); }

double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// A worker; between two batches it can be held.
class Worker {
 public:
  explicit Worker(std::shared_ptr<TableShard> shard) : table_({shard}) {
    std::vector<uint64_t> keys(kBatch * kBatches);
    RandomSequence random(1, 1);
    for (uint64_t& key : keys) {
      const uint64_t row =
          random.Below(2) == 0 ? random.Below(1 << 12) << 8 : random.Below(1 << 20);
      key = table_.Canonical(row << 44 | random.Below(1 << 20) << 24 | uint64_t{1} << 23);
    }
    keys_ = std::move(keys);
    thread_ = std::thread([this] { Run(); });
  }
  ~Worker() {
    stop_ = true;
    thread_.join();
  }
  int64_t batches() const { return batches_; }
  void Pause() {
    pausing_ = true;
    while (!paused_) std::this_thread::yield();
  }
  void GoOn() { pausing_ = false; }

 private:
  void Run() {
    const int64_t width = table_.width();
    std::vector<char*> rows(kBatch);
    std::vector<float> values(static_cast<size_t>(kBatch * width));
    while (!stop_) {
      paused_ = pausing_.load();
      if (paused_) continue;
      const uint64_t* keys = keys_.data() + batches_ % kBatches * kBatch;
      table_.Locate(keys, kBatch, Missing::kInsert, rows.data());
      table_.Gather(rows.data(), kBatch, values.data());
      for (float& v : values) v = 1e-3f * v + 1e-4f;  // stands for the model
      table_.Apply(rows.data(), kBatch, values.data());
      ++batches_;
    }
  }

  Table table_;
  std::vector<uint64_t> keys_;
  std::atomic<int64_t> batches_{0};
  std::atomic<bool> stop_{false}, pausing_{false}, paused_{false};
  std::thread thread_;
};

TableSpec Spec(int64_t bits) {
  TableSpec spec;
  spec.name = "clicks";
  spec.bits = bits;
  spec.parts.resize(2);
  spec.parts[0].name = "linear";
  spec.parts[1].name = "embedding";
  spec.parts[1].width = 7;
  spec.parts[1].optimizer.type = RowOptimizer::kAdaGrad;
  return spec;
}

void Fill(TableShard* shard) {
  const std::vector<float> values(static_cast<size_t>(shard->layout().width), 0.5f);
  for (int64_t row = 0; row < int64_t{1} << shard->bits(); ++row) {
    shard->Put(static_cast<uint64_t>(row), values.data(), nullptr, 0);
  }
}

int Main(bool quick, const std::string& folder) {
  const auto shard = std::make_shared<TableShard>(TableShard::Create(Spec(quick ? 22 : 24), 0, 1));
  Fill(shard.get());
  std::atomic<bool> saved{false};
  SavedPart part;
  SnapshotWriter writer({shard}, [&](const Message& m) {
    if (m.kind != "saved") return;
    part = SavedPart::FromBody(m.body);
    saved = true;
  });
  Worker worker(shard);
  const auto rate = [&](double begin, int64_t batches) {
    return static_cast<double>(worker.batches() - batches) / (Now() - begin);
  };
  std::vector<double> pauses, shares, seconds, copied;
  for (int round = 0; round < kRounds; ++round) {
    double begin = Now();
    int64_t batches = worker.batches();
    Clock::Real()->SleepFor(1'500'000'000);
    const double before = rate(begin, batches);
    begin = Now();
    worker.Pause();
    writer.Serve({"cut", 0, "", {}});
    worker.GoOn();
    pauses.push_back(1e3 * (Now() - begin));
    WriteCommand command;
    command.folder = folder;
    saved = false;
    begin = Now();
    batches = worker.batches();
    writer.Serve({"write", 0, command.ToBody(), {}});
    while (!saved) Clock::Real()->SleepFor(1'000'000);
    shares.push_back(rate(begin, batches) / before);
    seconds.push_back(Now() - begin);
    copied.push_back(static_cast<double>(part.copied_bytes));
    if (!part.error.empty()) {
      std::fprintf(stderr, "snapshot_bench: %s\n", part.error.c_str());
      return part.error_code;
    }
    writer.Wait();
  }
  std::printf("a table of %.2f GB, saved in %.2f s; copied before they were written: %.1f MB\n",
              static_cast<double>(shard->stats().committed_bytes) / 1e9, Median(seconds),
              Median(copied) / 1e6);
  std::printf("cluster.snapshot_pause: %.2f ms (target 100)\n", Median(pauses));
  std::printf("cluster.snapshot_throughput: %.3f (target 0.8)\n", Median(shares));
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) {
  const bool quick = argc > 1 && std::strcmp(argv[1], "--quick") == 0;
  if (argc != (quick ? 3 : 2)) {
    std::fprintf(stderr, "usage: snapshot_bench [--quick] FOLDER\n");
    return 64;
  }
  std::filesystem::create_directories(argv[argc - 1]);
  return mariana::Main(quick, argv[argc - 1]);
}
