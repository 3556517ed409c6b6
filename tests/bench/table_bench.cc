// table_bench [--big]: keys a second and core that a sparse table reads and updates, in batches of
// random keys, against what memory gives a plain loop over the same rows in the same order with the
// same prefetch: one read, or one read and write, of a row's first 8 bytes. CPU time of one thread,
// medians of interleaved rounds. --big: a linear model of 2^28 rows (2 GB), which no cache holds.
// Prints `table.CASE: R (target 0.5)`, R being ours over memory's.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstring>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/random.h"
#include "mariana_cluster/table/table.h"

namespace mariana {
namespace {

constexpr int64_t kBatch = 1 << 16, kBatches = 16, kRounds = 7;

double CpuSeconds() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

double Median(std::vector<double> v) {
  std::sort(v.begin(), v.end());
  return v[v.size() / 2];
}

// The floor: rows fetched 48 ahead, 8 bytes of each read, or read and written.
template <bool kWrite>
uint64_t Touch(char* const* rows, int64_t n, int lines) {
  uint64_t sum = 0;
  for (int64_t i = 0; i < n; ++i) {
    if (i + 48 < n) {
      for (int l = 0; l < lines; ++l) __builtin_prefetch(rows[i + 48] + l * 64, kWrite ? 1 : 0);
    }
    for (int l = 0; l < lines; ++l) {
      uint64_t x;
      std::memcpy(&x, rows[i] + l * 64, 8);
      sum += x;
      if (kWrite) std::memcpy(rows[i] + l * 64, &x, 8);
    }
  }
  return sum;
}

struct Timer {
  std::vector<double> seconds;
  void Run(const std::function<void()>& f) {
    const double start = CpuSeconds();
    f();
    seconds.push_back(CpuSeconds() - start);
  }
  double rate() const { return kBatch * kBatches / Median(seconds); }
};

void Bench(const char* name, const TableSpec& spec, int64_t distinct_keys) {
  Table table({std::make_shared<TableShard>(TableShard::Create(spec, 0, 1))});
  // Keys drawn evenly from so many; the same rows for the floor.
  std::vector<uint64_t> keys(kBatch * kBatches);
  for (size_t i = 0; i < keys.size(); ++i) {
    const Philox4 p = Philox(1, 1, i);
    const uint64_t id = (uint64_t{p.v[0]} << 32 | p.v[1]) % static_cast<uint64_t>(distinct_keys);
    const Philox4 q = Philox(1, 2, id);
    keys[i] = uint64_t{q.v[0]} << 32 | q.v[1] | 1;
  }
  const auto n = static_cast<int64_t>(keys.size());
  std::vector<char*> rows(keys.size());
  const int64_t width = table.width();
  std::vector<float> values(static_cast<size_t>(kBatch * width), 0.01f);
  // Every row exists and its page is mapped before the clock starts.
  if (spec.form == TableForm::kKeyed) {
    std::vector<uint64_t> all(static_cast<size_t>(distinct_keys));
    for (size_t i = 0; i < all.size(); ++i) {
      const Philox4 q = Philox(1, 2, i);
      all[i] = uint64_t{q.v[0]} << 32 | q.v[1] | 1;
    }
    std::vector<char*> at(all.size());
    table.Locate(all.data(), distinct_keys, Missing::kInsert, at.data());
  }
  table.Locate(keys.data(), n, Missing::kInsert, rows.data());
  const auto batches = [&](const std::function<void(int64_t first)>& f) {
    for (int64_t b = 0; b < kBatches; ++b) f(b * kBatch);
  };
  const int lines = (table.layout().stride + 63) / 64;
  uint64_t sum = 0;
  Timer read_floor, write_floor, locate, gather, apply;
  for (int64_t round = 0; round < kRounds; ++round) {
    read_floor.Run(
        [&] { batches([&](int64_t at) { sum += Touch<false>(&rows[at], kBatch, lines); }); });
    locate.Run([&] {
      batches([&](int64_t at) { table.Locate(&keys[at], kBatch, Missing::kInsert, &rows[at]); });
    });
    gather.Run(
        [&] { batches([&](int64_t at) { table.Gather(&rows[at], kBatch, values.data()); }); });
    write_floor.Run(
        [&] { batches([&](int64_t at) { sum += Touch<true>(&rows[at], kBatch, lines); }); });
    for (float& v : values) v = 0.01f;
    apply.Run([&] { batches([&](int64_t at) { table.Apply(&rows[at], kBatch, values.data()); }); });
  }
  const TableShard::Stats stats = table.shard(0)->stats();
  std::printf(
      "%s: %lld rows of %d bytes, %.2f GB of huge pages; M keys/s: locate %.1f, gather %.1f "
      "(memory %.1f), apply %.1f (memory %.1f)%s\n",
      name, static_cast<long long>(stats.rows), table.layout().stride,
      static_cast<double>(table.shard(0)->huge_bytes()) * 1e-9, locate.rate() * 1e-6,
      gather.rate() * 1e-6, read_floor.rate() * 1e-6, apply.rate() * 1e-6,
      write_floor.rate() * 1e-6, sum == 1 ? " " : "");
  std::printf("table.%s_read: %.2f (target 0.50)\ntable.%s_update: %.2f (target 0.50)\n", name,
              gather.rate() / read_floor.rate(), name, apply.rate() / write_floor.rate());
}

TableSpec Spec(TableForm form, int64_t bits, std::vector<PartSpec> parts) {
  TableSpec spec;
  spec.name = "bench";
  spec.form = form;
  spec.bits = bits;
  spec.max_rows = int64_t{1} << bits;
  spec.parts = std::move(parts);
  return spec;
}

PartSpec Part(const char* name, int64_t width, RowOptimizer type, double init) {
  PartSpec part;
  part.name = name;
  part.width = width;
  part.init = init;
  part.optimizer.type = type;
  return part;
}

int Main(int argc, char** argv) {
  const bool big = argc > 1 && std::string(argv[1]) == "--big";
  const PartSpec linear = Part("linear", 1, RowOptimizer::kFtrl, 0);
  const PartSpec factors = Part("factors", 8, RowOptimizer::kRowwiseAdaGrad, 0.1);
  const PartSpec embedding = Part("embedding", 16, RowOptimizer::kRowwiseAdaGrad, 0.1);
  if (big) {
    Bench("linear_big", Spec(TableForm::kHashed, 28, {linear}), int64_t{1} << 40);
    return 0;
  }
  Bench("linear", Spec(TableForm::kHashed, 25, {linear}), int64_t{1} << 40);
  Bench("fm_keyed", Spec(TableForm::kKeyed, 22, {linear, factors}), int64_t{3} << 20);
  Bench("embedding", Spec(TableForm::kHashed, 21, {embedding}), int64_t{1} << 40);
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) { return mariana::Main(argc, argv); }
