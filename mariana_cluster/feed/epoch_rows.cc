#include "mariana_cluster/feed/epoch_rows.h"

#include <algorithm>

namespace mariana {

EpochRows::EpochRows(TextRowsInputs inputs, const Options& options)
    : inputs_(std::move(inputs)), options_(options), cached_(inputs_.clock, "cache", 1) {}

void EpochRows::Start(int64_t epoch, int64_t first_batch) {
  epoch_ = epoch;
  skip_ = first_batch * options_.batch_size;
  opened_ = false;
  from_cache_ = options_.keep && (full_ || epoch > 0);
  reader_ = nullptr;
  CloseText();
}

bool EpochRows::Next(const std::function<bool()>& stopping, RowBatch* batch) {
  if (!opened_) Open(stopping, batch);
  if (!from_cache_) return NextFromText(batch);
  return reader_ != nullptr &&
         cached_.Time(StageMeter::kBusy, [&] { return reader_->Next(options_.batch_size, batch); });
}

void EpochRows::Open(const std::function<bool()>& stopping, RowBatch* batch) {
  opened_ = true;
  if (!from_cache_ || !full_) OpenText();
  if (!from_cache_) {
    while (!stopping() && text_rows_ < skip_ && NextFromText(batch)) {
    }
    return;
  }
  while (!full_ && !stopping() && NextFromText(batch)) {
  }
  if (!full_) return;
  // The first epoch is in the files' order, from the cache too.
  reader_ = cache_->Read(epoch_, epoch_ > 0);
  reader_->Skip(skip_);
}

void EpochRows::OpenText() {
  auto text = MakeTextRows(inputs_, options_.parse_threads);
  std::unique_lock<std::mutex> lock(mutex_);
  text_ = std::move(text);
  text_rows_ = 0;
  if (options_.keep) cache_ = std::make_unique<SampleCache>(options_.cache);
}

// The next batch of the text, kept. False at the end.
bool EpochRows::NextFromText(RowBatch* batch) {
  if (text_ == nullptr) return false;
  const bool some = text_->Next(options_.batch_size, batch);
  text_rows_ += batch->rows;
  if (options_.keep) {
    cached_.Time(StageMeter::kBusy, [&] { some ? cache_->Add(*batch) : cache_->Seal(); });
    memory_bytes_ = cache_->memory_bytes();
    disk_bytes_ = cache_->disk_bytes();
    full_ = !some;
  }
  if (!some) {
    rows_ = text_rows_;
    CloseText();
  }
  return some;
}

void EpochRows::CloseText() {
  if (text_ == nullptr) return;
  const std::vector<StageSeconds> seconds = text_->Seconds();
  std::unique_ptr<TextRows> ended;  // its threads end outside of the lock
  std::unique_lock<std::mutex> lock(mutex_);
  SumStages(seconds, false, &text_seconds_);
  ended = std::move(text_);
  lock.unlock();
}

std::vector<StageSeconds> EpochRows::Seconds() const {
  std::unique_lock<std::mutex> lock(mutex_);
  std::vector<StageSeconds> all = text_seconds_;
  if (text_ != nullptr) SumStages(text_->Seconds(), false, &all);
  lock.unlock();
  SumStages({cached_.Seconds()}, false, &all);
  return all;
}

}  // namespace mariana
