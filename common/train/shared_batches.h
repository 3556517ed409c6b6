// SharedBatches: one stream of batches for all workers of a job. Workers ask for step s; whoever
// comes first takes it from the stream, the others wait for it. A worker is at most one step ahead
// of another (Exchange::Commit), so the last two batches are enough.
//
// Threading: Get is thread-safe.
#pragma once

#include <cstdint>
#include <deque>
#include <exception>
#include <functional>
#include <memory>
#include <mutex>
#include <utility>

#include "common/base/clock.h"
#include "common/base/error.h"

namespace mariana {

template <class Batch>
class SharedBatches {
 public:
  // `next` gives step `first_step`, then the one after it, and so on; null when there are no more.
  // It may throw.
  SharedBatches(Clock* clock, int64_t first_step, std::function<std::shared_ptr<Batch>()> next)
      : next_(std::move(next)), next_step_(first_step), arrived_(clock) {}

  std::shared_ptr<const Batch> Get(int64_t step) {
    std::unique_lock<std::mutex> lock(mutex_);
    for (;;) {
      for (const auto& [held, batch] : batches_) {
        if (held == step) return batch;
      }
      if (error_) std::rethrow_exception(error_);
      if (fetching_) {
        arrived_.Wait(&lock, [this] { return !fetching_; });
        continue;
      }
      fetching_ = true;
      lock.unlock();
      std::shared_ptr<Batch> batch;
      std::exception_ptr error;
      try {
        batch = next_();
        if (!batch) {
          throw Fail(ExitCode::kInternal, "no batch for step ", step, ": the epoch has ended");
        }
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      fetching_ = false;
      error_ = error;
      if (!error) {
        batches_.emplace_back(next_step_++, std::move(batch));
        if (batches_.size() > 2) batches_.pop_front();
      }
      arrived_.NotifyAll();
    }
  }

 private:
  std::function<std::shared_ptr<Batch>()> next_;
  std::mutex mutex_;
  int64_t next_step_;
  CondVar arrived_;
  bool fetching_ = false;
  std::deque<std::pair<int64_t, std::shared_ptr<const Batch>>> batches_;
  std::exception_ptr error_;
};

}  // namespace mariana
