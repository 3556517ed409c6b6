#include "mariana_cluster/scores/click_scores.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/random.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

struct Rows {
  std::vector<float> scores, labels, weights;
  std::vector<uint64_t> groups;
  int64_t size() const { return static_cast<int64_t>(scores.size()); }
};

// Scores are multiples of 1 / levels, so that small `levels` mean ties.
Rows MakeRows(int64_t n, int levels, bool weighted) {
  Rows rows;
  for (int64_t i = 0; i < n; ++i) {
    const Philox4 random = Philox(7, 0, static_cast<uint64_t>(i));
    const uint32_t* r = random.v;
    const double u = r[0] / 4294967296.0;
    const auto x = static_cast<float>(std::round((8 * u - 6) * levels) / levels);
    rows.scores.push_back(x);
    rows.labels.push_back(r[1] / 4294967296.0 < 1 / (1 + std::exp(-x)) ? 1.0f : 0.0f);
    rows.weights.push_back(weighted ? 0.25f * static_cast<float>(r[2] % 9) : 1.0f);
    rows.groups.push_back(r[3] % 13);
  }
  return rows;
}

void AddTo(const Rows& rows, int64_t begin, int64_t end, ClickScores* scores) {
  scores->Add(&rows.scores[begin], &rows.labels[begin], &rows.weights[begin], &rows.groups[begin],
              end - begin);
}

ClickScores::Options WithGroups() {
  ClickScores::Options options;
  options.groups = true;
  return options;
}

// By its definition: the share of pairs that are in order. `group` < 0: of all rows.
double BruteForceArea(const Rows& rows, int64_t group = -1) {
  double in_order = 0, pairs = 0;
  for (size_t i = 0; i < rows.scores.size(); ++i) {
    for (size_t j = 0; j < rows.scores.size(); ++j) {
      if (rows.labels[i] < 0.5f || rows.labels[j] > 0.5f) continue;
      if (group >= 0 && (rows.groups[i] != static_cast<uint64_t>(group) ||
                         rows.groups[j] != static_cast<uint64_t>(group))) {
        continue;
      }
      const double w = static_cast<double>(rows.weights[i]) * rows.weights[j];
      pairs += w;
      if (rows.scores[i] > rows.scores[j]) in_order += w;
      if (rows.scores[i] == rows.scores[j]) in_order += w / 2;
    }
  }
  return in_order / pairs;
}

void CheckSame(const ClickSummary& a, const ClickSummary& b) {
  CHECK(a.rows == b.rows);
  CHECK(a.auc == b.auc);
  CHECK(a.loss == b.loss);
  CHECK(a.gauc == b.gauc);
  CHECK(a.calibration == b.calibration);
  REQUIRE(a.deciles.size() == b.deciles.size());
  for (size_t i = 0; i < a.deciles.size(); ++i) {
    CHECK(a.deciles[i].rows == b.deciles[i].rows);
    CHECK(a.deciles[i].prediction == b.deciles[i].prediction);
  }
}

}  // namespace

TEST_CASE("AUC and log loss are scikit-learn's") {
  nlohmann::json golden;
  std::ifstream("tests/golden/click_scores.json") >> golden;
  for (const auto& c : golden["cases"]) {
    INFO(c["name"].get<std::string>());
    const auto x = c["scores"].get<std::vector<float>>();
    const auto y = c["labels"].get<std::vector<float>>();
    const auto w = c["weights"].get<std::vector<float>>();
    ClickScores scores({});
    scores.Add(x.data(), y.data(), w.data(), nullptr, static_cast<int64_t>(x.size()));
    const ClickSummary s = scores.Summarize();
    CHECK(std::abs(s.auc - c["auc"].get<double>()) < 1e-12);
    CHECK(scores.Auc() == s.auc);
    CHECK(std::abs(s.loss - c["loss"].get<double>()) < 1e-12);
  }
}

TEST_CASE("AUC is the share of pairs in order, also within groups") {
  for (const auto& [levels, weighted] :
       std::map<int, bool>{{1, true}, {2, false}, {100000, true}}) {
    Rows rows = MakeRows(900, levels, weighted);
    for (size_t i = 0; i < rows.scores.size(); ++i) {  // a group with one class
      if (rows.groups[i] == 4) rows.labels[i] = 0;
    }
    rows.scores[0] = 0.0f, rows.scores[1] = -0.0f;  // are equal
    ClickScores scores(WithGroups());
    AddTo(rows, 0, rows.size(), &scores);
    const ClickSummary s = scores.Summarize();
    CHECK(s.auc == Approx(BruteForceArea(rows)).epsilon(1e-12));
    double sum = 0, weights = 0;
    for (int64_t group = 0; group < 13; ++group) {
      double weight = 0;
      for (size_t i = 0; i < rows.scores.size(); ++i) {
        if (rows.groups[i] == static_cast<uint64_t>(group)) weight += rows.weights[i];
      }
      const double area = BruteForceArea(rows, group);
      if (std::isnan(area)) continue;
      sum += weight * area;
      weights += weight;
    }
    CHECK(s.groups == 13);
    CHECK(s.judged_groups == 12);
    CHECK(s.gauc == Approx(sum / weights).epsilon(1e-12));
  }
}

TEST_CASE("Scores are the same bits in any order, in parts, from other processes, on disk") {
  const Rows rows = MakeRows(60000, 3000, true);
  ClickScores whole(WithGroups());
  AddTo(rows, 0, rows.size(), &whole);
  const ClickSummary expected = whole.Summarize();
  CHECK(expected.rows == rows.size());

  ScratchFolder scratch;
  ClickScores::Options options = WithGroups();
  options.memory = 1;  // as little as there can be: runs of 8192 rows
  options.folder = scratch.path();
  ClickScores on_disk(options);
  for (int64_t begin : {40000, 20000, 0}) AddTo(rows, begin, begin + 20000, &on_disk);
  CheckSame(on_disk.Summarize(), expected);
  CheckSame(on_disk.Summarize(), expected);

  ClickScores first(WithGroups()), second(WithGroups());
  AddTo(rows, 30000, rows.size(), &first);
  AddTo(rows, 0, 30000, &second);
  second.Merge(&first);
  CHECK(first.rows() == 0);
  CHECK(first.Take(1 << 20).empty());
  CheckSame(second.Summarize(), expected);

  ClickScores received(WithGroups());
  for (std::string part; !(part = on_disk.Take(4000)).empty();) {
    CHECK(part.size() <= 4000);
    received.Put(part);
  }
  CheckSame(received.Summarize(), expected);
  CHECK_THROWS_AS(received.Put("nonsense"), Error);
}

TEST_CASE("A window starts afresh after Reset") {
  const Rows rows = MakeRows(4000, 100000, false);
  ClickScores window({}), second({});
  AddTo(rows, 0, 2000, &window);
  const double early = window.Auc();
  window.Reset();
  CHECK(std::isnan(window.Auc()));
  AddTo(rows, 2000, 4000, &window);
  AddTo(rows, 2000, 4000, &second);
  CHECK(window.Auc() == second.Auc());
  CHECK(window.Auc() != early);
}

TEST_CASE("Calibration by decile has equal parts, whose means are those of their rows") {
  const Rows rows = MakeRows(5000, 100000, false);
  ClickScores scores({});
  AddTo(rows, 0, rows.size(), &scores);
  const ClickSummary s = scores.Summarize();
  REQUIRE(s.deciles.size() == 10);
  std::vector<std::pair<float, float>> sorted;
  for (size_t i = 0; i < rows.scores.size(); ++i) {
    sorted.emplace_back(rows.scores[i], rows.labels[i]);
  }
  std::sort(sorted.begin(), sorted.end());
  double predicted = 0, clicks = 0;
  size_t at = 0;
  for (const CalibrationBin& bin : s.deciles) {
    CHECK(std::abs(bin.rows - 500) <= 3);  // scores that agree are not parted
    double p = 0, y = 0;
    for (int64_t i = 0; i < bin.rows; ++i, ++at) {
      p += 1 / (1 + std::exp(-static_cast<double>(sorted[at].first)));
      y += sorted[at].second;
    }
    CHECK(bin.prediction == Approx(p / static_cast<double>(bin.rows)).epsilon(1e-12));
    CHECK(bin.click_rate == Approx(y / static_cast<double>(bin.rows)).epsilon(1e-12));
    CHECK(bin.least <= bin.prediction);
    CHECK(bin.prediction <= bin.most);
    predicted += p;
    clicks += y;
  }
  CHECK(at == rows.scores.size());
  CHECK(s.calibration == Approx(predicted / clicks).epsilon(1e-12));
  CHECK(s.prediction == Approx(predicted / 5000).epsilon(1e-12));
}

TEST_CASE("Few different predictions make few deciles") {
  const Rows rows = MakeRows(300, 1, false);
  std::vector<float> same(300, -1.0f);
  ClickScores scores({});
  scores.Add(same.data(), rows.labels.data(), nullptr, nullptr, 300);
  const ClickSummary s = scores.Summarize();
  CHECK(s.deciles.size() == 1);
  CHECK(s.auc == 0.5);
}

TEST_CASE("Normalised entropy of a constant prediction is one at the click rate, else more") {
  std::vector<float> labels(100, 0.0f), scores(100, std::log(0.2f / 0.8f));
  for (int i = 0; i < 20; ++i) labels[i] = 1;
  ClickScores right({}), wrong({});
  right.Add(scores.data(), labels.data(), nullptr, nullptr, 100);
  scores.assign(100, 0.0f);
  wrong.Add(scores.data(), labels.data(), nullptr, nullptr, 100);
  CHECK(right.Summarize().normalised_entropy == Approx(1).epsilon(1e-6));
  CHECK(wrong.Summarize().normalised_entropy > 1.3);
  CHECK(wrong.Summarize().calibration == Approx(2.5));
}

TEST_CASE("What is not defined is NaN, and no metric") {
  const float scores[] = {1, NAN, 2, -1}, good[] = {1, 0, 2, -1}, labels[] = {1, 0, 0, 1};
  const float no_click[] = {0, 0, 0, 0};
  ClickScores with_nan({}), one_class({}), none({});
  with_nan.Add(scores, labels, nullptr, nullptr, 4);
  CHECK(std::isnan(with_nan.Summarize().auc));
  CHECK(std::isnan(with_nan.Summarize().loss));
  one_class.Add(good, no_click, nullptr, nullptr, 4);
  const auto values = one_class.Summarize().Values();
  REQUIRE(values.size() == 1);
  CHECK(values[0].first == "loss");
  CHECK(none.Summarize().Values().empty());
}

TEST_CASE("A squared loss has a mean square and its root") {
  ClickScores::Options options;
  options.squared = true;
  ClickScores scores(options), other(options);
  const float x[] = {1, 2, 4}, y[] = {1, 4, 0}, w[] = {1, 2, 1};
  scores.Add(x, y, w, nullptr, 3);
  other.Merge(&scores);
  CHECK(scores.rows() == 0);
  const ClickSummary s = other.Summarize();
  CHECK(s.rows == 3);
  CHECK(s.loss == 0.5 * (2 * 4 + 16) / 4);
  CHECK(s.rmse == std::sqrt(6.0));
  CHECK(s.prediction == 9.0 / 4);
  CHECK(s.Values().size() == 2);
}

}  // namespace mariana
