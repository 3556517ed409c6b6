#include "common/data/rows/sample_cache.h"

#include <sys/resource.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <csignal>
#include <thread>

#include "common/base/random.h"
#include "tests/common/data/scratch.h"

namespace mariana {
namespace {

enum class Kind { kPlain, kValues, kRepeats };

// Rows that tell who they are by their id.
RowBatch MakeRows(int64_t first, int64_t rows, Kind kind) {
  RowBatch batch;
  batch.begin.push_back(0);
  batch.dense_columns = 2;
  RandomSequence random(7, static_cast<uint64_t>(first));
  for (int64_t r = first; r < first + rows; ++r) {
    batch.label.push_back(static_cast<float>(r % 3));
    batch.weight.push_back(kind == Kind::kValues ? 0.5f : 1.0f);
    batch.id.push_back(static_cast<uint64_t>(r));
    batch.dense.push_back(static_cast<float>(r));
    batch.dense.push_back(-1);
    for (uint16_t f = 0; f < 70; ++f) {
      const auto times = random.Below(kind == Kind::kRepeats ? 3 : 2);
      for (uint64_t i = 0; i < times; ++i) {
        batch.key.push_back(uint64_t{random.Bits()} << 32 | random.Bits());
        batch.field.push_back(f);
        batch.value.push_back(kind == Kind::kPlain || f % 2 == 0 ? 1 : random.Uniform());
      }
    }
    batch.begin.push_back(static_cast<uint32_t>(batch.key.size()));
    ++batch.rows;
  }
  return batch;
}

void CheckEqual(const RowBatch& a, const RowBatch& b) {
  CHECK(a.rows == b.rows);
  CHECK(a.label == b.label);
  CHECK(a.weight == b.weight);
  CHECK(a.begin == b.begin);
  CHECK(a.key == b.key);
  CHECK(a.field == b.field);
  CHECK(a.value == b.value);
  CHECK(a.dense_columns == b.dense_columns);
  CHECK(a.dense == b.dense);
  CHECK(a.group == b.group);
  CHECK(a.id == b.id);
}

SampleCache::Options SmallBlocks(const Scratch& scratch) {
  SampleCache::Options options;
  options.folder = scratch.path();
  options.fields = 70;
  options.block_bits = 4;
  options.window_blocks = 3;
  return options;
}

void Fill(SampleCache* cache, int64_t rows, Kind kind) {
  for (int64_t first = 0; first < rows; first += 37) {
    cache->Add(MakeRows(first, std::min<int64_t>(37, rows - first), kind));
  }
  cache->Seal();
}

RowBatch ReadAll(const SampleCache& cache, int64_t epoch, bool shuffle, int reader = 0,
                 int readers = 1) {
  RowBatch all, batch;
  const auto pass = cache.Read(epoch, shuffle, reader, readers);
  while (pass->Next(10, &batch)) AppendRows(batch, 0, batch.rows, &all);
  return all;
}

std::vector<uint64_t> Sorted(std::vector<uint64_t> v) {
  std::sort(v.begin(), v.end());
  return v;
}

TEST_CASE("a cache gives back what was put in, in memory and from disk") {
  const Scratch scratch;
  const auto kind = GENERATE(Kind::kPlain, Kind::kValues, Kind::kRepeats);
  RowBatch all;
  for (int64_t first = 0; first < 500; first += 37) {
    AppendRows(MakeRows(first, std::min<int64_t>(37, 500 - first), kind), 0,
               std::min<int64_t>(37, 500 - first), &all);
  }
  for (const int64_t limit : {int64_t{1} << 30, int64_t{40000}, int64_t{0}}) {
    SampleCache::Options options = SmallBlocks(scratch);
    options.memory_bytes = limit;
    SampleCache cache(options);
    Fill(&cache, 500, kind);
    CHECK(cache.rows() == 500);
    CHECK(cache.memory_bytes() <= limit);
    CHECK((cache.disk_bytes() > 0) == (limit < 1 << 30));
    CheckEqual(ReadAll(cache, 1, false), all);
    CHECK(Sorted(ReadAll(cache, 1, true).key) == Sorted(all.key));
  }
}

TEST_CASE("shuffling is a permutation that seed and epoch decide, the memory limit does not") {
  const Scratch scratch;
  SampleCache::Options options = SmallBlocks(scratch);
  SampleCache in_memory(options);
  options.memory_bytes = 1000;
  SampleCache on_disk(options);
  options.seed = 2;
  SampleCache other_seed(options);
  for (SampleCache* cache : {&in_memory, &on_disk, &other_seed}) Fill(cache, 1000, Kind::kPlain);
  const RowBatch first = ReadAll(in_memory, 1, true);
  CheckEqual(ReadAll(in_memory, 1, true), first);
  CheckEqual(ReadAll(on_disk, 1, true), first);
  const RowBatch ordered = ReadAll(in_memory, 1, false);
  CHECK(Sorted(first.id) == ordered.id);
  CHECK(first.id != ordered.id);
  CHECK(ReadAll(in_memory, 2, true).id != first.id);
  CHECK(ReadAll(other_seed, 1, true).id != first.id);
  // Rows stay themselves: the dense column repeats the id.
  for (size_t r = 0; r < 1000; ++r) CHECK(first.dense[2 * r] == static_cast<float>(first.id[r]));
}

TEST_CASE("rows end up anywhere in their window with equal chance") {
  const Scratch scratch;
  SampleCache::Options options = SmallBlocks(scratch);
  options.window_blocks = 8;
  SampleCache cache(options);
  Fill(&cache, 128, Kind::kPlain);  // one window
  // Chi-squared over where row 5 goes in 4096 epochs, 16 places of 8 rows: 15 degrees of freedom.
  std::vector<double> seen(16, 0);
  RowBatch batch;
  for (int64_t epoch = 0; epoch < 4096; ++epoch) {
    const auto pass = cache.Read(epoch, true);
    pass->Next(128, &batch);
    const auto at = std::find(batch.id.begin(), batch.id.end(), 5) - batch.id.begin();
    ++seen[static_cast<size_t>(at) / 8];
  }
  double chi = 0;
  for (const double n : seen) chi += (n - 256) * (n - 256) / 256;
  CHECK(chi < 37.7);  // 1 in 1000; the draws are fixed
}

TEST_CASE("several readers share a pass out evenly, each row once") {
  const Scratch scratch;
  SampleCache::Options options = SmallBlocks(scratch);
  options.memory_bytes = 30000;
  SampleCache cache(options);
  Fill(&cache, 1003, Kind::kValues);
  std::vector<RowBatch> parts(3);
  std::vector<std::thread> threads;
  for (int i = 0; i < 3; ++i) {
    threads.emplace_back([&, i] { parts[static_cast<size_t>(i)] = ReadAll(cache, 4, true, i, 3); });
  }
  for (std::thread& t : threads) t.join();
  std::vector<uint64_t> ids;
  for (const RowBatch& p : parts) {
    CHECK(std::abs(p.rows - 334) <= 21);  // one a window
    ids.insert(ids.end(), p.id.begin(), p.id.end());
  }
  CHECK(Sorted(ids) == ReadAll(cache, 4, false).id);
}

TEST_CASE("keys cut to fewer bytes keep their first") {
  const Scratch scratch;
  SampleCache::Options options = SmallBlocks(scratch);
  const auto kind = GENERATE(Kind::kPlain, Kind::kRepeats);
  options.key_bytes = 5;
  SampleCache cache(options);
  RowBatch all = MakeRows(0, 100, kind);
  cache.Add(all);
  cache.Seal();
  for (uint64_t& k : all.key) k &= ~uint64_t{0} << 24;
  CheckEqual(ReadAll(cache, 0, false), all);
}

TEST_CASE("an empty cache gives nothing") {
  SampleCache cache(SampleCache::Options{});
  cache.Seal();
  RowBatch batch;
  CHECK_FALSE(cache.Read(0, true)->Next(10, &batch));
}

TEST_CASE("a full disk is one clear line, and the temporary file leaves no name") {
  const Scratch scratch;
  SampleCache::Options options = SmallBlocks(scratch);
  options.memory_bytes = 0;
  SampleCache cache(options);
  // A limit on file sizes stands for the disk's: writes fail with EFBIG instead of ENOSPC.
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  rlimit old;
  getrlimit(RLIMIT_FSIZE, &old);
  rlimit small = old;
  small.rlim_cur = 100000;
  setrlimit(RLIMIT_FSIZE, &small);
  std::string message;
  ExitCode code = ExitCode::kOk;
  try {
    Fill(&cache, 2000, Kind::kPlain);
  } catch (const Error& e) {
    message = e.message();
    code = e.code();
  }
  setrlimit(RLIMIT_FSIZE, &old);
  std::signal(SIGXFSZ, old_handler);
  CHECK(code == ExitCode::kIo);
  CHECK(message == scratch.path() +
                       ": disk full after 0 MiB of cached samples; give them more "
                       "memory or a folder with more room");
  options.folder = scratch / "nowhere";
  SampleCache nowhere(options);
  CHECK_THROWS_AS(Fill(&nowhere, 100, Kind::kPlain), Error);
}

}  // namespace
}  // namespace mariana
