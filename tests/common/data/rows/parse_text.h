// Text -> rows, for tests: what the reader does, without threads.
#pragma once

#include <string>
#include <vector>

#include "common/config/config.h"
#include "common/data/rows/row_parser.h"
#include "tests/common/data/scratch.h"

namespace mariana {

// The spec that YAML describes.
inline RowSpec SpecOf(const std::string& yaml) {
  RowSpec spec;
  LoadConfigText(yaml, "test.yaml", "/", {}, [&](Fields* f) { spec.Describe(f); });
  return spec;
}

struct Parsed {
  RowBatch batch;
  std::vector<std::string> told;  // malformed lines, without the folder
  int64_t rows = 0, bad = 0;      // lines
};

inline Parsed ParseFiles(const RowFiles& files, const RowSpec& spec, int shards,
                         int64_t chunk_bytes, RowPart part, const Scratch& scratch) {
  Parsed parsed;
  const RowPlan plan(spec);
  BadRows bad(1, [&](const std::string& line) { parsed.told.push_back(scratch.Strip(line)); });
  const auto parser = MakeRowParser(&plan, &files, part, &bad);
  ChunkReader::Options options;
  options.chunk_bytes = chunk_bytes;
  options.line_limit = spec.line_limit;
  options.quoted_breaks = spec.multiline;
  TextChunk chunk;
  for (const RowShard& shard : files.Shards(shards)) {
    ChunkReader reader(&files, shard, options);
    // In parts, as batches are filled; RowReader parses whole chunks.
    constexpr int64_t kPart = 3;
    while (reader.Next(&chunk)) {
      parser->Start(chunk);
      while (parser->Append(parsed.batch.rows + kPart, &parsed.batch)) {
      }
    }
  }
  parsed.rows = bad.rows();
  parsed.bad = bad.bad();
  return parsed;
}

inline Parsed ParseText(const std::string& yaml, const std::string& text,
                        RowPart part = RowPart::kAll) {
  const Scratch scratch;
  const RowSpec spec = SpecOf(yaml);
  const RowFiles files({scratch.Write("rows.txt", text)}, spec);
  return ParseFiles(files, spec, 1, 1 << 18, part, scratch);
}

}  // namespace mariana
