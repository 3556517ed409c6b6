#include "common/data/rows/row_reader.h"

#include <zlib.h>
#include <zstd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "common/data/rows/fit_numbers.h"
#include "tests/common/data/rows/parse_text.h"

namespace mariana {
namespace {

const char kCsv[] = R"(
format: csv
id: row
group: user
fields: [{name: word}]
)";

// `rows` lines of different lengths; the id is the row's number.
std::string CsvText(int first, int rows, const std::string& header = "label,row,user,word\n") {
  std::string text = header;
  for (int r = first; r < first + rows; ++r) {
    text += StrCat(r % 4 == 0, ",", r, ",u", r % 10, ",",
                   std::string(static_cast<size_t>(r % 23), 'w'), "\n");
  }
  return text;
}

std::vector<uint64_t> Ids(int first, int rows) {
  std::vector<uint64_t> ids;
  for (int r = first; r < first + rows; ++r) ids.push_back(HashText(std::to_string(r)));
  return ids;
}

void WriteGzip(const std::string& path, const std::string& text) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
}

std::string Zstd(const std::string& text) {
  std::string packed(ZSTD_compressBound(text.size()), '\0');
  packed.resize(ZSTD_compress(packed.data(), packed.size(), text.data(), text.size(), 1));
  return packed;
}

std::vector<uint64_t> ReadIds(const RowFiles& files, const RowSpec& spec, int shards,
                              RowReader::Options options, std::string* told = nullptr) {
  const RowPlan plan(spec);
  BadRows bad(spec.max_bad_fraction, [&](const std::string& line) {
    if (told != nullptr) *told += line + "\n";
  });
  RowReader reader(Clock::Real(), &plan, &files, files.Shards(shards), options, &bad);
  std::vector<uint64_t> ids;
  RowBatch batch;
  while (reader.Next(&batch)) ids.insert(ids.end(), batch.id.begin(), batch.id.end());
  return ids;
}

TEST_CASE("plain, gzip and zstd files, by name and by glob, give their rows in order") {
  const Scratch scratch;
  const RowSpec spec = SpecOf(kCsv);
  scratch.Write("day1.csv", CsvText(0, 1000));
  WriteGzip(scratch / "day2.csv.gz", CsvText(1000, 500));
  // Two frames, cut in the middle of a line.
  const std::string text = CsvText(1500, 500);
  scratch.Write("day3.csv.zst", Zstd(text.substr(0, 3001)) + Zstd(text.substr(3001)));
  std::string last = CsvText(2000, 10);
  last.pop_back();  // no line break at the end
  scratch.Write("last.csv", last);
  const RowFiles files({scratch / "day*", scratch / "{last,day4}.csv"}, spec);
  REQUIRE(files.size() == 4);
  for (const int threads : {1, 3}) {
    for (const int64_t chunk : {1, 100, 100000}) {
      RowReader::Options options;
      options.parse_threads = threads;
      options.chunk_bytes = chunk;
      CHECK(ReadIds(files, spec, 5, options) == Ids(0, 2010));
    }
  }
}

TEST_CASE("shards share out every line once, however many there are and however it is read") {
  const Scratch scratch;
  const RowSpec spec = SpecOf(kCsv);
  const RowFiles files(
      {scratch.Write("a.csv", CsvText(0, 300)), scratch.Write("b.csv", CsvText(300, 1)),
       scratch.Write("c.csv", CsvText(301, 99))},
      spec);
  for (const int shards : {1, 2, 7, 64, 5000}) {
    const Parsed p = ParseFiles(files, spec, shards, 64, RowPart::kAll, scratch);
    INFO(shards << " shards");
    CHECK(p.batch.id == Ids(0, 400));
    CHECK(p.told == std::vector<std::string>{});
  }
}

TEST_CASE("the order depends on the lanes, not on the threads") {
  const Scratch scratch;
  const RowSpec spec = SpecOf(kCsv);
  const RowFiles files({scratch.Write("a.csv", CsvText(0, 3000))}, spec);
  RowReader::Options options;
  options.chunk_bytes = 500;
  options.lanes = 3;
  const std::vector<uint64_t> one = ReadIds(files, spec, 8, options);
  options.parse_threads = 4;
  CHECK(ReadIds(files, spec, 8, options) == one);
  CHECK(one != Ids(0, 3000));
  std::vector<uint64_t> sorted = one, all = Ids(0, 3000);
  std::sort(sorted.begin(), sorted.end());
  std::sort(all.begin(), all.end());
  CHECK(sorted == all);
}

TEST_CASE("malformed lines keep their numbers in every shard, and too many end the run") {
  const Scratch scratch;
  RowSpec spec = SpecOf(kCsv);
  std::string text = CsvText(0, 100);
  text.insert(text.find(",50,") - 1, "broken\n");
  text += std::string(100, 'x') + "\n";
  spec.line_limit = 64;
  const RowFiles files({scratch.Write("a.csv", text)}, spec);
  for (const int shards : {1, 9}) {
    for (const int64_t chunk : {16, 64, 100000}) {
      const Parsed p = ParseFiles(files, spec, shards, chunk, RowPart::kAll, scratch);
      CHECK(p.batch.id == Ids(0, 100));
      CHECK(p.told ==
            std::vector<std::string>{"a.csv:52: 1 column; expected 4",
                                     "a.csv:103: the line is longer than line_limit (64 bytes)"});
      CHECK(p.rows == 102);
    }
  }
  spec.max_bad_fraction = 0.01;
  const std::string message = BadData([&] { ReadIds(files, spec, 1, {}); });
  CHECK(scratch.Strip(message) ==
        "a.csv:52: 1 column; expected 4; 2 of 102 rows are malformed, more than max_bad_fraction "
        "0.01");
  spec.max_bad_fraction = 0.02;
  CHECK(ReadIds(files, spec, 1, {}).size() == 75 + 25);
}

TEST_CASE("files that cannot be read say why") {
  const Scratch scratch;
  const RowSpec spec = SpecOf(kCsv);
  const auto read = [&](const std::string& path) {
    return scratch.Strip(BadData([&] { ReadIds(RowFiles({path}, spec), spec, 1, {}); }));
  };
  CHECK(read(scratch / "no*.csv") == "no*.csv: no such file");
  CHECK(read(scratch.path()).find("is a folder") != std::string::npos);
  const std::string packed = Zstd(CsvText(0, 1000));
  CHECK(read(scratch.Write("cut.zst", packed.substr(0, packed.size() - 9))) ==
        "cut.zst: broken zstd file: it ends too early");
  std::string flipped = packed;
  flipped[packed.size() / 2] = static_cast<char>(flipped[packed.size() / 2] ^ 0x55);
  CHECK(read(scratch.Write("flip.zst", flipped)) != "");
  WriteGzip(scratch / "cut.gz", CsvText(0, 5000));
  const std::string gz = ReadFile(scratch / "cut.gz");
  CHECK(read(scratch.Write("cut.gz", gz.substr(0, gz.size() / 2))) ==
        "cut.gz: broken gzip file: it ends too early");
  try {
    const RowFiles other({scratch.Write("other.csv", "label,rows,user\n1,2,3\n")}, spec);
    FAIL("the columns are not there");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kUsage);
    CHECK(scratch.Strip(e.message()) ==
          "other.csv: id: column \"row\" is not there; did you mean \"rows\"?\nother.csv: field "
          "\"word\": column \"word\" is not there");
  }
}

TEST_CASE("held-out rows and training rows make up all rows") {
  const Scratch scratch;
  const auto part = [&](const std::string& more, RowPart which, int shards) {
    const RowSpec spec = SpecOf(kCsv + more);
    const RowFiles files(
        {scratch.Write("a.csv", CsvText(0, 600)), scratch.Write("b.csv", CsvText(600, 400))}, spec);
    return ParseFiles(files, spec, shards, 333, which, scratch).batch;
  };
  SECTION("at random, by row") {
    const std::string yaml = "held_out: {kind: random, fraction: 0.2}\n";
    const RowBatch held = part(yaml, RowPart::kHeldOut, 1), train = part(yaml, RowPart::kTrain, 3);
    CHECK(held.rows + train.rows == 1000);
    CHECK(std::abs(held.rows - 200) < 60);
    CHECK(part(yaml, RowPart::kHeldOut, 7).id == held.id);
    CHECK(part("held_out: {kind: random, fraction: 0.2, seed: 2}\n", RowPart::kHeldOut, 1).id !=
          held.id);
    CHECK(part(yaml, RowPart::kAll, 1).id == Ids(0, 1000));
  }
  SECTION("at random, by group: a group is on one side") {
    const std::string yaml = "held_out: {kind: random, fraction: 0.4, by: group}\n";
    const RowBatch held = part(yaml, RowPart::kHeldOut, 1), train = part(yaml, RowPart::kTrain, 1);
    CHECK(held.rows + train.rows == 1000);
    const std::set<uint64_t> groups(held.group.begin(), held.group.end());
    CHECK(groups.size() > 0);
    for (const uint64_t g : train.group) CHECK(groups.count(g) == 0);
  }
  SECTION("the last ones") {
    const std::string yaml = "held_out: {kind: last, fraction: 0.25}\n";
    const RowBatch held = part(yaml, RowPart::kHeldOut, 4), train = part(yaml, RowPart::kTrain, 1);
    std::vector<uint64_t> all = train.id;
    all.insert(all.end(), held.id.begin(), held.id.end());
    CHECK(all == Ids(0, 1000));
    CHECK(std::abs(held.rows - 250) < 10);
  }
  SECTION("after a time") {
    const std::string yaml = "held_out: {kind: after, column: row, after: '900'}\n";
    CHECK(part(yaml, RowPart::kHeldOut, 1).id == Ids(900, 100));
    CHECK(part(yaml, RowPart::kTrain, 1).id == Ids(0, 900));
  }
}

TEST_CASE("rows without a click are thinned out, and the rest stands for them") {
  const Scratch scratch;
  const auto read = [&](const std::string& more, RowPart part) {
    const RowSpec spec = SpecOf(kCsv + more);
    const RowFiles files({scratch.Write("a.csv", CsvText(0, 4000))}, spec);
    return ParseFiles(files, spec, 3, 1000, part, scratch).batch;
  };
  const RowBatch kept = read("negatives: {keep: 0.25}\n", RowPart::kTrain);
  double clicks = 0, weight = 0;
  for (size_t r = 0; r < kept.label.size(); ++r) {
    CHECK(kept.weight[r] == (kept.label[r] > 0 ? 1 : 4));
    clicks += kept.label[r];
    weight += kept.weight[r];
  }
  CHECK(clicks == 1000);
  CHECK(weight == Approx(4000).margin(350));  // 4 standard deviations
  const std::string bias = "negatives: {keep: 0.25, correct: bias}\n";
  CHECK(read(bias, RowPart::kTrain).id == kept.id);
  CHECK(read(bias, RowPart::kTrain).weight == std::vector<float>(kept.weight.size(), 1.0f));
  CHECK(read(bias, RowPart::kAll).rows == 4000);
  CHECK(RowPlan(SpecOf(kCsv + bias)).LogitCorrection() == Approx(std::log(0.25)));
}

TEST_CASE("quantiles, means and deviations are measured on the training data") {
  const Scratch scratch;
  std::string text = "label,a,b,c\n";
  for (int i = 0; i < 1000; ++i) {
    text += StrCat(i % 2, ",", i < 300 ? 0 : i - 299, ",", i % 3, ",", i % 5 == 0 ? "" : "2", "\n");
  }
  RowSpec spec = SpecOf(R"(
format: csv
fields:
  - {name: a, kind: numeric, bucket: true, quantiles: 7}
  - {name: b, kind: numeric, bucket: true, quantiles: 4, standardise: true, log: true}
  - {name: c, kind: numeric, standardise: true, missing: -5}
)");
  const RowFiles files({scratch.Write("a.csv", text)}, spec);
  CHECK(NeedsFit(spec));
  CHECK_THROWS_AS(RowPlan(spec), Error);
  FitNumbers(files, 1000000, &spec);
  CHECK_FALSE(NeedsFit(spec));
  CHECK(spec.fields[0].boundaries == std::vector<double>{0, 1, 101, 201, 301, 401, 501, 601});
  CHECK(spec.fields[1].boundaries == std::vector<double>{1, 2});
  const double mean = (334 * 0 + 333 * std::log(2.0) + 333 * std::log(3.0)) / 1000;
  CHECK(spec.fields[1].mean == Approx(mean));
  CHECK(spec.fields[2].deviation == 1);  // all are 2
  const RowBatch batch = ParseFiles(files, spec, 1, 1 << 16, RowPart::kAll, scratch).batch;
  double sum = 0, squares = 0;
  for (size_t r = 0; r < 1000; ++r) {
    sum += batch.dense[3 * r + 1];
    squares += batch.dense[3 * r + 1] * batch.dense[3 * r + 1];
    CHECK(batch.dense[3 * r + 2] == (r % 5 == 0 ? -5 : 0));
  }
  CHECK(sum / 1000 == Approx(0).margin(1e-5));
  CHECK(squares / 1000 == Approx(1));
  // The measured spec, printed and read back, is the same plan.
  RowSpec again;
  LoadConfigText(PrintConfig([&](Fields* f) { spec.Describe(f); }), "model", "/", {},
                 [&](Fields* f) { again.Describe(f); });
  CHECK(ParseFiles(files, again, 1, 1 << 16, RowPart::kAll, scratch).batch.key == batch.key);
}

}  // namespace
}  // namespace mariana
