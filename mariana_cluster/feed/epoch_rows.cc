#include "mariana_cluster/feed/epoch_rows.h"

#include <algorithm>

namespace mariana {

EpochRows::EpochRows(TextRowsInputs inputs, const Options& options)
    : inputs_(std::move(inputs)),
      options_(options),
      cut_(inputs_.clock, "cut", 1),
      cached_(inputs_.clock, "cache", 1) {}

void EpochRows::Start(int64_t epoch, int64_t first_batch) {
  epoch_ = epoch;
  skip_ = first_batch * options_.batch_size;
  opened_ = false;
  from_cache_ = options_.keep && (full_ || epoch > 0);
  reader_ = nullptr;
  CloseText();
}

bool EpochRows::Next(const std::function<bool()>& stopping, RowBatch* batch) {
  if (!opened_) Open(stopping);
  if (!from_cache_) return NextFromText(stopping, batch);
  return reader_ != nullptr &&
         cached_.Time(StageMeter::kBusy, [&] { return reader_->Next(options_.batch_size, batch); });
}

void EpochRows::Open(const std::function<bool()>& stopping) {
  opened_ = true;
  if (!from_cache_) {
    OpenText();
    return;
  }
  if (!full_) {
    OpenText();
    while (!stopping() && NextChunk()) {
    }
    if (!full_) return;
  }
  // The first epoch is in the files' order, from the cache too.
  reader_ = cache_->Read(epoch_, epoch_ > 0);
  reader_->Skip(skip_);
}

void EpochRows::OpenText() {
  auto text = MakeTextRows(inputs_, options_.parse_threads);
  std::unique_lock<std::mutex> lock(mutex_);
  text_ = std::move(text);
  chunk_.Clear();
  at_ = text_rows_ = 0;
  if (options_.keep) cache_ = std::make_unique<SampleCache>(options_.cache);
}

// The next rows of the text into chunk_, kept. False at the end.
bool EpochRows::NextChunk() {
  at_ = 0;
  // The caller's own reading and parsing is counted by text_ itself.
  const bool some = options_.parse_threads == 0
                        ? text_->Next(&chunk_)
                        : cut_.Time(StageMeter::kWaitInput, [&] { return text_->Next(&chunk_); });
  if (!some) chunk_.Clear();
  text_rows_ += chunk_.rows;
  if (options_.keep) {
    cached_.Time(StageMeter::kBusy, [&] { some ? cache_->Add(chunk_) : cache_->Seal(); });
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

bool EpochRows::NextFromText(const std::function<bool()>& stopping, RowBatch* batch) {
  batch->Clear();
  while (batch->rows < options_.batch_size && text_ != nullptr) {
    if (at_ == chunk_.rows) {
      if (stopping()) return false;
      if (!NextChunk()) break;
    }
    const int64_t passed = std::min(skip_, chunk_.rows - at_);
    skip_ -= passed;
    at_ += passed;
    const int64_t taken = std::min(options_.batch_size - batch->rows, chunk_.rows - at_);
    cut_.Time(StageMeter::kBusy, [&] { AppendRows(chunk_, at_, at_ + taken, batch); });
    at_ += taken;
  }
  return batch->rows > 0;
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
  SumStages({cut_.Seconds(), cached_.Seconds()}, false, &all);
  return all;
}

}  // namespace mariana
