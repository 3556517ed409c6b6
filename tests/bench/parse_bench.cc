// parse_bench FORMAT FILE [SECONDS]: how fast one core turns the text of a file (read into memory
// first) into rows, with all checks and hashing: GB/s and rows/s by CPU time. FORMAT is criteo,
// libsvm, vw, csv (fields I1 to I13 and C1 to C26 as scripts/data/generated_clicks names them),
// libffm (its libffm_index: 39 fields by number), or cache: packing Criteo rows into a SampleCache,
// and reading them back shuffled.
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/rows/row_parser.h"
#include "common/data/rows/sample_cache.h"

namespace mariana {
namespace {

double Cpu() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return t.tv_sec + 1e-9 * t.tv_nsec;
}

// criteo's fields for any format but libffm.
RowSpec SpecOf(const std::string& format) {
  std::string yaml =
      "format: " + format + (format == "libffm" ? "\nfield_count: 39\n" : "\nfields:\n");
  for (const std::string& name : CriteoColumns()) {
    if (format == "libffm") break;
    if (name[0] == 'I') yaml += "  - {name: " + name + ", kind: numeric, log: true, value: true}\n";
    if (name[0] == 'C') yaml += "  - {name: " + name + "}\n";
  }
  RowSpec spec;
  LoadConfigText(yaml, "bench", "/", {}, [&](Fields* f) { spec.Describe(f); });
  return spec;
}

struct Chunks {
  std::vector<TextChunk> all;
  double bytes = 0;
};

Chunks ReadChunks(const RowFiles& files) {
  Chunks chunks;
  ChunkReader reader(&files, files.Shards(1)[0], ChunkReader::Options());
  TextChunk chunk;
  while (reader.Next(&chunk) && chunks.bytes < 512e6) {
    chunks.bytes += static_cast<double>(chunk.size);
    chunks.all.push_back(chunk);
  }
  return chunks;
}

void BenchFormat(const std::string& format, const std::string& path, double seconds) {
  const RowSpec spec = SpecOf(format);
  const RowPlan plan(spec);
  const RowFiles files({path}, spec);
  BadRows bad(
      1, [](const std::string& line) { fprintf(stderr, "%s\n", line.c_str()); }, 3);
  const auto parser = MakeRowParser(&plan, &files, RowPart::kTrain, &bad);
  const Chunks chunks = ReadChunks(files);
  RowBatch batch;
  double best = 0, features = 0, rows = 0;
  for (const double begin = Cpu(); Cpu() - begin < seconds;) {
    const double start = Cpu();
    features = rows = 0;
    for (const TextChunk& chunk : chunks.all) {
      batch.Reuse();
      parser->Parse(chunk, &batch);
      features += static_cast<double>(batch.key.size());
      rows += static_cast<double>(batch.rows);
    }
    best = std::max(best, 1 / (Cpu() - start));
  }
  printf("%-8s %.2f GB/s, %.2f M rows/s, %.1f features a row, %lld malformed\n", format.c_str(),
         chunks.bytes * best * 1e-9, rows * best * 1e-6, features / rows,
         static_cast<long long>(bad.bad()));
}

void BenchCache(const std::string& path, int key_bytes, double seconds) {
  const RowSpec spec = SpecOf("criteo");
  const RowPlan plan(spec);
  const RowFiles files({path}, spec);
  BadRows bad(1, nullptr);
  const auto parser = MakeRowParser(&plan, &files, RowPart::kTrain, &bad);
  SampleCache::Options options;
  options.memory_bytes = int64_t{8} << 30;
  options.fields = static_cast<int>(plan.FieldNames().size());
  options.key_bytes = key_bytes;
  std::vector<RowBatch> batches;
  for (const TextChunk& chunk : ReadChunks(files).all) {
    batches.emplace_back();
    parser->Parse(chunk, &batches.back());
  }
  std::unique_ptr<SampleCache> cache;
  double packing = 0;
  for (const double begin = Cpu(); Cpu() - begin < seconds;) {
    cache = std::make_unique<SampleCache>(options);
    const double start = Cpu();
    for (const RowBatch& b : batches) cache->Add(b);
    cache->Seal();
    packing = std::max(packing, 1 / (Cpu() - start));
  }
  RowBatch batch;
  double best = 0;
  int64_t epoch = 0;
  for (const double begin = Cpu(); Cpu() - begin < seconds; ++epoch) {
    const double start = Cpu();
    const auto reader = cache->Read(epoch, true);
    while (reader->Next(256, &batch)) {
    }
    best = std::max(best, 1 / (Cpu() - start));
  }
  const auto rows = static_cast<double>(cache->rows());
  printf(
      "cache    keys of %d bytes: %.0f bytes a row; packs %.2f M rows/s, reads %.2f M rows/s "
      "shuffled\n",
      key_bytes, static_cast<double>(cache->memory_bytes()) / rows, rows * packing * 1e-6,
      rows * best * 1e-6);
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) {
  if (argc < 3) {
    fprintf(stderr, "usage: parse_bench criteo|csv|libsvm|libffm|vw|cache FILE [SECONDS]\n");
    return 64;
  }
  const std::string what = argv[1];
  const double seconds = argc > 3 ? atof(argv[3]) : 3;
  try {
    if (what == "cache") {
      for (const int bytes : {8, 4, 3}) mariana::BenchCache(argv[2], bytes, seconds);
    } else {
      mariana::BenchFormat(what, argv[2], seconds);
    }
  } catch (const mariana::Error& e) {
    fprintf(stderr, "parse_bench: %s\n", e.message().c_str());
    return static_cast<int>(e.code());
  }
  return 0;
}
