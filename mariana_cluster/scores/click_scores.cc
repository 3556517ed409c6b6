#include "mariana_cluster/scores/click_scores.h"

#include <cmath>
#include <cstring>
#include <limits>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
constexpr int kBins = 10;

// A record, in ascending order of the score: score as a sortable number, label, weight.
uint64_t MakeRecord(float score, bool click, float weight) {
  // One NaN, the largest; -0 and 0 are one score.
  score = std::isnan(score) ? std::numeric_limits<float>::quiet_NaN() : score + 0.0f;
  uint32_t bits, mass;
  std::memcpy(&bits, &score, 4);
  std::memcpy(&mass, &weight, 4);
  bits ^= bits >> 31 != 0 ? ~uint32_t{0} : uint32_t{1} << 31;
  return uint64_t{bits} << 32 | uint64_t{click} << 31 | (mass & 0x7FFFFFFF);
}

struct ScoredRow {
  explicit ScoredRow(uint64_t record) : score_bits(static_cast<uint32_t>(record >> 32)) {
    const auto low = static_cast<uint32_t>(record);
    const uint32_t mass = low & 0x7FFFFFFF;
    float w;
    std::memcpy(&w, &mass, 4);
    weight = w;
    click = low >> 31 != 0;
  }
  double score() const {
    const uint32_t bits = score_bits ^ (score_bits >> 31 != 0 ? uint32_t{1} << 31 : ~uint32_t{0});
    float x;
    std::memcpy(&x, &bits, 4);
    return x;
  }

  uint32_t score_bits;
  double weight;
  bool click;
};

// The area from rows in ascending order of score.
class AreaSum {
 public:
  void Add(const ScoredRow& row) {
    if (row.score_bits != bits_) {
      Close();
      bits_ = row.score_bits;
      if (std::isnan(row.score())) defined_ = false;
    }
    (row.click ? clicks_here_ : others_here_) += row.weight;
  }
  double Finish() {
    Close();
    return defined_ ? below_ / (others_ * clicks_) : kNone;  // 0 / 0 is NaN
  }

 private:
  void Close() {
    below_ += clicks_here_ * (others_ + 0.5 * others_here_);
    others_ += others_here_;
    clicks_ += clicks_here_;
    others_here_ = clicks_here_ = 0;
  }

  uint32_t bits_ = 0;
  bool defined_ = true;
  double below_ = 0;  // pairs of a click and a row without one that are in order
  double others_ = 0, clicks_ = 0, others_here_ = 0, clicks_here_ = 0;
};

// Deciles from rows in ascending order of score, equal scores together.
class Deciles {
 public:
  Deciles(double total, std::vector<CalibrationBin>* bins) : total_(total), bins_(bins) {}
  void Add(const ScoredRow& row, double prediction) {
    if (row.score_bits != bits_) {
      Close();
      bits_ = row.score_bits;
      here_.least = here_.most = prediction;
    }
    ++here_.rows;
    here_.weight += row.weight;
    here_.click_rate += row.click ? row.weight : 0;
  }
  void Finish() {
    Close();
    for (CalibrationBin& bin : *bins_) {
      bin.prediction /= bin.weight;
      bin.click_rate /= bin.weight;
    }
  }

 private:
  void Close() {
    if (here_.weight > 0) {
      const double middle = (before_ + here_.weight / 2) / total_;
      const int which = std::min(static_cast<int>(kBins * middle), kBins - 1);
      if (which != which_) {
        bins_->emplace_back();
        bins_->back().least = here_.least;
        which_ = which;
      }
      CalibrationBin& bin = bins_->back();
      bin.rows += here_.rows;
      bin.weight += here_.weight;
      bin.most = here_.most;
      bin.prediction += here_.weight * here_.most;
      bin.click_rate += here_.click_rate;
      before_ += here_.weight;
    }
    here_ = CalibrationBin();
  }

  const double total_;
  std::vector<CalibrationBin>* bins_;
  CalibrationBin here_;  // rows of one score; click_rate: a sum
  double before_ = 0;
  uint32_t bits_ = 0;
  int which_ = -1;
};

double Entropy(double p) { return -(p * std::log(p) + (1 - p) * std::log1p(-p)); }

}  // namespace

std::vector<std::pair<std::string, double>> ClickSummary::Values() const {
  std::vector<std::pair<std::string, double>> values;
  const auto add = [&values](const char* name, double value) {
    if (std::isfinite(value)) values.emplace_back(name, value);
  };
  add("loss", loss);
  if (squared) {
    add("rmse", rmse);
    return values;
  }
  add("auc", auc);
  if (judged_groups > 0) add("gauc", gauc);
  add("normalised_entropy", normalised_entropy);
  add("calibration", calibration);
  return values;
}

void ClickScores::Sums::Add(const Sums& other) {
  rows += other.rows;
  weight += other.weight;
  square += other.square;
  prediction += other.prediction;
  label += other.label;
}

ClickScores::ClickScores(const Options& options)
    : options_(options),
      by_score_(options.memory, options.folder),
      by_group_(options.memory / 2, options.folder) {}

void ClickScores::Add(const float* scores, const float* labels, const float* weights,
                      const uint64_t* groups, int64_t n) {
  sums_.rows += n;
  if (!options_.squared) {
    const auto count = static_cast<size_t>(n);
    records_.resize(count);
    for (size_t i = 0; i < count; ++i) {
      records_[i] = MakeRecord(scores[i], labels[i] > 0.5f, weights ? weights[i] : 1);
    }
    by_score_.Add(records_.data(), count);
    for (size_t i = 0; options_.groups && i < count; ++i) by_group_.Add({groups[i], records_[i]});
    return;
  }
  for (int64_t i = 0; i < n; ++i) {
    const double w = weights ? weights[i] : 1;
    const double error = static_cast<double>(scores[i]) - labels[i];
    sums_.weight += w;
    sums_.square += w * error * error;
    sums_.prediction += w * scores[i];
    sums_.label += w * labels[i];
  }
}

void ClickScores::Merge(ClickScores* other) {
  constexpr int64_t kPart = 1 << 20;
  for (std::string part; !(part = other->Take(kPart)).empty();) Put(part);
}

void ClickScores::Reset() {
  sums_ = Sums();
  by_score_.Clear();
  by_group_.Clear();
}

double ClickScores::Auc() {
  AreaSum area;
  by_score_.ForEach([&area](uint64_t record) { area.Add(ScoredRow(record)); });
  return area.Finish();
}

ClickSummary ClickScores::Summarize() {
  ClickSummary s;
  s.squared = options_.squared;
  s.rows = sums_.rows;
  s.auc = s.calibration = s.normalised_entropy = s.gauc = s.rmse = kNone;
  if (!options_.squared) {
    SummarizeClicks(&s);
    if (options_.groups) SummarizeGroups(&s);
    return s;
  }
  s.weight = sums_.weight;
  s.loss = 0.5 * sums_.square / sums_.weight;
  s.rmse = std::sqrt(sums_.square / sums_.weight);
  s.prediction = sums_.prediction / sums_.weight;
  s.label = sums_.label / sums_.weight;
  return s;
}

void ClickScores::SummarizeClicks(ClickSummary* s) {
  AreaSum area;
  double loss = 0, predicted = 0, clicks = 0;
  by_score_.ForEach([&](uint64_t record) {
    const ScoredRow row(record);
    area.Add(row);
    const double x = row.score(), e = std::exp(-std::abs(x));
    s->weight += row.weight;
    predicted += row.weight * (x < 0 ? e : 1) / (1 + e);
    clicks += row.click ? row.weight : 0;
    // log(1 + exp(-x)) of a click, log(1 + exp(x)) of none.
    loss += row.weight * (std::max(row.click ? -x : x, 0.0) + std::log1p(e));
  });
  s->auc = area.Finish();
  s->loss = loss / s->weight;
  s->prediction = predicted / s->weight;
  s->label = clicks / s->weight;
  s->calibration = predicted / clicks;
  s->normalised_entropy = s->loss / Entropy(s->label);
  Deciles deciles(s->weight, &s->deciles);
  by_score_.ForEach([&](uint64_t record) {
    const ScoredRow row(record);
    deciles.Add(row, 1 / (1 + std::exp(-row.score())));
  });
  deciles.Finish();
}

void ClickScores::SummarizeGroups(ClickSummary* s) {
  double areas = 0, weights = 0, weight = 0;
  uint64_t group = 0;
  AreaSum area;
  const auto close = [&] {
    const double value = area.Finish();
    ++s->groups;
    if (std::isfinite(value)) {
      ++s->judged_groups;
      areas += weight * value;
      weights += weight;
    }
    area = AreaSum();
    weight = 0;
  };
  bool first = true;
  by_group_.ForEach([&](const GroupedRecord& record) {
    if (!first && record.group != group) close();
    first = false;
    group = record.group;
    const ScoredRow row(record.record);
    area.Add(row);
    weight += row.weight;
  });
  if (!first) close();
  s->gauc = areas / weights;
}

std::string ClickScores::Take(int64_t bytes) {
  Sums sums = sums_;
  std::string out;
  const auto pack = [&](const auto& records) {
    const size_t size = records.size() * sizeof(records[0]);
    if (!options_.squared) sums.rows = static_cast<int64_t>(records.size());
    if (sums.rows == 0) return;
    out.resize(sizeof sums + size);
    std::memcpy(out.data(), &sums, sizeof sums);
    if (size > 0) std::memcpy(out.data() + sizeof sums, records.data(), size);
  };
  const auto room = static_cast<size_t>(std::max<int64_t>(bytes, 1024)) - sizeof sums;
  if (options_.groups) {
    pack(by_group_.TakeSome(room / sizeof(GroupedRecord)));
    by_score_.Clear();
  } else {
    pack(by_score_.TakeSome(room / sizeof(uint64_t)));
  }
  sums_.rows -= sums.rows;
  if (sums_.rows == 0) sums_ = Sums();
  return out;
}

void ClickScores::Put(std::string_view bytes) {
  Sums sums;
  const size_t record_bytes = options_.groups ? sizeof(GroupedRecord) : sizeof(uint64_t);
  if (bytes.size() < sizeof sums || (bytes.size() - sizeof sums) % record_bytes != 0) {
    throw Fail(ExitCode::kInternal, "scores of ", bytes.size(), " bytes: not what Take made");
  }
  std::memcpy(&sums, bytes.data(), sizeof sums);
  sums_.Add(sums);
  const char* from = bytes.data() + sizeof sums;
  const size_t count = (bytes.size() - sizeof sums) / record_bytes;
  if (count == 0) return;
  if (!options_.groups) {
    records_.resize(count);
    std::memcpy(records_.data(), from, count * record_bytes);
    by_score_.Add(records_.data(), count);
    return;
  }
  for (size_t i = 0; i < count; ++i) {
    GroupedRecord record;
    std::memcpy(&record, from + i * record_bytes, record_bytes);
    by_group_.Add(record);
    by_score_.Add(record.record);
  }
}

}  // namespace mariana
