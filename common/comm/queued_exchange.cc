#include "common/comm/queued_exchange.h"

#include <exception>
#include <mutex>
#include <optional>

namespace mariana {
namespace {

class QueuedExchange : public Exchange {
 public:
  QueuedExchange(Exchange* exchange, Device* device, Clock* clock)
      : exchange_(exchange), device_(device), tasks_(clock, kMostTasks), idle_(clock) {
    thread_.emplace(clock, "exchange queue", [this] {
      while (auto task = tasks_.Pop()) Do(*task);
    });
  }
  ~QueuedExchange() override {
    tasks_.Close();
    thread_->Join();
  }

  int worker() const override { return exchange_->worker(); }
  int workers() const override { return exchange_->workers(); }
  Range Owned(int bucket) const override { return exchange_->Owned(bucket); }

  void Collect(int bucket) override {
    Post([this, bucket] { exchange_->Collect(bucket); });
  }
  void FinishCollect() override {
    Drain();
    exchange_->FinishCollect();
  }
  CommitValues Commit(const CommitValues& mine) override {
    Drain();
    return exchange_->Commit(mine);
  }
  void GatherHost(const float* mine, int64_t n, std::vector<float>* all) override {
    Drain();
    exchange_->GatherHost(mine, n, all);
  }
  void Distribute(int bucket) override {
    Post([this, bucket] { exchange_->Distribute(bucket); });
  }
  void WaitValues(int bucket) override {
    Drain();
    exchange_->WaitValues(bucket);
  }
  std::vector<double> WaitSeconds() const override { return exchange_->WaitSeconds(); }

 private:
  static constexpr int kMostTasks = 1 << 12;
  struct Task {
    std::function<void()> computed;  // waits for the device
    std::function<void()> tell;
  };

  void Post(std::function<void()> tell) {
    std::unique_lock<std::mutex> lock(mutex_);
    if (error_) std::rethrow_exception(error_);
    ++pending_;
    lock.unlock();
    tasks_.Push({device_->Mark(), std::move(tell)});
  }

  void Do(const Task& task) {
    std::exception_ptr error;
    try {
      task.computed();
      task.tell();
    } catch (...) {  // for the trainer to rethrow
      error = std::current_exception();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (error && !error_) error_ = error;
    if (--pending_ == 0) idle_.NotifyAll();
  }

  void Drain() {
    std::unique_lock<std::mutex> lock(mutex_);
    idle_.Wait(&lock, [this] { return pending_ == 0; });
    if (error_) std::rethrow_exception(error_);
  }

  Exchange* const exchange_;
  Device* const device_;
  Queue<Task> tasks_;
  std::mutex mutex_;  // guards what follows
  CondVar idle_;
  int pending_ = 0;  // tasks not yet done
  std::exception_ptr error_;
  std::optional<ClockedThread> thread_;
};

}  // namespace

std::unique_ptr<Exchange> MakeQueuedExchange(Exchange* exchange, Device* device, Clock* clock) {
  return std::make_unique<QueuedExchange>(exchange, device, clock);
}

}  // namespace mariana
