// ClickScorer: a click model for scoring: its tables in this process's memory (or those of a
// running job), its dense parameters, and what turns rows of text into its features.
//
//   auto scorer = ClickScorer::Open(path, {});
//   auto lane = scorer->MakeLane();
//   lane->Score(&batch);   // batch.rows -> batch.logits
//
// Logits are those of the data as it was before negatives were thinned out: where training did not
// weigh for that (negatives.correct: bias), the correction is added here.
//
// Thread-safe: const after construction. A lane belongs to one thread.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "common/train/safetensors.h"
#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/saved_model.h"
#include "mariana_cluster/table/table.h"

namespace mariana {

// Where a model's weights are.
struct ClickWeights {
  std::vector<std::vector<std::shared_ptr<TableShard>>> shards;  // [table][shard]
  std::vector<HostTensor> dense;                                 // by the net's names
};

class ClickScorer {
 public:
  struct Options {
    int64_t max_rows = 1024;  // of a batch
    Dtype compute = Dtype::kF32;
    // Format and columns of the files to be scored; null: those that the model learned from.
    const RowSpec* files = nullptr;
  };
  // `path`: a run directory, a checkpoint or a .safetensors file. Tables are made for reading
  // alone, so they take less memory than in training. Error(kBadData) for another file.
  static std::unique_ptr<ClickScorer> Open(const std::string& path, const Options& options);
  ClickScorer(std::unique_ptr<SavedModel> model, ClickWeights weights, const Options& options);
  ~ClickScorer();

  const std::string& path() const { return path_; }  // of the file; "" without one
  const SavedModel& model() const { return *model_; }
  const RowSpec& rows() const { return rows_; }
  const RowPlan& plan() const { return *plan_; }
  const Options& options() const { return options_; }
  // Bytes of the tables.
  int64_t table_bytes() const;

  class Lane {
   public:
    ~Lane();
    // Fills batch->logits from batch->rows (whose dense columns are complete).
    void Score(ClickBatch* batch);

   private:
    friend class ClickScorer;
    Lane() = default;
    std::unique_ptr<Device> device_;
    std::unique_ptr<ClickModel> model_;
    std::vector<Table> tables_;
    float correction_ = 0;
  };
  std::unique_ptr<Lane> MakeLane() const;

 private:
  std::string path_;
  std::unique_ptr<SavedModel> model_;
  ClickWeights weights_;
  Options options_;
  RowSpec rows_;
  std::unique_ptr<RowPlan> plan_;
};

// The fields, numbers and crosses of the model, found in files of another format: all that says how
// `files` are to be read, and the columns of those of its fields that the model has.
RowSpec RowsFor(const RowSpec& model, const RowSpec& files);

}  // namespace mariana
