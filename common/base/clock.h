// Clock, CondVar, Queue: the only ways a thread of the library waits.
//
// A real clock is the machine's. A virtual clock stands still until every thread registered
// with it (ClockThread) is blocked in a CondVar, then jumps to the earliest deadline: an
// emulated machine runs on it deterministically and as fast as the host can think, and tests
// of waiting need no sleeps. If every registered thread is blocked and none has a deadline,
// the virtual clock CHECK-fails naming the threads: that is a deadlock.
// Registered threads run one at a time, so that what they do to each other comes in the same order
// whenever it runs: a thread goes on until it waits or ends; then the next runs, in the order in
// which they became able to (notified, started, or due; of those due at one time the first
// registered).
//
// A thread registered with a virtual clock must not block elsewhere for something that another
// such thread does (std::thread::join, a socket): time would stand still. Start threads as
// ClockedThread, which is registered before it runs and joins through the clock. Threads that
// are not registered may wait too, but do not hold time back.
//
// Threading: Clock and Queue are thread-safe; CondVar follows std::condition_variable.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <thread>
#include <utility>

namespace mariana {

class CondVar;

class Clock {
 public:
  virtual ~Clock() = default;
  virtual int64_t NowNs() const = 0;  // nanoseconds since an arbitrary origin
  double NowSeconds() const { return static_cast<double>(NowNs()) * 1e-9; }
  void SleepFor(int64_t ns);

  static Clock* Real();                         // never null, never destroyed
  static std::unique_ptr<Clock> MakeVirtual();  // starts at 0

 protected:
  static constexpr int64_t kUnexpected = -1;

 private:
  friend class CondVar;
  friend class ClockThread;
  friend class ClockedThread;
  // Waits until `cv` is notified or the clock reaches deadline_ns (INT64_MAX: never).
  virtual void Wait(CondVar* cv, std::unique_lock<std::mutex>* lock, int64_t deadline_ns) = 0;
  virtual void Notify(CondVar* cv, bool all) = 0;
  // Time stands still until a thread registers with the ticket returned, which is not negative.
  virtual int64_t Expect() = 0;
  virtual void Register(const std::string& name, int64_t ticket) = 0;
  virtual void Unregister() = 0;
};

// Registers the current thread with the clock while it lives (nothing to do on a real clock).
// Nests: the first name counts.
class ClockThread {
 public:
  ClockThread(Clock* clock, const std::string& name)
      : ClockThread(clock, name, Clock::kUnexpected) {}
  ~ClockThread() { clock_->Unregister(); }
  ClockThread(const ClockThread&) = delete;
  ClockThread& operator=(const ClockThread&) = delete;

 private:
  friend class ClockedThread;
  ClockThread(Clock* clock, const std::string& name, int64_t ticket) : clock_(clock) {
    clock_->Register(name, ticket);
  }
  Clock* clock_;
};

class CondVar {
 public:
  explicit CondVar(Clock* clock) : clock_(clock) {}
  template <class Predicate>
  void Wait(std::unique_lock<std::mutex>* lock, Predicate done) {
    while (!done()) clock_->Wait(this, lock, INT64_MAX);
  }
  // False when the deadline (clock time) passed with `done` still false.
  template <class Predicate>
  bool WaitUntil(std::unique_lock<std::mutex>* lock, int64_t deadline_ns, Predicate done) {
    while (!done()) {
      if (clock_->NowNs() >= deadline_ns) return false;
      clock_->Wait(this, lock, deadline_ns);
    }
    return true;
  }
  void NotifyOne() { clock_->Notify(this, false); }
  void NotifyAll() { clock_->Notify(this, true); }
  Clock* clock() const { return clock_; }

 private:
  friend class RealClock;
  Clock* clock_;
  std::condition_variable cv_;  // used by the real clock
};

// A thread that is registered with the clock from before it starts until it ends. Whoever joins
// it waits through the clock. An exception that leaves `body` ends the process, as in
// std::thread.
class ClockedThread {
 public:
  ClockedThread(Clock* clock, const std::string& name, std::function<void()> body);
  ~ClockedThread() { Join(); }
  ClockedThread(const ClockedThread&) = delete;
  ClockedThread& operator=(const ClockedThread&) = delete;
  void Join();  // a second time: nothing

 private:
  std::mutex mutex_;
  CondVar ended_;
  bool has_ended_ = false;
  std::thread thread_;
};

// A bounded FIFO. Close() lets readers drain what is left and then get nullopt, and makes
// Push return false at once.
template <class T>
class Queue {
 public:
  Queue(Clock* clock, size_t capacity) : capacity_(capacity), not_full_(clock), not_empty_(clock) {}

  bool Push(T value) {
    std::unique_lock<std::mutex> lock(mutex_);
    not_full_.Wait(&lock, [&] { return closed_ || items_.size() < capacity_; });
    if (closed_) return false;
    items_.push_back(std::move(value));
    not_empty_.NotifyOne();
    return true;
  }
  std::optional<T> Pop() {
    std::unique_lock<std::mutex> lock(mutex_);
    not_empty_.Wait(&lock, [&] { return closed_ || !items_.empty(); });
    if (items_.empty()) return std::nullopt;
    std::optional<T> value(std::move(items_.front()));
    items_.pop_front();
    not_full_.NotifyOne();
    return value;
  }
  void Close() {
    std::unique_lock<std::mutex> lock(mutex_);
    closed_ = true;
    not_full_.NotifyAll();
    not_empty_.NotifyAll();
  }
  size_t size() const {
    std::unique_lock<std::mutex> lock(mutex_);
    return items_.size();
  }

 private:
  const size_t capacity_;
  mutable std::mutex mutex_;
  CondVar not_full_, not_empty_;
  std::deque<T> items_;
  bool closed_ = false;
};

}  // namespace mariana
