#include "mariana_cluster/feed/click_feed.h"

#include <zlib.h>
#include <zstd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <set>

#include "mariana_cluster/feed/estimate_rows.h"
#include "tests/common/data/rows/parse_text.h"

namespace mariana {
namespace {

const char kCsv[] = R"(
format: csv
id: row
fields: [{name: word}, {name: size, kind: numeric}]
)";
constexpr int kRows = 25000;  // several chunks of text

std::string CsvText(int first, int rows) {
  std::string text = "label,row,word,size\n";
  for (int r = first; r < first + rows; ++r) {
    text += StrCat(r % 4 == 0, ",", r, ",", std::hex, HashText(std::to_string(r)) >> (r % 23),
                   std::dec, ",", r % 100, "\n");
  }
  return text;
}

std::vector<uint64_t> Ids(int first, int rows) {
  std::vector<uint64_t> ids;
  for (int r = first; r < first + rows; ++r) ids.push_back(HashText(std::to_string(r)));
  return ids;
}

std::vector<uint64_t> Sorted(std::vector<uint64_t> ids) {
  std::sort(ids.begin(), ids.end());
  return ids;
}

std::vector<uint64_t> From(const std::vector<uint64_t>& ids, int64_t first) {
  return {ids.begin() + first, ids.end()};
}

void WriteGzip(const std::string& path, const std::string& text) {
  gzFile file = gzopen(path.c_str(), "wb");
  gzwrite(file, text.data(), static_cast<unsigned>(text.size()));
  gzclose(file);
}

// A data set, and feeds of it.
struct Data {
  Scratch scratch;
  RowSpec spec;
  RowPlan plan;
  RowFiles files;
  BadRows bad{0.001, nullptr};

  explicit Data(const std::string& more = "", int rows = kRows)
      : spec(SpecOf(kCsv + more)),
        plan(spec),
        files({scratch.Write("a.csv", CsvText(0, rows / 3)),
               scratch.Write("b.csv", CsvText(rows / 3, rows - rows / 3))},
              spec) {}

  std::unique_ptr<ClickFeed> Feed(const ClickFeed::Options& options, int shards = 7) {
    return std::make_unique<ClickFeed>(Clock::Real(), &plan, &files, files.Shards(shards), nullptr,
                                       options, &bad);
  }
};

ClickFeed::Options Settings(int64_t batch_size, int64_t depth, bool cache) {
  ClickFeed::Options options;
  options.batch_size = batch_size;
  options.queue_depth = depth;
  options.cache = cache;
  return options;
}

// The ids of the epoch's rows; all batches but the last are full.
std::vector<uint64_t> ReadEpoch(ClickFeed* feed, int64_t batch_size, int64_t epoch,
                                int64_t first_batch = 0) {
  std::vector<uint64_t> ids;
  bool full = true;
  feed->StartEpoch(epoch, first_batch);
  for (std::unique_ptr<ClickBatch> batch; feed->Next(&batch);) {
    CHECK(full);
    full = batch->rows.rows == batch_size;
    CHECK(batch->rows.rows <= batch_size);
    CHECK(batch->rows.dense.size() == batch->rows.id.size());
    ids.insert(ids.end(), batch->rows.id.begin(), batch->rows.id.end());
  }
  return ids;
}

TEST_CASE("text comes in the files' order, cut into batches, whatever threads and queues") {
  Data data;
  for (const int64_t depth : {0, 1, 5}) {
    for (const int64_t size : {100, 3000, 100000}) {
      ClickFeed::Options options = Settings(size, depth, false);
      options.parse_threads = depth > 1 ? 3 : 1;
      const auto feed = data.Feed(options);
      INFO("depth " << depth << ", batches of " << size);
      CHECK(feed->rows() == -1);
      CHECK(ReadEpoch(feed.get(), size, 0) == Ids(0, kRows));
      CHECK(feed->rows() == kRows);
      CHECK(ReadEpoch(feed.get(), size, 1) == Ids(0, kRows));
      CHECK(ReadEpoch(feed.get(), size, 1, 2) ==
            (2 * size > kRows ? Ids(0, 0) : From(Ids(0, kRows), 2 * size)));
    }
  }
}

TEST_CASE("a cache gives later epochs every row once, shuffled by seed and epoch") {
  Data data;
  const auto feed = data.Feed(Settings(1000, 2, true));
  CHECK(ReadEpoch(feed.get(), 1000, 0) == Ids(0, kRows));
  const auto one = ReadEpoch(feed.get(), 1000, 1), two = ReadEpoch(feed.get(), 1000, 2);
  CHECK(one != two);
  CHECK(one != Ids(0, kRows));
  CHECK(Sorted(one) == Sorted(Ids(0, kRows)));
  CHECK(Sorted(two) == Sorted(one));
  CHECK(ReadEpoch(feed.get(), 1000, 1) == one);
  CHECK(ReadEpoch(feed.get(), 1000, 0) == Ids(0, kRows));
  CHECK(feed->cache_memory_bytes() > 10 * kRows);
  CHECK(feed->cache_disk_bytes() == 0);
  CHECK(data.bad.rows() == kRows);  // the text was read once
  ClickFeed::Options options = Settings(1000, 2, true);
  options.seed = 2;
  CHECK(ReadEpoch(data.Feed(options).get(), 1000, 1) != one);
}

TEST_CASE("a resumed run gets the rest of what it would have got") {
  Data data;
  const int64_t size = 300;
  for (const int64_t depth : {0, 2}) {
    const auto feed = data.Feed(Settings(size, depth, true));
    std::vector<std::vector<uint64_t>> epochs;
    for (int64_t e = 0; e < 3; ++e) epochs.push_back(ReadEpoch(feed.get(), size, e));
    for (size_t e = 0; e < 3; ++e) {
      for (const int64_t batch : {0, 1, 60, 83}) {
        INFO("epoch " << e << ", batch " << batch);
        const auto resumed = data.Feed(Settings(size, depth, true));
        const auto first = static_cast<int64_t>(e);
        CHECK(ReadEpoch(resumed.get(), size, first, batch) == From(epochs[e], batch * size));
        CHECK(ReadEpoch(resumed.get(), size, 2) == epochs[2]);
      }
    }
    CHECK(ReadEpoch(feed.get(), size, 1, 84).empty());
    CHECK(ReadEpoch(feed.get(), size, 1, 1000).empty());
  }
}

TEST_CASE("an epoch can be left in the middle, and so can a feed") {
  Data data;
  for (const int64_t depth : {0, 1, 3}) {
    const auto feed = data.Feed(Settings(200, depth, true));
    std::unique_ptr<ClickBatch> batch;
    feed->StartEpoch(0);
    for (int i = 0; i < 3; ++i) REQUIRE(feed->Next(&batch));
    // The cache has a part of the rows only, and is filled anew.
    const auto one = ReadEpoch(feed.get(), 200, 1);
    CHECK(one.size() == kRows);
    feed->StartEpoch(2);
    REQUIRE(feed->Next(&batch));
    const std::vector<uint64_t> id = batch->rows.id;
    feed->StartEpoch(2);
    REQUIRE(feed->Next(&batch));
    CHECK(batch->rows.id == id);
    const auto left = data.Feed(Settings(200, depth, true));
    left->StartEpoch(5);  // its text is being read for the cache
  }
}

TEST_CASE("rows from the cache ask the tables for what the same rows from text do") {
  Data data;
  ClickModelSpec spec;
  spec.rows.bits = 18;
  const ClickModel model(spec, NetSpec(), data.plan, ClickModel::Options());
  REQUIRE(KeyBytes(model.tables()) == 3);
  const auto prepared = [&](bool cache, bool twice) {
    ClickFeed feed(Clock::Real(), &data.plan, &data.files, data.files.Shards(1), &model,
                   Settings(1000, 2, cache), &data.bad);
    if (twice) ReadEpoch(&feed, 1000, 0);
    std::vector<TableBatch> all;
    feed.StartEpoch(0);
    for (std::unique_ptr<ClickBatch> batch; feed.Next(&batch);) all.push_back(batch->tables.at(0));
    return all;
  };
  const auto text = prepared(false, false), cached = prepared(true, true);
  REQUIRE(text.size() == kRows / 1000);
  REQUIRE(cached.size() == text.size());
  for (size_t b = 0; b < text.size(); ++b) {
    CHECK(text[b].keys.size() > 900);
    CHECK(text[b].keys == cached[b].keys);
    CHECK(text[b].index == cached[b].index);
  }
}

TEST_CASE("batches that are given back are used again") {
  Data data;
  const auto feed = data.Feed(Settings(50, 3, true));
  std::set<const ClickBatch*> seen;
  for (int64_t epoch = 0; epoch < 3; ++epoch) {
    feed->StartEpoch(epoch);
    for (std::unique_ptr<ClickBatch> batch; feed->Next(&batch);) seen.insert(batch.get());
  }
  CHECK(seen.size() <= 3 + 3 + 3);  // two queues, and one in each hand
  CHECK(feed->rows() == kRows);
}

TEST_CASE("rows of one part come, and the stages' times are told") {
  Data data("held_out: {kind: last, fraction: 0.2}\n");
  ClickFeed::Options held = Settings(512, 2, false), train = Settings(512, 0, true);
  held.part = RowPart::kHeldOut;
  const auto valid = ReadEpoch(data.Feed(held).get(), 512, 0);
  const auto feed = data.Feed(train);
  auto all = ReadEpoch(feed.get(), 512, 0);
  CHECK(valid.size() > kRows / 6);
  all.insert(all.end(), valid.begin(), valid.end());
  CHECK(all == Ids(0, kRows));
  ReadEpoch(feed.get(), 512, 1);
  std::set<std::string> stages;
  for (const StageSeconds& s : feed->Seconds()) {
    stages.insert(s.name);
    CHECK(s.busy > 0);
    CHECK(s.threads == 1);
  }
  CHECK(stages == std::set<std::string>{"read", "parse", "cache", "consume"});
  CHECK(LimitingStage(feed->Seconds()) != "");
}

TEST_CASE("what goes wrong in a stage comes out of Next") {
  Data data;
  WriteGzip(data.scratch / "cut.csv.gz", CsvText(0, kRows));
  const std::string gz = ReadFile(data.scratch / "cut.csv.gz");
  const RowFiles files({data.scratch.Write("cut.csv.gz", gz.substr(0, gz.size() / 2))}, data.spec);
  for (const int64_t depth : {0, 2}) {
    ClickFeed feed(Clock::Real(), &data.plan, &files, files.Shards(2), nullptr,
                   Settings(100, depth, true), &data.bad);
    for (const int64_t epoch : {0, 1}) {
      CHECK(data.scratch.Strip(BadData([&] { ReadEpoch(&feed, 100, epoch); })) ==
            "cut.csv.gz: broken gzip file: it ends too early");
    }
  }
  const RowFiles bad({data.scratch.Write("bad.csv", "label,row,word,size\n1,2\n")}, data.spec);
  for (const int64_t depth : {0, 2}) {
    BadRows rows(0, nullptr);
    ClickFeed feed(Clock::Real(), &data.plan, &bad, bad.Shards(1), nullptr,
                   Settings(100, depth, false), &rows);
    CHECK(BadData([&] { ReadEpoch(&feed, 100, 0); }).find("1 of 1 rows are malformed") !=
          std::string::npos);
  }
}

TEST_CASE("rows are estimated from a part of the text") {
  Data data("held_out: {kind: random, fraction: 0.25}\n", 100000);
  const auto estimate = [&](const RowFiles& files, RowPart part) {
    return static_cast<double>(EstimateRows(data.plan, files, files.Shards(9), part));
  };
  const double train = estimate(data.files, RowPart::kTrain);
  CHECK(train == Approx(75000).epsilon(0.02));
  CHECK(estimate(data.files, RowPart::kTrain) == train);
  CHECK(estimate(data.files, RowPart::kHeldOut) == Approx(25000).epsilon(0.05));
  CHECK(estimate(data.files, RowPart::kAll) == Approx(100000).epsilon(0.01));
  // As many shards as there are places, and a short end.
  Data last("held_out: {kind: last, fraction: 0.02}\n", 100000);
  for (const int count : {64, 256}) {
    CHECK(EstimateRows(last.plan, last.files, last.files.Shards(count), RowPart::kAll) ==
          Approx(100000).epsilon(0.02));
    CHECK(EstimateRows(last.plan, last.files, last.files.Shards(count), RowPart::kHeldOut) ==
          Approx(2000).epsilon(0.25));
  }
  double shards = 0;
  for (const RowShard& shard : data.files.Shards(9)) {
    shards += static_cast<double>(EstimateRows(data.plan, data.files, {shard}, RowPart::kAll));
  }
  CHECK(shards == 100000);  // each is read in full
  WriteGzip(data.scratch / "c.csv.gz", CsvText(0, 100000));
  const std::string text = CsvText(0, 100000);
  std::string zstd(ZSTD_compressBound(text.size()), '\0');
  zstd.resize(ZSTD_compress(zstd.data(), zstd.size(), text.data(), text.size(), 3));
  data.scratch.Write("d.csv.zst", zstd);
  const RowFiles packed({data.scratch / "[cd].csv.*"}, data.spec);
  CHECK(estimate(packed, RowPart::kAll) == Approx(200000).epsilon(0.05));
  WriteGzip(data.scratch / "e.csv.gz", CsvText(0, 100));
  CHECK(estimate(RowFiles({data.scratch / "e.csv.gz"}, data.spec), RowPart::kAll) == 100);
  RowSpec named = data.spec;
  named.columns = {"label", "row", "word", "size"};
  CHECK(estimate(RowFiles({"-"}, named), RowPart::kAll) == -1);
}

TEST_CASE("a cache keeps as much of a key as the tables look at") {
  ClickTable hashed, keyed;
  hashed.spec.bits = 22;
  CHECK(KeyBytes({hashed}) == 3);
  hashed.spec.bits = 24;
  CHECK(KeyBytes({hashed}) == 3);
  hashed.spec.bits = 25;
  CHECK(KeyBytes({hashed}) == 4);
  keyed.spec.form = TableForm::kKeyed;
  CHECK(KeyBytes({hashed, keyed}) == 8);
}

}  // namespace
}  // namespace mariana
