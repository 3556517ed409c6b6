#include "mariana_cluster/feed/click_feed.h"

#include <algorithm>
#include <mutex>

#include "common/base/error.h"
#include "mariana_cluster/feed/epoch_rows.h"

namespace mariana {
namespace {

using BatchPtr = std::unique_ptr<ClickBatch>;

EpochRows::Options RowOptions(const RowPlan& plan, const ClickModel* model,
                              const ClickFeed::Options& from) {
  EpochRows::Options to;
  to.batch_size = from.batch_size;
  to.parse_threads = from.queue_depth == 0 ? 0 : from.parse_threads;
  to.keep = from.cache;
  to.cache.memory_bytes = from.cache_memory;
  to.cache.folder = from.cache_folder;
  to.cache.seed = from.seed;
  to.cache.fields = static_cast<int>(plan.FieldNames().size());
  to.cache.key_bytes = model == nullptr ? 8 : KeyBytes(model->tables());
  return to;
}

}  // namespace

class ClickFeed::Impl {
 public:
  Impl(const TextRowsInputs& inputs, const ClickModel* model, const Options& options)
      : clock_(inputs.clock),
        model_(options.prepare ? model : nullptr),
        options_(options),
        rows_(inputs, RowOptions(*inputs.plan, model, options)),
        prepare_(clock_, "prepare", 1),
        consume_(clock_, "consume", 1) {}
  ~Impl() { Stop(); }

  void StartEpoch(int64_t epoch, int64_t first_batch) {
    Stop();
    rows_.Start(epoch, first_batch);
    ended_ = false;
    if (options_.queue_depth == 0) return;
    const auto depth = static_cast<size_t>(options_.queue_depth);
    ready_ = std::make_unique<Queue<BatchPtr>>(clock_, depth);
    pipeline_ = std::make_unique<Pipeline>(clock_);
    pipeline_->OnStop([this] { ready_->Close(); });
    pipeline_->AddStage("prepare", 1, [this](StageMeter*) { PrepareAll(); });
  }

  bool Next(BatchPtr* batch) {
    if (given_at_ns_ >= 0) consume_.Add(StageMeter::kBusy, clock_->NowNs() - given_at_ns_);
    given_at_ns_ = -1;
    if (*batch != nullptr) GiveBack(std::move(*batch));
    *batch = nullptr;
    if (ended_) return false;
    ended_ = !(pipeline_ == nullptr ? NextHere(batch) : NextReady(batch));
    if (!ended_) given_at_ns_ = clock_->NowNs();
    return !ended_;
  }

  // Of the caller of StartEpoch.
  int64_t queued() const { return ready_ == nullptr ? 0 : static_cast<int64_t>(ready_->size()); }
  int64_t queue_depth() const { return options_.queue_depth; }
  const EpochRows& rows() const { return rows_; }

  std::vector<StageSeconds> Seconds() const {
    std::vector<StageSeconds> all = rows_.Seconds();
    SumStages({prepare_.Seconds(), consume_.Seconds()}, false, &all);
    all.erase(std::remove_if(
                  all.begin(), all.end(),
                  [](const StageSeconds& s) { return s.busy + s.wait_input + s.wait_output == 0; }),
              all.end());
    return all;
  }

 private:
  void Stop() {
    if (pipeline_ != nullptr) pipeline_->Stop();
    pipeline_ = nullptr;
    ended_ = true;
  }

  bool NextHere(BatchPtr* batch) {
    *batch = Spare();
    if (!rows_.Next([] { return false; }, &(*batch)->rows)) {
      GiveBack(std::move(*batch));
      *batch = nullptr;
      return false;
    }
    Prepare(batch->get());
    return true;
  }

  bool NextReady(BatchPtr* batch) {
    auto ready = consume_.Pop(ready_.get());
    if (ready.has_value()) {
      *batch = std::move(*ready);
      return true;
    }
    pipeline_->Stop();
    pipeline_->RethrowError();
    return false;
  }

  // Cut and prepared by one thread: a batch's keys are looked up while they are in its cache.
  void PrepareAll() {
    for (;;) {
      BatchPtr batch = Spare();
      if (!rows_.Next([this] { return pipeline_->stopping(); }, &batch->rows)) {
        GiveBack(std::move(batch));
        break;
      }
      Prepare(batch.get());
      if (!prepare_.Push(ready_.get(), std::move(batch))) return;
    }
    ready_->Close();
  }

  void Prepare(ClickBatch* batch) {
    if (options_.joined == nullptr && model_ == nullptr) return;
    prepare_.Time(StageMeter::kBusy, [&] {
      if (options_.joined != nullptr) options_.joined->AppendTo(&batch->rows);
      if (model_ != nullptr) model_->Prepare(batch);
    });
  }

  BatchPtr Spare() {
    std::unique_lock<std::mutex> lock(mutex_);
    if (spares_.empty()) return std::make_unique<ClickBatch>();
    BatchPtr spare = std::move(spares_.back());
    spares_.pop_back();
    return spare;
  }
  void GiveBack(BatchPtr batch) {
    std::unique_lock<std::mutex> lock(mutex_);
    spares_.push_back(std::move(batch));
  }

  Clock* clock_;
  const ClickModel* model_;
  const Options options_;
  EpochRows rows_;  // the stage's while there is one
  StageMeter prepare_, consume_;
  int64_t given_at_ns_ = -1;
  bool ended_ = true;
  std::unique_ptr<Queue<BatchPtr>> ready_;
  std::mutex mutex_;  // of spares_
  std::vector<BatchPtr> spares_;
  std::unique_ptr<Pipeline> pipeline_;  // last: its threads end before the rest goes
};

ClickFeed::ClickFeed(Clock* clock, const RowPlan* plan, const RowFiles* files,
                     std::vector<RowShard> shards, const ClickModel* model, const Options& options,
                     BadRows* bad) {
  if (options.joined != nullptr && plan->spec().id.empty()) {
    throw Fail(ExitCode::kUsage,
               "data.joined: its rows are found by id; name the column of ids in data.rows.id");
  }
  const TextRowsInputs inputs{clock, plan, files, std::move(shards), options.part, bad};
  impl_ = std::make_unique<Impl>(inputs, model, options);
}

ClickFeed::~ClickFeed() = default;

void ClickFeed::StartEpoch(int64_t epoch, int64_t first_batch) {
  impl_->StartEpoch(epoch, first_batch);
}
bool ClickFeed::Next(std::unique_ptr<ClickBatch>* batch) { return impl_->Next(batch); }
int64_t ClickFeed::queued() const { return impl_->queued(); }
int64_t ClickFeed::queue_depth() const { return impl_->queue_depth(); }
int64_t ClickFeed::rows() const { return impl_->rows().rows(); }
int64_t ClickFeed::cache_memory_bytes() const { return impl_->rows().memory_bytes(); }
int64_t ClickFeed::cache_disk_bytes() const { return impl_->rows().disk_bytes(); }
std::vector<StageSeconds> ClickFeed::Seconds() const { return impl_->Seconds(); }

int KeyBytes(const std::vector<ClickTable>& tables) {
  int64_t bits = 8;
  for (const ClickTable& t : tables) {
    bits = std::max(bits, t.spec.form == TableForm::kHashed ? t.spec.bits : 64);
  }
  return static_cast<int>((bits + 7) / 8);
}

}  // namespace mariana
