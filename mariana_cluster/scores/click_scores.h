// ClickScores: how good predictions of clicks are, over any number of rows in bounded memory: log
// loss, exact area under the ROC curve, AUC within groups, calibration by decile, normalised
// entropy; the root of the mean square for a squared loss.
//
// Every row is kept as 8 bytes (score, weight, label; 16 more with groups), sorted when somebody
// asks, on disk beyond a limit. So all results are functions of the set of rows alone: the same
// bits whatever the order, and however many processes scored them.
//
// Sources: AUC with ties counted half and weights as scikit-learn's roc_auc_score has it (Fawcett
// 2006); GAUC: Zhu et al., "Optimized cost per click in Taobao display advertising", KDD 2017;
// normalised entropy: He et al., "Practical lessons from predicting clicks on ads at Facebook",
// ADKDD 2014.
// Thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "mariana_cluster/scores/record_sort.h"

namespace mariana {

// The rows of one part of the range of predictions.
struct CalibrationBin {
  int64_t rows = 0;
  double weight = 0;
  double least = 0, most = 0;             // predictions
  double prediction = 0, click_rate = 0;  // weighted means
};

// Weighted by the rows' weights. NaN: not defined for these rows.
struct ClickSummary {
  bool squared = false;
  int64_t rows = 0;
  double weight = 0;
  double loss = 0;        // log loss in nats; squared: half of the mean square
  double prediction = 0;  // means
  double label = 0;
  double rmse = 0;  // squared
  // Logistic:
  double auc = 0;
  double calibration = 0;  // predicted over actual clicks
  double normalised_entropy = 0;
  std::vector<CalibrationBin> deciles;  // tenths of the weight by rising prediction; empty ones
                                        // left out (equal predictions are not parted)
  double gauc = 0;                      // of groups with both classes; 0 without groups
  int64_t groups = 0, judged_groups = 0;

  // Names and values as metrics have them: "loss", "auc", "gauc", "normalised_entropy",
  // "calibration", or "loss", "rmse"; undefined ones are left out.
  std::vector<std::pair<std::string, double>> Values() const;
};

class ClickScores {
 public:
  struct Options {
    bool squared = false;                 // the loss; else logistic
    bool groups = false;                  // whether rows bring them
    int64_t memory = int64_t{256} << 20;  // half as much again with groups
    std::string folder = "/tmp";          // beyond it
  };
  explicit ClickScores(const Options& options);

  // n rows: logits (squared: predictions), labels (above a half: a click), weights (null: all 1; 0
  // or more), groups (where options have them).
  void Add(const float* scores, const float* labels, const float* weights, const uint64_t* groups,
           int64_t n);
  int64_t rows() const { return sums_.rows; }
  // Takes all rows of another over, which is then empty.
  void Merge(ClickScores* other);
  void Reset();

  ClickSummary Summarize();
  // What Summarize gives as `auc`, faster.
  double Auc();

  // For other processes: Take moves rows of up to about `bytes` (1 KB at least) into a text of
  // bytes, "" when there are none left; Put adds them. Error(kInternal) for what Take did not make.
  std::string Take(int64_t bytes);
  void Put(std::string_view bytes);

 private:
  // Of rows whose loss is squared; of others only `rows`.
  struct Sums {
    int64_t rows = 0;
    double weight = 0, square = 0, prediction = 0, label = 0;
    void Add(const Sums& other);
  };

  void SummarizeClicks(ClickSummary* summary);
  void SummarizeGroups(ClickSummary* summary);

  const Options options_;
  Sums sums_;
  RecordSort<uint64_t> by_score_;
  RecordSort<GroupedRecord> by_group_;
  std::vector<uint64_t> records_;  // scratch
};

}  // namespace mariana
