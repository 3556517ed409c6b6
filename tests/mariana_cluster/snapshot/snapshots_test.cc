// Snapshots of tables on several servers, full and of changes, read as one model; and those that
// fail.
#include "mariana_cluster/snapshot/snapshots.h"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <deque>
#include <filesystem>
#include <map>
#include <memory>
#include <mutex>

#include "common/base/random.h"
#include "mariana_cluster/snapshot/stored_model.h"
#include "mariana_cluster/table/table.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

TableSpec Spec(TableForm form) {
  TableSpec spec;
  spec.name = "t";
  spec.form = form;
  spec.bits = 14;
  spec.max_rows = 1 << 16;
  spec.keep_changes = true;
  spec.parts.resize(1);
  spec.parts[0].name = "weights";
  spec.parts[0].width = 4;
  spec.parts[0].optimizer.type = RowOptimizer::kAdaGrad;
  spec.parts[0].optimizer.learning_rate = 1;
  return spec;
}

std::vector<std::shared_ptr<TableShard>> MakeShards(TableForm form, int count) {
  std::vector<std::shared_ptr<TableShard>> shards;
  for (int s = 0; s < count; ++s) {
    shards.push_back(std::make_shared<TableShard>(TableShard::Create(Spec(form), s, count)));
  }
  return shards;
}

using Rows = std::map<int64_t, std::vector<float>>;
Rows RowsOf(const std::vector<std::shared_ptr<TableShard>>& shards) {
  Rows rows;
  for (const auto& s : shards) {
    s->ForEach([&](uint64_t key, const char* row) {
      std::vector<float> value(4), state(4);
      ReadRow(s->layout(), row, value.data(), state.data());
      rows[static_cast<int64_t>(key)] = value;
    });
  }
  return rows;
}

// Servers in this process, and the job control's side of them.
class Job {
 public:
  Job(const std::string& path, TableForm form, int servers, int64_t full_every)
      : run_(path, true), shards_(MakeShards(form, servers)), table_(shards_) {
    for (int s = 0; s < servers; ++s) StartServer(s);
    Snapshots::Options o;
    o.run = &run_;
    o.spec.full_every = full_every;
    o.spec.keep = 1;
    o.servers = servers;
    const float bias[2] = {1, 2};
    o.extras.tensors = {HostTensor::F32("bias", {2}, bias)};
    o.extras.metadata = {{"made", "by a test"}};
    o.ask_all = [this](const Message& m) {
      std::vector<std::string> answers;
      for (auto& w : writers_) {
        CHECK(w->Serve(m));
        answers.push_back(Next("cut").message.body);
      }
      return answers;
    };
    o.send = [this](int server, const Message& m) {
      CHECK(writers_[static_cast<size_t>(server)]->Serve(m));
    };
    o.warn = [this](const std::string& what) { warning_ = what; };
    snapshots_ = std::make_unique<Snapshots>(std::move(o));
  }

  // (Again: one that took the place of a killed one.)
  void StartServer(int s) {
    writers_.resize(shards_.size());
    writers_[static_cast<size_t>(s)] = std::make_unique<SnapshotWriter>(
        std::vector<std::shared_ptr<TableShard>>{shards_[static_cast<size_t>(s)]},
        [this, s](const Message& m) {
          const std::unique_lock<std::mutex> lock(mutex_);
          said_.push_back({s, m});
        });
  }

  void Learn(uint64_t stream, uint64_t count) {
    std::vector<uint64_t> keys;
    for (uint64_t i = 0; i < count; ++i) {
      const Philox4 p = Philox(3, stream, i);
      keys.push_back(table_.Canonical(uint64_t{p.v[0]} << 32 | p.v[1] | 1));
    }
    std::vector<char*> rows(keys.size());
    const std::vector<float> g(keys.size() * 4, -1);
    table_.Locate(keys.data(), static_cast<int64_t>(count), Missing::kInsert, rows.data());
    table_.Apply(rows.data(), static_cast<int64_t>(count), g.data());
  }

  void Cut(int64_t step) {
    TrainState state;
    state.step = step;
    snapshots_->Cut(state, {{"lanes", 3}}, false);
  }
  void Wait() {
    snapshots_->Tick();
    while (snapshots_->running()) {
      const Said said = Next("saved");
      snapshots_->OnSaved(said.server, said.message);
    }
    const std::unique_lock<std::mutex> lock(mutex_);
    said_.clear();  // what "let_go" was answered
  }

  RunDirectory& run() { return run_; }
  Snapshots& snapshots() { return *snapshots_; }
  const std::vector<std::shared_ptr<TableShard>>& shards() const { return shards_; }
  const std::string& warning() const { return warning_; }

  struct Said {
    int server;
    Message message;
  };
  Said Next(const std::string& kind) {
    for (;; Clock::Real()->SleepFor(100'000)) {
      const std::unique_lock<std::mutex> lock(mutex_);
      if (said_.empty()) continue;
      Said said = std::move(said_.front());
      said_.pop_front();
      REQUIRE(said.message.kind == kind);
      return said;
    }
  }

 private:
  RunDirectory run_;
  std::vector<std::shared_ptr<TableShard>> shards_;
  Table table_;
  std::mutex mutex_;
  std::deque<Said> said_;
  std::vector<std::unique_ptr<SnapshotWriter>> writers_;
  std::string warning_;
  std::unique_ptr<Snapshots> snapshots_;
};

Rows RowsIn(const StoredModel& model) {
  Rows rows;
  uint64_t last = 0;
  model.ForEachRow("t", 4, [&](int64_t key, const float* w) {
    CHECK((rows.empty() || static_cast<uint64_t>(key) > last));
    last = static_cast<uint64_t>(key);
    rows[key] = {w, w + 4};
  });
  CHECK(model.RowsOf("t", 4) == static_cast<int64_t>(rows.size()));
  return rows;
}

TEST_CASE("a run is saved while it goes on, and read back by any number of servers") {
  const auto form = GENERATE(TableForm::kHashed, TableForm::kKeyed);
  const int servers = GENERATE(1, 3);
  const int64_t full_every = GENERATE(1, 3);
  const ScratchFolder scratch;
  Job job(scratch / "run", form, servers, full_every);
  for (int64_t step = 1; step <= 5; ++step) {
    job.Learn(1, 2000);
    job.Learn(static_cast<uint64_t>(10 + step), 300);
    const Rows then = RowsOf(job.shards());
    job.Cut(step);
    job.Learn(static_cast<uint64_t>(20 + step), 300);
    job.Wait();
    CHECK_FALSE(job.snapshots().failure());
    std::string line;
    const auto found = FindNewestCheckpoint(job.run(), &line);
    REQUIRE(found);
    CHECK(found->step == step);
    CHECK(found->state["position"]["lanes"] == 3);
    CHECK(found->bases.size() == static_cast<size_t>((step - 1) % full_every));
    CHECK(found->model.size() == static_cast<size_t>(servers));
    CHECK(RowsIn(StoredModel::Open(job.run().path())) == then);
    const auto others = MakeShards(form, 2);
    const StoredModel stored = StoredModel::FromFiles(StoredModel(*found).Files());
    for (const auto& s : others) stored.ReadTable({s.get()}, true);
    CHECK(RowsOf(others) == then);
    // One is kept, and what it is based on.
    CHECK(job.run().CheckpointSteps().size() == 1 + found->bases.size());
    WriteInOneFile(stored, {{"t", 4}}, scratch / "one.safetensors");
    const StoredModel one = StoredModel::Open(scratch / "one.safetensors");
    CHECK(RowsIn(one) == then);
    CHECK(one.newest().Read("bias").f32()[1] == 2);
    CHECK(one.newest().metadata().at("made") == "by a test");
    CHECK((servers == 1 || fs::exists(found->path + "/model.safetensors.index.json")));
  }
}

TEST_CASE("changes of another snapshot than the one they were made of are refused") {
  const ScratchFolder scratch;
  Job job(scratch / "run", TableForm::kKeyed, 1, 5);
  for (int64_t step = 1; step <= 2; ++step) {
    job.Learn(static_cast<uint64_t>(step), 100);
    job.Cut(step);
    job.Wait();
  }
  CHECK(FindCheckpoint(job.run(), 2).bases.size() == 1);
  Job other(scratch / "other", TableForm::kKeyed, 1, 5);
  other.Learn(9, 50);
  other.Cut(1);
  other.Wait();
  fs::remove_all(job.run().checkpoint_path(1));
  CHECK_THROWS_AS(FindCheckpoint(job.run(), 2), Error);
  fs::copy(other.run().checkpoint_path(1), job.run().checkpoint_path(1));
  CHECK_THROWS_WITH(FindCheckpoint(job.run(), 2), Catch::Contains("the changes of another"));
}

TEST_CASE("a snapshot that fails leaves the one before it, and the next one is full") {
  const int servers = GENERATE(1, 2);
  const ScratchFolder scratch;
  Job job(scratch / "run", TableForm::kKeyed, servers, 4);
  job.Learn(1, 3000);
  job.Cut(1);
  job.Wait();
  const Rows first = RowsOf(job.shards());
  job.Learn(2, 3000);
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {0, 300, 20'000}) {
    const rlimit small = {limit, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    job.Cut(2);
    job.Wait();
    setrlimit(RLIMIT_FSIZE, &before);
    REQUIRE(job.snapshots().failure());
    CHECK(job.snapshots().failure()->code() == ExitCode::kIo);
    CHECK_THAT(job.warning(), Catch::Contains("step 2 is not saved: cannot write ") &&
                                  Catch::Contains("the newest that is: step 1"));
    for (const auto& s : job.shards()) CHECK_FALSE(s->cut_held());
    CHECK(RowsIn(StoredModel::Open(job.run().path())) == first);
    CHECK(job.run().CheckpointSteps() == std::vector<int64_t>{1});
  }
  std::signal(SIGXFSZ, old_handler);
  job.Cut(2);
  job.Wait();
  CHECK_FALSE(job.snapshots().failure());
  CHECK(FindCheckpoint(job.run(), 2).bases.empty());
  CHECK(RowsIn(StoredModel::Open(job.run().path())) == RowsOf(job.shards()));
}

TEST_CASE("a server that was killed while it held its rows fails that snapshot alone") {
  const ScratchFolder scratch;
  Job job(scratch / "run", TableForm::kHashed, 2, 1);
  job.Learn(1, 3000);
  job.Cut(1);
  job.StartServer(1);
  job.Wait();
  CHECK_THAT(job.warning(), Catch::Contains("held its rows was killed; nothing is saved"));
  for (const auto& s : job.shards()) CHECK_FALSE(s->cut_held());
  job.Cut(2);
  job.Wait();
  CHECK(RowsIn(StoredModel::Open(job.run().path())) == RowsOf(job.shards()));
}

}  // namespace
}  // namespace mariana
