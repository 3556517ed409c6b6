#include "common/data/rows/row_reader.h"

#include <algorithm>

namespace mariana {

RowReader::RowReader(Clock* clock, const RowPlan* plan, const RowFiles* files,
                     std::vector<RowShard> shards, const Options& options, BadRows* bad)
    : plan_(plan),
      files_(files),
      shards_(std::move(shards)),
      options_(options),
      bad_(bad),
      changed_(clock),
      lane_ended_(static_cast<size_t>(options.lanes), false),
      parsers_left_(options.parse_threads),
      pipeline_(clock) {
  for (int i = 0; i < options.lanes; ++i) {
    lanes_.push_back(std::make_unique<Queue<ChunkPtr>>(clock, 2));
  }
  pipeline_.OnStop([this] { Stop(); });
  pipeline_.AddStage("read", options.lanes, [this](StageMeter* meter) { Read(meter); });
  pipeline_.AddStage("parse", options.parse_threads, [this](StageMeter* meter) { Parse(meter); });
}

RowReader::~RowReader() { pipeline_.Stop(); }

void RowReader::Stop() {
  for (const auto& lane : lanes_) lane->Close();
  std::unique_lock<std::mutex> lock(mutex_);
  stopped_ = true;
  changed_.NotifyAll();
}

template <class T>
std::unique_ptr<T> RowReader::Spare(std::vector<std::unique_ptr<T>>* spares) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (spares->empty()) return std::make_unique<T>();
  std::unique_ptr<T> spare = std::move(spares->back());
  spares->pop_back();
  return spare;
}

template <class T>
void RowReader::GiveBack(std::unique_ptr<T> used, std::vector<std::unique_ptr<T>>* spares) {
  std::unique_lock<std::mutex> lock(mutex_);
  spares->push_back(std::move(used));
}

void RowReader::Read(StageMeter* meter) {
  const auto lane = static_cast<size_t>(next_lane_++);
  ChunkReader::Options options;
  options.chunk_bytes = options_.chunk_bytes;
  options.line_limit = plan_->spec().line_limit;
  options.quoted_breaks = plan_->spec().format == RowFormat::kCsv && plan_->spec().multiline;
  for (size_t s = lane; s < shards_.size(); s += lanes_.size()) {
    ChunkReader reader(files_, shards_[s], options);
    for (;;) {
      ChunkPtr chunk = Spare(&spare_chunks_);
      if (!meter->Time(StageMeter::kBusy, [&] { return reader.Next(chunk.get()); })) break;
      if (!meter->Push(lanes_[lane].get(), std::move(chunk))) return;
    }
  }
  lanes_[lane]->Close();
}

// The next chunk and its place in the order; -1 at the end.
int64_t RowReader::Take(StageMeter* meter, ChunkPtr* chunk) {
  meter->Time(StageMeter::kWaitInput, [&] {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.Wait(&lock, [&] { return !taking_; });
    taking_ = true;
  });
  // Only the thread that takes touches turn_ and lane_ended_.
  bool found = false;
  for (size_t tried = 0; tried < lanes_.size() && !found; ++tried) {
    if (!lane_ended_[turn_]) {
      auto popped = meter->Pop(lanes_[turn_].get());
      found = popped.has_value();
      lane_ended_[turn_] = !found;
      if (found) *chunk = std::move(*popped);
    }
    turn_ = (turn_ + 1) % lanes_.size();
  }
  std::unique_lock<std::mutex> lock(mutex_);
  taking_ = false;
  changed_.NotifyAll();
  return found ? taken_++ : -1;
}

// False when the reader stops.
bool RowReader::Deliver(StageMeter* meter, int64_t ticket, BatchPtr batch) {
  return meter->Time(StageMeter::kWaitOutput, [&] {
    const int64_t ahead = 2 * options_.parse_threads;
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.Wait(&lock, [&] { return stopped_ || ticket < wanted_ + ahead; });
    parsed_[ticket] = std::move(batch);
    changed_.NotifyAll();
    return !stopped_;
  });
}

void RowReader::Parse(StageMeter* meter) {
  const std::unique_ptr<RowParser> parser = MakeRowParser(plan_, files_, options_.part, bad_);
  for (;;) {
    ChunkPtr chunk;
    const int64_t ticket = Take(meter, &chunk);
    if (ticket < 0) break;
    BatchPtr batch = Spare(&spare_batches_);
    meter->Time(StageMeter::kBusy, [&] {
      batch->Reuse();
      parser->Parse(*chunk, batch.get());
      bad_->Check(false);
    });
    GiveBack(std::move(chunk), &spare_chunks_);
    if (!Deliver(meter, ticket, std::move(batch))) break;
  }
  std::unique_lock<std::mutex> lock(mutex_);
  --parsers_left_;
  changed_.NotifyAll();
}

bool RowReader::Next(RowBatch* batch) {
  for (;;) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.Wait(&lock, [&] {
      return stopped_ || parsed_.count(wanted_) > 0 || (parsers_left_ == 0 && parsed_.empty());
    });
    const auto found = parsed_.find(wanted_);
    if (stopped_ || found == parsed_.end()) {
      lock.unlock();
      pipeline_.RethrowError();
      bad_->Check(true);
      return false;
    }
    BatchPtr next = std::move(found->second);
    parsed_.erase(found);
    ++wanted_;
    changed_.NotifyAll();
    std::swap(*batch, *next);
    const bool some = batch->rows > 0;
    spare_batches_.push_back(std::move(next));
    if (some) return true;
  }
}

}  // namespace mariana
