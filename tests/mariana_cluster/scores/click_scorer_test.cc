#include "mariana_cluster/scores/click_scorer.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/config.h"
#include "mariana_cluster/scores/field_importance.h"
#include "mariana_cluster/scores/score_files.h"
#include "mariana_cluster/scores/stored_weights.h"
#include "mariana_cluster/table/table_file.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

constexpr int kBits = 16;
constexpr char kModel[] = R"(
rows:
  format: csv
  label: y
  fields:
    - {name: a}
    - {name: b}
    - {name: x, kind: numeric, value: true, dense: false}
    - {name: z, kind: numeric, bucket: true, dense: false, boundaries: [1, 2]}
  crosses: [{fields: [a, b]}]
click: {terms: [linear], rows: {bits: 16}}
)";

std::unique_ptr<SavedModel> MakeModel(const std::string& yaml = kModel) {
  auto model = std::make_unique<SavedModel>();
  LoadConfigText(yaml, "model", "/", {}, [&](Fields* f) { model->Describe(f); });
  return model;
}

ClickTable LinearTable(const SavedModel& model) {
  return MakeClickTables(model.click, RowPlan(model.rows), 1)[0];
}

uint64_t RowOf(uint64_t key) { return key >> (64 - kBits); }
uint64_t RowOf(const std::string& field, const std::string& text) {
  return RowOf(MakeKey(FieldSeed(field), HashText(text)));
}

// Weights for the bias, a = red, b = 5, x, and z in [1, 2).
std::shared_ptr<TableShard> MakeWeights(const SavedModel& model) {
  auto shard = std::make_shared<TableShard>(TableShard::Create(LinearTable(model).spec, 0, 1));
  const RowPlan plan(model.rows);
  const auto put = [&](uint64_t row, float weight) { shard->Put(row, &weight, nullptr, 0); };
  put(RowOf(BiasKey()), -1);
  put(RowOf("a", "red"), 0.5f);
  put(RowOf("b", "5"), 0.25f);
  put(RowOf(plan.fields()[2].value_key), 2);
  put(RowOf(MakeKey(FieldSeed("z"), HashNumber(1))), 8);
  return shard;
}

std::unique_ptr<ClickScorer> MakeScorer(int64_t max_rows, const std::string& yaml = kModel) {
  auto model = MakeModel(yaml);
  ClickWeights weights;
  weights.shards.push_back({MakeWeights(*model)});
  ClickScorer::Options options;
  options.max_rows = max_rows;
  return std::make_unique<ClickScorer>(std::move(model), std::move(weights), options);
}

std::string SaveModel(const ScratchFolder& folder) {
  auto model = MakeModel();
  const std::shared_ptr<TableShard> shard = MakeWeights(*model);
  std::string path = folder / "model.safetensors";
  TablesToWrite what;
  what.tables = {{shard.get()}};
  what.model_metadata = DescribeModel(model.get());
  WriteTables(what, path, folder / "optimizer.safetensors");
  return path;
}

std::vector<float> LogitsOf(const ClickScorer& scorer, const std::string& path, int threads,
                            RowPart part = RowPart::kAll) {
  const RowFiles files({path}, scorer.rows());
  BadRows bad(1, nullptr);
  ScoreFilesJob job;
  job.scorer = &scorer;
  job.files = &files;
  job.part = part;
  job.bad = &bad;
  job.threads = threads;
  std::vector<float> logits;
  ScoreFiles(job, [&](const ClickBatch& batch) {
    logits.insert(logits.end(), batch.logits.begin(), batch.logits.end());
    return true;
  });
  return logits;
}

constexpr char kRows[] =
    "y,a,b,x,z\n"
    "1,red,5,0.5,1.5\n"
    "0,blue,5,,0\n"
    "oops,red,5,1,1\n"
    "0,red,7,-2,1\n";

}  // namespace

TEST_CASE("A logit is the sum of the weights, from memory, from a file, in another format") {
  const ScratchFolder folder;
  const std::string csv = folder / "rows.csv", libsvm = folder / "rows.svm";
  WriteFileAtomic(csv, kRows);
  WriteFileAtomic(libsvm,
                  "1 a=red:1 b=5:1 x:0.5 z:1.5\n0 a=blue:1 b=5:1 z:0\n0 a=red:1 b=7:1 x:-2 z:1\n");
  const std::vector<float> expected = {-1 + 0.5f + 0.25f + 1 + 8, -1 + 0.25f, -1 + 0.5f - 4 + 8};
  CHECK(LogitsOf(*MakeScorer(100), csv, 1) == expected);
  ClickScorer::Options options;
  const auto scorer = ClickScorer::Open(SaveModel(folder), options);
  CHECK(LogitsOf(*scorer, csv, 1) == expected);
  CHECK(scorer->table_bytes() > 0);
  RowSpec files = scorer->model().rows;
  files.format = RowFormat::kLibsvm;
  options.files = &files;
  CHECK(LogitsOf(*ClickScorer::Open(SaveModel(folder), options), libsvm, 1) == expected);
  CHECK_THROWS_AS(ClickScorer::Open(csv, options), Error);
}

TEST_CASE("Every row has its place in predictions, malformed ones as well") {
  const ScratchFolder folder;
  WriteFileAtomic(folder / "rows.csv", kRows);
  const auto scorer = MakeScorer(2);
  const RowFiles files({folder / "rows.csv"}, scorer->rows());
  BadRows bad(1, nullptr);
  ScoreFilesJob job{scorer.get(), &files, RowPart::kEveryRow, nullptr, &bad, 2};
  std::vector<float> labels;
  ScoreFiles(job, [&](const ClickBatch& batch) {
    CHECK(batch.rows.rows <= 2);
    labels.insert(labels.end(), batch.rows.label.begin(), batch.rows.label.end());
    return true;
  });
  REQUIRE(labels.size() == 4);
  CHECK(std::isnan(labels[2]));
  CHECK(labels[3] == 0);
}

TEST_CASE("Rows come in their order from any number of threads, and no more once enough") {
  const ScratchFolder folder;
  std::string text = "y,a,b,x,z\n";
  for (int i = 0; i < 3000; ++i) text += StrCat("0,red,7,", i, ",9\n");
  WriteFileAtomic(folder / "rows.csv", text);
  const auto scorer = MakeScorer(16);
  const std::vector<float> logits = LogitsOf(*scorer, folder / "rows.csv", 4);
  REQUIRE(logits.size() == 3000);
  for (int i = 0; i < 3000; ++i) REQUIRE(logits[static_cast<size_t>(i)] == -0.5f + 2.0f * i);

  const RowFiles files({folder / "rows.csv"}, scorer->rows());
  BadRows bad(1, nullptr);
  ScoreFilesJob job{scorer.get(), &files, RowPart::kAll, nullptr, &bad, 4};
  int64_t rows = 0;
  ScoreFiles(job, [&](const ClickBatch& batch) { return (rows += batch.rows.rows) < 100; });
  CHECK(rows == 112);
  CHECK_THROWS_AS(
      ScoreFiles(job, [](const ClickBatch&) -> bool { throw Fail(ExitCode::kIo, "full"); }), Error);
}

TEST_CASE("Predictions of a model of thinned negatives are corrected") {
  const ScratchFolder folder;
  WriteFileAtomic(folder / "rows.csv", "y,a,b,x,z\n1,red,7,0,9\n");
  std::string yaml = kModel;
  yaml.insert(yaml.find("click:"), "  negatives: {keep: 0.25, correct: bias}\n");
  const std::vector<float> logits = LogitsOf(*MakeScorer(8, yaml), folder / "rows.csv", 1);
  REQUIRE(logits.size() == 1);
  CHECK(logits[0] == Approx(-0.5 + std::log(0.25)));
}

TEST_CASE("Shuffling a field moves its features alone, in the order of the fields") {
  RowBatch from;
  from.rows = 3;
  from.begin = {0, 3, 4, 6};
  from.field = {0, 1, 2, 0, 1, 1};
  from.key = {10, 11, 12, 20, 31, 32};
  from.value = {1, 2, 3, 4, 5, 6};
  from.dense_columns = 2;
  from.dense = {1, 2, 3, 4, 5, 6};
  RowBatch to;
  ShuffleFields(from, {false, true, false}, {false, true}, {1, 2, 0}, &to);
  CHECK(to.begin == std::vector<uint32_t>{0, 2, 5, 6});
  CHECK(to.key == std::vector<uint64_t>{10, 12, 20, 31, 32, 11});
  CHECK(to.field == std::vector<uint16_t>{0, 2, 0, 1, 1, 1});
  CHECK(to.value == std::vector<float>{1, 3, 4, 5, 6, 2});
  CHECK(to.dense == std::vector<float>{1, 4, 3, 6, 5, 2});
  CHECK(from.begin == std::vector<uint32_t>{0, 3, 4, 6});
}

TEST_CASE("The field that decides is the important one; its crosses go with it") {
  const ScratchFolder folder;
  std::string text = "y,a,b,x,z\n";
  for (int i = 0; i < 400; ++i)
    text += StrCat(i % 3 == 0, ",", "c", i % 7, ",5,", i % 3 == 0, ",9\n");
  WriteFileAtomic(folder / "rows.csv", text);
  const auto scorer = MakeScorer(256);
  const RowFiles files({folder / "rows.csv"}, scorer->rows());
  BadRows bad(1, nullptr);
  const ScoreFilesJob job{scorer.get(), &files, RowPart::kAll, nullptr, &bad, 2};
  int asked = 0;
  const auto fields = MeasureFields(job, 1000, [&](int done, int of) {
    CHECK(of == 4);
    asked = done;
    return true;
  });
  CHECK(asked == 4);
  REQUIRE(fields.size() == 4);
  CHECK(fields[0].field == "x");
  CHECK(fields[0].loss == Approx(0.5).margin(0.1));
  CHECK(fields[1].loss == 0);
  CHECK(MeasureFields(job, 1000, [](int, int) { return false; }).empty());
}

TEST_CASE("A model file's weights are told by feature where the key is known") {
  const ScratchFolder folder;
  const StoredModel file = StoredModel::Open(SaveModel(folder));
  const auto model = ReadSavedModel(file.newest());
  const ClickTable table = LinearTable(*model);
  const auto names = KnownFeatures(RowPlan(model->rows), table);
  CHECK(names.size() == 5);  // bias, x, three buckets
  std::map<std::string, float> weights;
  int64_t rows = 0;
  file.ForEachRow(table.spec.name, table.spec.width(), [&](int64_t key, const float* w) {
    ++rows;
    const auto [first, last] = names.equal_range(key);
    for (auto i = first; i != last; ++i) weights[i->second] = *w;
  });
  CHECK(file.RowsOf(table.spec.name, table.spec.width()) == rows);
  CHECK(weights == std::map<std::string, float>{{"bias", -1}, {"x", 2}, {"z in [1, 2)", 8}});
  const auto parts = SummarizeWeights(file, table);
  REQUIRE(parts.size() == 1);
  CHECK(parts[0].largest == 8);
  CHECK(parts[0].weights - parts[0].zeros == 5);
  CHECK(parts[0].norm == Approx(std::sqrt(1 + 0.25 + 0.0625 + 4 + 64)));
  ClickTable other = table;
  other.spec.parts[0].width = 3;
  CHECK_THROWS_AS(SummarizeWeights(file, other), Error);
}

}  // namespace mariana
