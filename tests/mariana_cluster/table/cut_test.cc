// Tables read as they were at a cut, while others write on, insert, and are killed.
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "mariana_cluster/table/table.h"
#include "mariana_cluster/table/table_file.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

TableSpec Spec(TableForm form, int64_t width = 3) {
  TableSpec spec;
  spec.name = "t";
  spec.form = form;
  spec.bits = 13;
  spec.max_rows = 1 << 18;
  spec.keep_changes = true;
  spec.parts.resize(1);
  spec.parts[0].name = "weights";
  spec.parts[0].width = width;
  spec.parts[0].optimizer.type = RowOptimizer::kSgd;
  spec.parts[0].optimizer.learning_rate = 1;
  return spec;
}

std::vector<std::shared_ptr<TableShard>> MakeShards(const TableSpec& spec, int count) {
  std::vector<std::shared_ptr<TableShard>> shards;
  for (int s = 0; s < count; ++s) {
    shards.push_back(std::make_shared<TableShard>(TableShard::Create(spec, s, count)));
  }
  return shards;
}

// Other rows for each n, whatever the form of the table.
std::vector<uint64_t> Keys(uint64_t n, uint64_t count, uint64_t apart) {
  std::vector<uint64_t> keys;
  for (uint64_t i = 0; i < count; ++i) keys.push_back((i * apart + n + 1) << 51 | 1);
  return keys;
}

// So many new keys, hashed as those of features are.
std::vector<uint64_t> FreshKeys(uint64_t stream, uint64_t count) {
  std::vector<uint64_t> keys;
  for (uint64_t i = 0; i < count; ++i) {
    const Philox4 p = Philox(3, stream, i);
    keys.push_back(uint64_t{p.v[0]} << 32 | p.v[1] | 1);
  }
  return keys;
}

// Adds 1 to each weight of these rows.
void AddOne(Table* table, const std::vector<uint64_t>& keys) {
  std::vector<char*> rows(keys.size());
  const std::vector<float> g(keys.size() * static_cast<size_t>(table->width()), -1);
  const auto n = static_cast<int64_t>(keys.size());
  table->Locate(keys.data(), n, Missing::kInsert, rows.data());
  table->Apply(rows.data(), n, g.data());
}

using Contents = std::map<uint64_t, std::vector<float>>;
Contents Read(const std::vector<std::shared_ptr<TableShard>>& shards,
              TableShard::Rows which = TableShard::Rows::kAll) {
  Contents all;
  for (const auto& s : shards) {
    s->ForEach(
        [&](uint64_t key, const char* row) {
          std::vector<float> values(static_cast<size_t>(s->layout().width));
          std::vector<float> state(static_cast<size_t>(s->layout().state_floats()));
          ReadRow(s->layout(), row, values.data(), state.data());
          CHECK(all.emplace(key, values).second);
        },
        which);
  }
  return all;
}

void BeginCut(const std::vector<std::shared_ptr<TableShard>>& shards) {
  for (const auto& s : shards) s->BeginCut();
}
void EndCut(const std::vector<std::shared_ptr<TableShard>>& shards) {
  for (const auto& s : shards) s->EndCut(true);
}

// Batches of many threads, and moments between them.
class Batches {
 public:
  void Run(const std::function<void()>& batch) {
    for (;;) {
      while (pausing_) std::this_thread::yield();
      ++inside_;
      if (!pausing_) break;
      --inside_;
    }
    batch();
    --inside_;
  }
  void Pause(const std::function<void()>& meanwhile) {
    pausing_ = true;
    while (inside_ > 0) std::this_thread::yield();
    meanwhile();
    pausing_ = false;
  }

 private:
  std::atomic<bool> pausing_{false};
  std::atomic<int> inside_{0};
};

TEST_CASE("a cut holds whole batches of all writers and nothing of later ones") {
  const auto form = GENERATE(TableForm::kHashed, TableForm::kKeyed);
  constexpr int kShards = 3;
  constexpr uint64_t kWriters = 4, kRows = 300;
  const auto shards = MakeShards(Spec(form), kShards);
  Batches gate;
  std::atomic<int64_t> batches[kWriters] = {};
  std::atomic<bool> stop{false};
  std::vector<std::thread> writers;
  for (uint64_t w = 0; w < kWriters; ++w) {
    writers.emplace_back([&, w] {
      Table table(shards);
      // Neighbours in memory are other writers' rows.
      const std::vector<uint64_t> keys = Keys(w, kRows, kWriters);
      for (uint64_t batch = 0; !stop; ++batch) {
        gate.Run([&] {
          AddOne(&table, keys);
          if (form == TableForm::kKeyed && batch < 400) {
            AddOne(&table, FreshKeys(w << 32 | batch, 20));  // the index grows, and splits
          }
          ++batches[w];
        });
      }
    });
  }
  for (int cut = 0; cut < 12; ++cut) {
    for (const auto& done : batches) {
      while (done < 30 * (cut + 1)) std::this_thread::yield();
    }
    int64_t done[kWriters], rows = 0;
    gate.Pause([&] {
      BeginCut(shards);
      for (uint64_t w = 0; w < kWriters; ++w) done[w] = batches[w];
      for (const auto& s : shards) rows += s->stats().rows;
    });
    for (int again = 0; again < 2; ++again) {
      const Contents all = Read(shards);
      if (form == TableForm::kKeyed) CHECK(all.size() == static_cast<size_t>(rows));
      for (uint64_t w = 0; w < kWriters; ++w) {
        for (const uint64_t key : Keys(w, kRows, kWriters)) {
          const auto found = all.find(form == TableForm::kKeyed ? key : key >> 51);
          REQUIRE(found != all.end());
          REQUIRE(found->second == std::vector<float>(3, static_cast<float>(done[w])));
        }
      }
    }
    EndCut(shards);
  }
  stop = true;
  for (std::thread& t : writers) t.join();
}

TEST_CASE("writers that are killed at any moment neither change nor hold up what a cut holds") {
  const auto form = GENERATE(TableForm::kHashed, TableForm::kKeyed);
  const auto shards = MakeShards(Spec(form), 1);
  Table table(shards);
  for (uint64_t w = 0; w < 4; ++w) AddOne(&table, Keys(w, 1500, 4));
  for (int round = 0; round < 10; ++round) {
    const Contents before = Read(shards);
    BeginCut(shards);
    std::vector<pid_t> writers;
    for (uint64_t w = 0; w < 2; ++w) {
      const pid_t pid = fork();
      REQUIRE(pid >= 0);
      if (pid == 0) {
        Table mine({std::make_shared<TableShard>(TableShard::Attach(dup(shards[0]->fd())))});
        for (uint64_t batch = 0;; ++batch) {
          AddOne(&mine, Keys(w + batch % 2, 1500, 4));  // both write the same rows
          AddOne(&mine, FreshKeys(static_cast<uint64_t>(round) << 32 | batch % 40, 10));
        }
      }
      writers.push_back(pid);
    }
    while (shards[0]->copies().copied_bytes() < (round + 1) * int64_t{5000}) {
      std::this_thread::yield();
    }
    kill(writers[0], SIGKILL);
    CHECK(Read(shards) == before);
    kill(writers[1], SIGKILL);
    for (const pid_t pid : writers) waitpid(pid, nullptr, 0);
    CHECK(Read(shards) == before);
    EndCut(shards);
    CHECK(Read(shards) != before);
  }
}

TEST_CASE("sightings are those of the cut; a row is born only in the table that goes on") {
  TableSpec spec = Spec(TableForm::kKeyed);
  spec.admission = 2;
  const auto shards = MakeShards(spec, 2);
  Table table(shards);
  const std::vector<uint64_t> keys = FreshKeys(1, 100), others = FreshKeys(2, 100);
  AddOne(&table, keys);
  const auto seen = [&] {
    int64_t sum = 0;
    for (const auto& s : shards) {
      s->ForEachSeen([&](int64_t, const char* counters) {
        for (int i = 0; i < 64; ++i) sum += counters[i];
      });
    }
    return sum;
  };
  const int64_t before = seen();
  CHECK(before > 0);
  BeginCut(shards);
  AddOne(&table, keys);
  AddOne(&table, others);
  CHECK(Read(shards).empty());
  CHECK(seen() == before);
  EndCut(shards);
  CHECK(Read(shards).size() == 100);
  CHECK(seen() > before);
}

TEST_CASE("changes are what was written since the cut before, one that failed included") {
  const auto form = GENERATE(TableForm::kHashed, TableForm::kKeyed);
  // A row takes a part of its own.
  const auto shards = MakeShards(Spec(form, form == TableForm::kKeyed ? 61 : 64), 1);
  Table table(shards);
  const auto cut = [&](bool saved) {
    BeginCut(shards);
    const size_t changed = Read(shards, TableShard::Rows::kChanged).size();
    shards[0]->EndCut(saved);
    return changed;
  };
  AddOne(&table, Keys(0, 1000, 2));
  cut(true);
  CHECK(cut(true) == 0);
  AddOne(&table, Keys(0, 10, 2));
  BeginCut(shards);
  AddOne(&table, Keys(20, 30, 2));  // belongs to the next
  CHECK(Read(shards, TableShard::Rows::kChanged).size() == 10);
  EndCut(shards);
  CHECK(cut(false) == 30);
  AddOne(&table, Keys(200, 5, 2));
  CHECK(cut(true) == 5);   // after a failure the next one is whole (snapshots.h) ...
  CHECK(cut(true) == 30);  // ... and the one after it at worst too large
  CHECK(cut(true) == 0);
}

TEST_CASE("a writer that finds no room for copies waits until the cut is let go") {
  constexpr int64_t kBytes = int64_t{160} << 20, kParts = kBytes / CutCopies::kPartBytes;
  const SharedMemory memory =
      SharedMemory::Create("test", kHugePageBytes + kBytes + CutCopies::BytesFor(kBytes));
  memory.Commit(0, kHugePageBytes);
  auto* shared = reinterpret_cast<CutCopies::Shared*>(memory.data());
  char* begin = memory.data() + kHugePageBytes;
  CutCopies copies(&memory, shared, begin, kBytes, kHugePageBytes + kBytes);
  copies.Begin(kBytes);
  std::atomic<int64_t> kept{0};
  std::thread writer([&] {
    for (int64_t part = 0; part < kParts; ++part, ++kept) {
      copies.Keep(begin + part * CutCopies::kPartBytes, 1);
    }
  });
  while (kept < kParts / 2) std::this_thread::yield();
  CHECK(copies.copied_bytes() == kBytes / 2);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));
  CHECK(kept == kParts / 2);
  copies.End(true);
  writer.join();
  CHECK(copies.waited_seconds() > 0);
  // Numbers of cuts come again; what an old one copied does not.
  for (int cut = 0; cut < 600; ++cut) {
    begin[0] = static_cast<char>(cut);
    copies.Begin(4096);
    copies.Keep(begin, 1);
    begin[0] = -1;
    char was[4] = {};
    copies.Read(begin, 4, was);
    REQUIRE(was[0] == static_cast<char>(cut));
    copies.End(true);
  }
}

TEST_CASE("parts of a model that servers write are one model, and changes go on top") {
  const auto form = GENERATE(TableForm::kHashed, TableForm::kKeyed);
  const ScratchFolder scratch;
  TableSpec spec = Spec(form);
  spec.parts[0].optimizer.type = RowOptimizer::kAdam;
  const auto shards = MakeShards(spec, 3);
  Table table(shards);
  const auto save = [&](const std::string& name, TableShard::Rows rows) {
    BeginCut(shards);
    AddOne(&table, FreshKeys(77, 50));  // after the cut
    for (int s = 0; s < 3; ++s) {
      TablesToWrite what;
      what.tables = {{shards[static_cast<size_t>(s)].get()}};
      what.rows = rows;
      what.part = s + 1;
      what.parts = 3;
      WriteTables(what, StrCat(scratch / name, s), StrCat(scratch / name, s, ".o"));
    }
    EndCut(shards);
  };
  const auto load = [&](const std::string& name, std::vector<TableShard*> into) {
    for (int s = 0; s < 3; ++s) {
      const SafetensorsFile model(StrCat(scratch / name, s)),
          state(StrCat(scratch / name, s, ".o"));
      ReadTable(model, &state, into);
    }
  };
  AddOne(&table, FreshKeys(1, 2000));
  save("full", TableShard::Rows::kAll);
  AddOne(&table, FreshKeys(2, 100));
  const Contents now = Read(shards);
  save("delta", TableShard::Rows::kChanged);
  const auto both = MakeShards(spec, 2);
  Table two(both);
  load("full", two.all_shards());
  CHECK(Read(both) != now);
  load("delta", two.all_shards());
  CHECK(Read(both) == now);
  const SafetensorsFile delta(scratch / "delta1");
  CHECK(delta.Find("t.key.2")->shape[0] > 0);
  CHECK(delta.Find("t.key.2")->shape[0] < static_cast<int64_t>(now.size()) / 3);
  // One of two servers takes its own.
  const auto half = MakeShards(spec, 2);
  load("full", {half[1].get()});
  load("delta", {half[1].get()});
  CHECK(half[0]->stats().rows == MakeShards(spec, 2)[0]->stats().rows);
  CHECK(Read({half[1]}) == Read({both[1]}));
}

}  // namespace
}  // namespace mariana
