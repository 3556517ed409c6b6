// request_bench [lr fm deepfm dnn]: how long one ad request takes: 100 candidate rows of Criteo's
// 39 columns, from text to predictions in one thread, against tables of 2^22 rows that hold weights
// everywhere. Prints for each model `request.MODEL: P ms (target 50)`, P being the 99th percentile
// of the clock time of 2000 requests, one after the other; and the median.
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/random.h"
#include "common/config/config.h"
#include "common/data/rows/row_parser.h"
#include "common/device/cpu/cpu_device.h"
#include "common/train/net_values.h"
#include "mariana_cluster/scores/click_scorer.h"

namespace mariana {
namespace {

constexpr int kRequests = 2000, kCandidates = 100, kDistinct = 200;

constexpr char kRows[] = "rows: {format: criteo}\nclick: {rows: {bits: 22}, ";
constexpr char kNet[] =
    "net: {layers: [{type: linear, units: 400, activation: relu}, {type: linear, units: 400, "
    "activation: relu}, {type: linear, units: 400, activation: relu}, {type: linear, units: 1}]}\n";

const std::map<std::string, std::string>& Models() {
  static const std::map<std::string, std::string> models = {
      {"lr", StrCat(kRows, "terms: [linear]}\n")},
      {"fm", StrCat(kRows, "terms: [linear, fm], embedding: {size: 16}}\n")},
      {"deepfm", StrCat(kRows, "terms: [linear, fm, net], embedding: {size: 16}}\n", kNet)},
      {"dnn", StrCat(kRows, "terms: [net], embedding: {size: 16}}\n", kNet)}};
  return models;
}

// Rows of a request share the user's and the page's columns; the ads' differ.
std::string MakeRequest(RandomSequence* random) {
  uint64_t shared[26];
  for (uint64_t& value : shared) value = random->Below(1000000);
  std::string text;
  char number[16];
  for (int r = 0; r < kCandidates; ++r) {
    text += "0";
    for (int c = 0; c < 13; ++c) text += StrCat("\t", random->Below(500));
    for (int c = 0; c < 26; ++c) {
      const uint64_t value = c < 13 ? shared[c] : random->Below(1000000);
      std::snprintf(number, sizeof number, "\t%08x", static_cast<unsigned>(value * 2654435761u));
      text += number;
    }
    text += "\n";
  }
  return text;
}

std::unique_ptr<ClickScorer> MakeScorer(const std::string& yaml) {
  auto model = std::make_unique<SavedModel>();
  LoadConfigText(yaml, "bench", "/", {}, [&](Fields* f) { model->Describe(f); });
  const RowPlan plan(model->rows);
  ClickWeights weights;
  for (const ClickTable& t : MakeClickTables(model->click, plan, 1)) {
    auto shard = std::make_shared<TableShard>(TableShard::Create(t.spec, 0, 1));
    std::vector<float> row(static_cast<size_t>(shard->layout().width), 0.01f);
    for (uint64_t key = 0; key < uint64_t{1} << t.spec.bits; ++key) {
      row[0] = 1e-6f * static_cast<float>(key % 1000);
      shard->Put(key, row.data(), nullptr, 0);
    }
    weights.shards.push_back({shard});
  }
  const auto device = MakeCpuDevice(0, 1, -1);
  ClickModel::Options options;
  options.device = device.get();
  options.max_rows = kCandidates;
  ClickModel start(model->click, model->net, plan, options);
  if (start.net() != nullptr) weights.dense = SaveNetValues(start.net());
  ClickScorer::Options scoring;
  scoring.max_rows = kCandidates;
  return std::make_unique<ClickScorer>(std::move(model), std::move(weights), scoring);
}

void Bench(const std::string& name) {
  const auto scorer = MakeScorer(Models().at(name));
  RandomSequence random(1, 1);
  std::vector<TextChunk> requests(kDistinct);
  for (TextChunk& chunk : requests) {
    chunk.text = MakeRequest(&random);
    chunk.size = chunk.text.size();
    chunk.text.append(kTextPadding, '\0');
    chunk.offset = 1;  // not a file's first line
  }
  const std::string path = StrCat("/tmp/request_bench.", getpid());
  WriteFileAtomic(path, requests[0].text.substr(0, requests[0].size));
  const RowFiles files({path}, scorer->rows());
  unlink(path.c_str());
  BadRows bad(1, nullptr);
  const auto parser = MakeRowParser(&scorer->plan(), &files, RowPart::kAll, &bad);
  const auto lane = scorer->MakeLane();
  ClickBatch batch;
  std::vector<double> milliseconds;
  for (int i = 0; i < kRequests + kDistinct; ++i) {
    const int64_t begin = Clock::Real()->NowNs();
    batch.rows.Clear();
    parser->Parse(requests[static_cast<size_t>(i % kDistinct)], &batch.rows);
    lane->Score(&batch);
    const int64_t end = Clock::Real()->NowNs();
    if (batch.logits.size() != kCandidates) throw Fail(ExitCode::kInternal, "rows are missing");
    if (i >= kDistinct) milliseconds.push_back(static_cast<double>(end - begin) * 1e-6);
  }
  std::sort(milliseconds.begin(), milliseconds.end());
  std::printf("request.%s: %.3f ms (target 50), median %.3f ms\n", name.c_str(),
              milliseconds[milliseconds.size() * 99 / 100], milliseconds[milliseconds.size() / 2]);
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) {
  std::vector<std::string> names(argv + 1, argv + argc);
  if (names.empty()) names = {"lr", "fm", "deepfm", "dnn"};
  for (const std::string& name : names) {
    if (mariana::Models().count(name) == 0) {
      std::fprintf(stderr, "usage: request_bench [lr fm deepfm dnn]\n");
      return 64;
    }
    mariana::Bench(name);
  }
  return 0;
}
