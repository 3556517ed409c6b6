// Tables as processes and threads share them: inserts, growth, admission, eviction, updates,
// deaths, files.
#include "mariana_cluster/table/table.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <map>
#include <memory>
#include <set>
#include <thread>
#include <utility>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "mariana_cluster/table/table_file.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

TableSpec Spec(TableForm form, RowOptimizer optimizer, int64_t width, double init = 0) {
  TableSpec spec;
  spec.name = "clicks";
  spec.form = form;
  spec.bits = 12;
  spec.max_rows = 1 << 20;
  spec.parts.resize(1);
  spec.parts[0].name = "linear";
  spec.parts[0].width = width;
  spec.parts[0].init = init;
  spec.parts[0].optimizer.type = optimizer;
  spec.parts[0].optimizer.learning_rate = 1;
  return spec;
}

Table MakeTable(const TableSpec& spec, int shards = 1) {
  std::vector<std::shared_ptr<TableShard>> all;
  for (int s = 0; s < shards; ++s) {
    all.push_back(std::make_shared<TableShard>(TableShard::Create(spec, s, shards)));
  }
  return Table(std::move(all));
}

std::vector<uint64_t> Keys(int64_t n, uint64_t stream) {
  std::vector<uint64_t> keys;
  for (int64_t i = 0; i < n; ++i) {
    const Philox4 p = Philox(11, stream, static_cast<uint64_t>(i));
    keys.push_back(uint64_t{p.v[0]} << 32 | p.v[1] | 1);
  }
  return keys;
}

std::vector<float> ValuesOf(Table* table, const std::vector<uint64_t>& keys, Missing missing) {
  std::vector<char*> rows(keys.size());
  std::vector<float> values(keys.size() * static_cast<size_t>(table->width()));
  table->Locate(keys.data(), static_cast<int64_t>(keys.size()), missing, rows.data());
  table->Gather(rows.data(), static_cast<int64_t>(keys.size()), values.data());
  return values;
}

void AddTo(Table* table, const std::vector<uint64_t>& keys, float gradient) {
  std::vector<char*> rows(keys.size());
  const std::vector<float> g(keys.size() * static_cast<size_t>(table->width()), gradient);
  table->Locate(keys.data(), static_cast<int64_t>(keys.size()), Missing::kInsert, rows.data());
  table->Apply(rows.data(), static_cast<int64_t>(keys.size()), g.data());
}

std::map<uint64_t, std::vector<char>> Contents(const Table& table) {
  std::map<uint64_t, std::vector<char>> all;
  uint64_t last = 0;
  for (int s = 0; s < table.shards(); ++s) {
    table.shard(s)->ForEach([&](uint64_t key, const char* row) {
      REQUIRE((all.empty() || key > last));  // sorted: so no key twice
      last = key;
      const RowLayout& l = table.layout();
      all[key].assign(row + l.header_bytes, row + l.header_bytes + l.floats * 4);
    });
  }
  return all;
}

template <class F>
pid_t Child(const F& body) {
  const pid_t pid = fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    body();
    _exit(0);
  }
  return pid;
}

int ExitOf(pid_t pid) {
  int status = 0;
  REQUIRE(waitpid(pid, &status, 0) == pid);
  return status;
}

TEST_CASE("a keyed table gives each key its row, keeps rows in place while it grows") {
  const int shards = GENERATE(1, 3);
  Table table = MakeTable(Spec(TableForm::kKeyed, RowOptimizer::kSgd, 2, 0.5), shards);
  const std::vector<uint64_t> few = Keys(100, 1), many = Keys(60000, 2);
  std::vector<char*> before(few.size()), after(few.size());
  const std::vector<float> values = ValuesOf(&table, few, Missing::kInsert);
  table.Locate(few.data(), 100, Missing::kSkip, before.data());
  ValuesOf(&table, many, Missing::kInsert);
  table.Locate(few.data(), 100, Missing::kSkip, after.data());
  CHECK(before == after);
  CHECK(std::set<char*>(after.begin(), after.end()).size() == 100);
  CHECK(ValuesOf(&table, few, Missing::kSkip) == values);
  int64_t rows = 0, bytes = 0;
  for (int s = 0; s < shards; ++s) rows += table.shard(s)->stats().rows;
  for (int s = 0; s < shards; ++s) bytes += table.shard(s)->stats().committed_bytes;
  CHECK(rows == 60100);
  CHECK(Contents(table).size() == 60100);
  CHECK(bytes < shards * 12 << 20);  // of hundreds of megabytes reserved
  const std::vector<uint64_t> others = Keys(100, 3);
  CHECK(ValuesOf(&table, others, Missing::kSkip) == std::vector<float>(200, 0.0f));
}

TEST_CASE("initial values do not depend on shards or on the order of inserts") {
  const auto form = GENERATE(TableForm::kKeyed, TableForm::kHashed);
  Table one = MakeTable(Spec(form, RowOptimizer::kAdaGrad, 8, 0.1), 1);
  Table three = MakeTable(Spec(form, RowOptimizer::kAdaGrad, 8, 0.1), 3);
  std::vector<uint64_t> keys = Keys(500, 1);
  const std::vector<float> values = ValuesOf(&one, keys, Missing::kInsert);
  CHECK(values[0] != 0);
  std::vector<uint64_t> reversed(keys.rbegin(), keys.rend());
  ValuesOf(&three, reversed, Missing::kInsert);
  CHECK(ValuesOf(&three, keys, Missing::kSkip) == values);
}

TEST_CASE("keys of one hashed row share it, and Canonical says which they are") {
  Table table = MakeTable(Spec(TableForm::kHashed, RowOptimizer::kSgd, 1));
  const uint64_t a = 0x123ull << 52 | 5, b = 0x123ull << 52 | 77, c = 0x124ull << 52;
  CHECK(table.Canonical(a) == table.Canonical(b));
  CHECK(table.Canonical(a) != table.Canonical(c));
  AddTo(&table, {a, b}, 1);
  CHECK(ValuesOf(&table, {a, b, c}, Missing::kSkip) == std::vector<float>{-2, -2, 0});
}

TEST_CASE("processes that insert the same keys at once agree on their rows") {
  const TableSpec spec = Spec(TableForm::kKeyed, RowOptimizer::kSgd, 1);
  Table table = MakeTable(spec);
  const std::vector<uint64_t> keys = Keys(40000, 1);
  std::vector<pid_t> children;
  for (int c = 0; c < 3; ++c) {
    children.push_back(Child([&] {
      // Own batches, in an order of its own; a stranger's mapping of the same memory.
      Table mine({std::make_shared<TableShard>(TableShard::Attach(dup(table.shard(0)->fd())))});
      std::vector<uint64_t> order = keys;
      if (c == 1) std::reverse(order.begin(), order.end());
      for (size_t at = 0; at < order.size(); at += 500) {
        AddTo(&mine, {order.begin() + at, order.begin() + at + 500}, 1);
      }
    }));
  }
  for (const pid_t pid : children) CHECK(ExitOf(pid) == 0);
  CHECK(Contents(table).size() == keys.size());
  CHECK(table.shard(0)->stats().rows == static_cast<int64_t>(keys.size()));
  // Every process updated every key; two at one row at one moment may lose one update.
  const std::vector<float> values = ValuesOf(&table, keys, Missing::kSkip);
  CHECK(*std::max_element(values.begin(), values.end()) <= -1);
  CHECK(*std::min_element(values.begin(), values.end()) >= -3);
}

TEST_CASE("a process killed in the middle of inserts leaves a whole table to the others") {
  Table table = MakeTable(Spec(TableForm::kKeyed, RowOptimizer::kSgd, 1));
  const std::vector<uint64_t> keys = Keys(60000, 1);
  for (int round = 0; round < 6; ++round) {
    const size_t begin = static_cast<size_t>(round) * 10000;
    const pid_t victim = Child([&] {
      for (size_t at = begin; at < begin + 10000; at += 100) {
        AddTo(&table, {keys.begin() + at, keys.begin() + at + 100}, 1);
      }
      pause();
    });
    while (table.shard(0)->stats().rows < static_cast<int64_t>(begin) + 1500 * (round + 1)) {
      std::this_thread::yield();
    }
    kill(victim, SIGKILL);
    CHECK(WIFSIGNALED(ExitOf(victim)));
    ValuesOf(&table, {keys.begin() + begin, keys.begin() + begin + 10000}, Missing::kInsert);
  }
  CHECK(Contents(table).size() == keys.size());
}

TEST_CASE(
    "a process killed in the middle of an update leaves every float as before or as after it") {
  const auto form = GENERATE(TableForm::kKeyed, TableForm::kHashed);
  Table table = MakeTable(Spec(form, RowOptimizer::kSgd, 24));
  std::vector<uint64_t> keys;  // of rows of their own in either form
  for (uint64_t i = 0; i < 1000; ++i) keys.push_back((i + 1) << 52 | 1);
  AddTo(&table, keys, 1);
  constexpr int kKills = 5;
  for (int k = 0; k < kKills; ++k) {
    const float before = ValuesOf(&table, keys, Missing::kSkip)[0];
    const pid_t victim = Child([&] {
      for (;;) AddTo(&table, keys, 1);
    });
    while (ValuesOf(&table, keys, Missing::kSkip)[0] > before - 3) std::this_thread::yield();
    kill(victim, SIGKILL);
    CHECK(WIFSIGNALED(ExitOf(victim)));
    AddTo(&table, keys, 1);
  }
  const std::vector<float> values = ValuesOf(&table, keys, Missing::kSkip);
  const auto [least, most] = std::minmax_element(values.begin(), values.end());
  CHECK(*most - *least <= kKills);  // each kill cut one update of all at most
  CHECK(std::all_of(values.begin(), values.end(), [](float v) { return v == std::floor(v); }));
}

TEST_CASE("updates of disjoint keys by many threads all land") {
  const auto form = GENERATE(TableForm::kKeyed, TableForm::kHashed);
  Table table = MakeTable(Spec(form, RowOptimizer::kSgd, 4));
  constexpr int kThreads = 4, kSteps = 50;
  std::vector<std::vector<uint64_t>> keys(kThreads);
  for (uint64_t i = 0; i < 2000; ++i) keys[i % kThreads].push_back((i + 1) << 52 | 1);
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([&, t] {
      Table mine({std::make_shared<TableShard>(TableShard::Attach(dup(table.shard(0)->fd())))});
      for (int step = 0; step < kSteps; ++step) AddTo(&mine, keys[t], 1);
    });
  }
  for (std::thread& t : threads) t.join();
  for (const auto& mine : keys) {
    CHECK(ValuesOf(&table, mine, Missing::kSkip) ==
          std::vector<float>(mine.size() * 4, -static_cast<float>(kSteps)));
  }
}

TEST_CASE("a key gets a row after so many sightings, whatever the number of shards") {
  TableSpec spec = Spec(TableForm::kKeyed, RowOptimizer::kSgd, 1);
  spec.admission = 3;
  const std::vector<uint64_t> keys = Keys(300, 1);
  for (const int shards : {1, 2, 5}) {
    Table table = MakeTable(spec, shards);
    AddTo(&table, keys, 1);
    AddTo(&table, keys, 1);
    CHECK(Contents(table).empty());
    CHECK(ValuesOf(&table, keys, Missing::kSkip) == std::vector<float>(300, 0.0f));
    AddTo(&table, keys, 1);
    CHECK(Contents(table).size() == 300);
    CHECK(ValuesOf(&table, keys, Missing::kSkip) == std::vector<float>(300, -1.0f));
    const std::vector<uint64_t> others = Keys(300, 2);
    const auto admit = [&] {
      for (const uint64_t key : others) {
        table.shard(TableShard::ShardOf(key, shards))->Admit(&key, 1);
      }
    };
    admit();
    admit();
    for (int s = 0; s < shards; ++s) table.shard(s)->DecaySightings();  // 2 -> 1
    admit();
    CHECK(Contents(table).size() == 300);
    admit();
    CHECK(Contents(table).size() == 600);
  }
}

TEST_CASE("eviction forgets old rows only, and their memory serves new keys") {
  Table table = MakeTable(Spec(TableForm::kKeyed, RowOptimizer::kSgd, 1));
  TableShard* shard = table.shard(0);
  const std::vector<uint64_t> old = Keys(20000, 1), young = Keys(20000, 2), later = Keys(15000, 3);
  shard->SetStamp(1);
  AddTo(&table, old, 1);
  shard->SetStamp(2);
  AddTo(&table, young, 2);
  AddTo(&table, {old[0]}, 1);  // seen again
  const int64_t bytes = shard->stats().committed_bytes;
  CHECK(shard->Evict(2) == 19999);
  CHECK(shard->Evict(2) == 0);
  CHECK(shard->stats().rows == 20001);
  CHECK(ValuesOf(&table, young, Missing::kSkip) == std::vector<float>(20000, -2.0f));
  CHECK(ValuesOf(&table, {old[0], old[1]}, Missing::kSkip) == std::vector<float>{-2, 0});
  AddTo(&table, later, 3);
  CHECK(ValuesOf(&table, later, Missing::kSkip) == std::vector<float>(15000, -3.0f));
  CHECK(Contents(table).size() == 35001);
  CHECK(shard->stats().committed_bytes <= bytes + (1 << 20));  // the index may have split
}

TEST_CASE("a full table refuses keys and says so; keys that are no hashes do not break it") {
  TableSpec spec = Spec(TableForm::kKeyed, RowOptimizer::kSgd, 1);
  spec.max_rows = 1000;
  Table small = MakeTable(spec);
  AddTo(&small, Keys(2000, 1), 1);
  CHECK(small.shard(0)->stats().rows + small.shard(0)->stats().refused == 2000);
  CHECK(small.shard(0)->stats().rows >= 1000);

  spec.max_rows = 1 << 20;
  Table table = MakeTable(spec);
  std::vector<uint64_t> ids(20000);
  for (size_t i = 0; i < ids.size(); ++i) ids[i] = i + 1;
  AddTo(&table, ids, 1);
  CHECK(table.shard(0)->stats().refused > 0);
  CHECK(table.shard(0)->stats().rows + table.shard(0)->stats().refused == 20000);
  CHECK(Contents(table).size() == static_cast<size_t>(table.shard(0)->stats().rows));
}

TEST_CASE("tables go through a file exactly, into another number of shards") {
  const ScratchFolder scratch;
  TableSpec keyed = Spec(TableForm::kKeyed, RowOptimizer::kAdam, 3, 0.2);
  keyed.admission = 2;
  TableSpec hashed = Spec(TableForm::kHashed, RowOptimizer::kFtrl, 1);
  hashed.name = "linear";
  Table a = MakeTable(keyed, 2), b = MakeTable(hashed, 3);
  a.shard(0)->SetStamp(9);
  a.shard(1)->SetStamp(9);
  for (int step = 0; step < 3; ++step) {
    AddTo(&a, Keys(3000, 1), 0.1f * static_cast<float>(step + 1));
    AddTo(&b, Keys(500, 2), 0.1f * static_cast<float>(step + 1));
  }
  AddTo(&a, Keys(50, 5), 1);  // seen once
  const auto save = [&](const std::string& name, const std::vector<const Table*>& tables) {
    std::string path = scratch.path() + "/" + name;
    const float dense[2] = {1, 2};
    TablesToWrite what;
    for (const Table* t : tables) {
      const std::vector<TableShard*> shards = t->all_shards();
      what.tables.emplace_back(shards.begin(), shards.end());
    }
    what.model = {HostTensor::F32("bias", {2}, dense)};
    what.model_metadata = {{"job", "test"}};
    for (const WrittenFile& w : WriteTables(what, path, path + ".optimizer")) {
      const std::string written = scratch.path() + "/" + w.name;
      CHECK(w.bytes == static_cast<int64_t>(ReadFile(written).size()));
      CHECK(w.crc32c == Crc32cOfFile(written));
    }
    return path;
  };
  const std::string path = save("a", {&a, &b});
  const SafetensorsFile file(path), state(path + ".optimizer");
  CHECK(file.Read("bias").f32()[1] == 2);
  Table a1 = MakeTable(keyed, 1), b1 = MakeTable(hashed, 1);
  CHECK(ReadTable(file, &state, a1.all_shards()) == 3000);
  CHECK(ReadTable(file, &state, b1.all_shards()) > 400);
  CHECK(Contents(a1) == Contents(a));
  CHECK(Contents(b1) == Contents(b));
  CHECK(a1.shard(0)->stamp() == 9);
  const std::string again = save("again", {&a1, &b1});
  CHECK(ReadFile(again) == ReadFile(path));
  CHECK(ReadFile(again + ".optimizer") == ReadFile(path + ".optimizer"));
  AddTo(&a1, Keys(50, 5), 1);  // seen twice: admitted
  CHECK(Contents(a1).size() == 3050);

  SECTION("a warm start takes the weights alone, whatever the optimizer") {
    TableSpec other = Spec(TableForm::kKeyed, RowOptimizer::kAdaGrad, 3);
    Table warm = MakeTable(other, 3);
    ReadTable(file, nullptr, warm.all_shards());
    CHECK(ValuesOf(&warm, Keys(100, 1), Missing::kSkip) ==
          ValuesOf(&a, Keys(100, 1), Missing::kSkip));
    CHECK_THROWS_WITH(ReadTable(file, &state, warm.all_shards()),
                      Catch::Contains("parts was \"linear:3:adam\""));
  }
  SECTION("what does not fit is refused with its name") {
    hashed.bits = 13;
    Table wide = MakeTable(hashed);
    CHECK_THROWS_WITH(ReadTable(file, nullptr, wide.all_shards()), Catch::Contains("bits was 12"));
    Table narrow = MakeTable(Spec(TableForm::kKeyed, RowOptimizer::kAdam, 4));
    CHECK_THROWS_WITH(ReadTable(file, nullptr, narrow.all_shards()),
                      Catch::Contains("value is f32 [3000, 3]"));
    TableSpec unknown = keyed;
    unknown.name = "unknown";
    Table none = MakeTable(unknown);
    CHECK_THROWS_WITH(ReadTable(file, nullptr, none.all_shards()), Catch::Contains("is not there"));
  }
}

// Samples of up to `most` features; where `repeats`, every other feature is the one before it.
struct SomeSamples {
  std::vector<uint32_t> begin{0};
  std::vector<uint64_t> key;
  std::vector<uint16_t> field;
  std::vector<float> value, label, weight;
  static constexpr uint64_t kBias = 0x9E3779B97F4A7C15;

  SomeSamples(int64_t samples, uint64_t most, bool repeats) {
    RandomSequence random(3, 4);
    const std::vector<uint64_t> keys = Keys(200, 5);
    for (int64_t r = 0; r < samples; ++r) {
      const uint64_t count = random.Below(most + 1);
      for (uint64_t f = 0; f < count; ++f) {
        const bool again = repeats && f % 2 == 1;
        key.push_back(again ? key.back() : keys[(f * 7 + random.Below(5)) % keys.size()]);
        field.push_back(again ? field.back() : static_cast<uint16_t>(f));
        value.push_back(random.Uniform());
      }
      begin.push_back(static_cast<uint32_t>(key.size()));
      label.push_back(random.Below(2) == 0 ? 1.0f : 0.0f);
      weight.push_back(1 + random.Uniform());
    }
  }
  Table::Samples view() const {
    return {begin.data(), key.data(),    field.data(), value.data(),
            label.data(), weight.data(), kBias,        false};
  }
};

// What Learn does, by the table's other methods: a feature at a time.
void LearnSlowly(const SomeSamples& s, Table* table, std::vector<float>* logits) {
  for (size_t r = 0; r + 1 < s.begin.size(); ++r) {
    std::vector<uint64_t> keys(s.key.begin() + s.begin[r], s.key.begin() + s.begin[r + 1]);
    std::vector<float> x(s.value.begin() + s.begin[r], s.value.begin() + s.begin[r + 1]);
    keys.push_back(SomeSamples::kBias);
    x.push_back(1);
    std::vector<float> w(keys.size());
    std::vector<char*> rows(keys.size());
    table->Locate(keys.data(), static_cast<int64_t>(keys.size()), Missing::kInsert, rows.data());
    table->Gather(rows.data(), static_cast<int64_t>(keys.size()), w.data());
    float z = 0;
    for (size_t i = 0; i < keys.size(); ++i) z += w[i] * x[i];
    logits->push_back(z);
    const float g = s.weight[r] * (1 / (1 + std::exp(-z)) - s.label[r]);
    for (size_t i = 0; i < keys.size(); ++i) {
      const float gradient = g * x[i];
      table->Apply(&rows[i], 1, &gradient);
    }
  }
}

TEST_CASE("a linear model learns from one sample after another") {
  const TableForm form = GENERATE(TableForm::kHashed, TableForm::kKeyed);
  const int shards = GENERATE(1, 3);
  const bool repeats = GENERATE(false, true);
  TableSpec spec = Spec(form, RowOptimizer::kFtrl, 1);
  spec.bits = 20;  // no two of the keys share a row
  spec.parts[0].optimizer.learning_rate = 0.3;
  spec.parts[0].optimizer.l1 = 0.05;
  spec.parts[0].optimizer.l2 = 0.1;
  Table quick = MakeTable(spec, shards), slow = MakeTable(spec, shards);
  REQUIRE(quick.LearnsBySample());
  const int64_t samples = 300;
  const SomeSamples s(samples, 21, repeats);
  std::vector<float> logits(samples), expected;
  quick.Learn(s.view(), 0, 100, logits.data());
  quick.Learn(s.view(), 100, samples, logits.data());
  LearnSlowly(s, &slow, &expected);
  for (int64_t r = 0; r < samples; ++r) CHECK(logits[r] == Approx(expected[r]).margin(1e-4));
  std::vector<uint64_t> keys = s.key;
  keys.push_back(SomeSamples::kBias);
  const std::vector<float> a = ValuesOf(&quick, keys, Missing::kSkip);
  const std::vector<float> b = ValuesOf(&slow, keys, Missing::kSkip);
  for (size_t i = 0; i < keys.size(); ++i) CHECK(a[i] == Approx(b[i]).margin(1e-4));
}

TEST_CASE("keys that are not admitted yet take no part in what a linear model learns") {
  TableSpec spec = Spec(TableForm::kKeyed, RowOptimizer::kFtrl, 1);
  spec.admission = 200;
  Table table = MakeTable(spec);
  const SomeSamples s(20, 12, false);
  std::vector<float> logits(20);
  table.Learn(s.view(), 0, 20, logits.data());
  CHECK(logits == std::vector<float>(20, 0.0f));
  CHECK(table.shard(0)->stats().rows == 0);
}

}  // namespace
}  // namespace mariana
