#include "common/base/clock.h"

#include <glog/logging.h>

#include <chrono>

namespace mariana {

class RealClock final : public Clock {
 public:
  int64_t NowNs() const override {
    return std::chrono::duration_cast<std::chrono::nanoseconds>(
               std::chrono::steady_clock::now().time_since_epoch())
        .count();
  }

 private:
  void Wait(CondVar* cv, std::unique_lock<std::mutex>* lock, int64_t deadline_ns) override {
    if (deadline_ns == INT64_MAX) {
      cv->cv_.wait(*lock);
    } else {
      const std::chrono::nanoseconds since_origin(deadline_ns);
      cv->cv_.wait_until(*lock, std::chrono::steady_clock::time_point(since_origin));
    }
  }
  void Notify(CondVar* cv, bool all) override {
    if (all) {
      cv->cv_.notify_all();
    } else {
      cv->cv_.notify_one();
    }
  }
  int64_t Expect() override { return 0; }
  void Register(const std::string&, int64_t) override {}
  void Unregister() override {}
};

Clock* Clock::Real() {
  static Clock* const clock = new RealClock;
  return clock;
}

void Clock::SleepFor(int64_t ns) {
  const int64_t now = NowNs();
  std::mutex mutex;
  std::unique_lock<std::mutex> lock(mutex);
  CondVar cv(this);
  cv.WaitUntil(&lock, ns < INT64_MAX - now ? now + ns : INT64_MAX, [] { return false; });
}

ClockedThread::ClockedThread(Clock* clock, const std::string& name, std::function<void()> body)
    : ended_(clock) {
  const int64_t ticket = clock->Expect();
  thread_ = std::thread([this, clock, name, ticket, body = std::move(body)] {
    const ClockThread registered(clock, name, ticket);
    body();
    std::unique_lock<std::mutex> lock(mutex_);
    has_ended_ = true;
    ended_.NotifyAll();
  });
}

void ClockedThread::Join() {
  if (!thread_.joinable()) return;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    ended_.Wait(&lock, [this] { return has_ended_; });
  }
  thread_.join();  // at most a few instructions away from its end
}

}  // namespace mariana
