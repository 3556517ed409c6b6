// The virtual clock of clock.h.
//
// Lock order: the caller's mutex, then mutex_. A waiter enters waiters_ before it lets go of the
// caller's mutex, so no notification is lost; it leaves the list when somebody picks it, and then
// stands in line for its turn. One registered thread at a time has the turn; a ticket may have it
// before its thread has come up. Threads that are not registered take no turns.

#include <glog/logging.h>

#include <algorithm>
#include <atomic>
#include <deque>
#include <map>
#include <tuple>
#include <vector>

#include "common/base/clock.h"

namespace mariana {
namespace {

class VirtualClock final : public Clock {
 public:
  ~VirtualClock() override {
    CHECK(threads_.empty() && waiters_.empty()) << "a virtual clock died before its threads";
  }
  int64_t NowNs() const override { return now_ns_; }

 private:
  struct Thread {
    std::string name;
    int64_t order;  // of registration: its ticket
    int depth = 1;  // nested ClockThreads
    std::condition_variable turn{};
  };
  struct Waiter {
    const CondVar* cv;
    const Thread* thread;  // null: not registered
    int64_t deadline_ns;
    bool picked = false;
    std::condition_variable wake{};  // of a thread that is not registered
  };
  static constexpr int64_t kNobody = -1;

  void Wait(CondVar* cv, std::unique_lock<std::mutex>* lock, int64_t deadline_ns) override {
    {
      std::unique_lock<std::mutex> own(mutex_);
      const auto known = threads_.find(std::this_thread::get_id());
      Thread* const thread = known == threads_.end() ? nullptr : &known->second;
      Waiter waiter{cv, thread, deadline_ns};
      waiters_.push_back(&waiter);
      lock->unlock();
      if (thread != nullptr) {
        turn_ = kNobody;
        PassTurn();
        AwaitTurn(thread, &own);
      } else {
        PassTurn();
        waiter.wake.wait(own, [&] { return waiter.picked; });
      }
    }
    lock->lock();
  }

  void Notify(CondVar* cv, bool all) override {
    std::unique_lock<std::mutex> own(mutex_);
    for (size_t i = 0; i < waiters_.size();) {
      if (waiters_[i]->cv != cv) {
        ++i;
        continue;
      }
      Pick(i);
      if (!all) break;
    }
    if (turn_ == kNobody && !line_.empty()) PassTurn();
  }

  int64_t Expect() override {
    std::unique_lock<std::mutex> own(mutex_);
    const int64_t ticket = next_order_++;
    line_.push_back(ticket);
    if (turn_ == kNobody) PassTurn();
    return ticket;
  }

  void Register(const std::string& name, int64_t ticket) override {
    std::unique_lock<std::mutex> own(mutex_);
    const auto known = threads_.find(std::this_thread::get_id());
    if (known != threads_.end()) {
      CHECK_EQ(ticket, kUnexpected);
      ++known->second.depth;
      return;
    }
    if (ticket == kUnexpected) {
      ticket = next_order_++;
      line_.push_back(ticket);
    }
    Thread& thread = threads_[std::this_thread::get_id()];
    thread.name = name;
    thread.order = ticket;
    if (turn_ == kNobody) PassTurn();
    AwaitTurn(&thread, &own);
  }

  void Unregister() override {
    std::unique_lock<std::mutex> own(mutex_);
    const auto known = threads_.find(std::this_thread::get_id());
    CHECK(known != threads_.end()) << "this thread is not registered with its virtual clock";
    if (--known->second.depth > 0) return;
    threads_.erase(known);
    turn_ = kNobody;
    PassTurn();
  }

  void AwaitTurn(Thread* thread, std::unique_lock<std::mutex>* own) {
    thread->turn.wait(*own, [&] { return turn_ == thread->order; });
  }

  void Pick(size_t i) {
    Waiter* waiter = waiters_[i];
    waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(i));
    waiter->picked = true;
    if (waiter->thread != nullptr) {
      line_.push_back(waiter->thread->order);
    } else {
      waiter->wake.notify_one();
    }
  }

  // The next in line goes on. If there is none, every registered thread waits: then the one waiter
  // that is due first goes on, and time moves there.
  void PassTurn() {
    if (turn_ != kNobody) return;
    if (line_.empty()) Advance();
    if (line_.empty()) return;
    turn_ = line_.front();
    line_.pop_front();
    for (auto& [id, thread] : threads_) {
      if (thread.order == turn_) thread.turn.notify_one();
    }
  }

  void Advance() {
    const auto first = std::min_element(waiters_.begin(), waiters_.end(),
                                        [](Waiter* a, Waiter* b) { return Due(a) < Due(b); });
    if (first == waiters_.end() || (*first)->deadline_ns == INT64_MAX) {
      CHECK(threads_.empty()) << "deadlock: every thread waits and none has a deadline: "
                              << Names();
      return;
    }
    now_ns_ = std::max<int64_t>(now_ns_, (*first)->deadline_ns);
    Pick(static_cast<size_t>(first - waiters_.begin()));
  }

  static std::tuple<int64_t, int64_t> Due(const Waiter* w) {
    return {w->deadline_ns, w->thread ? w->thread->order : INT64_MAX};
  }

  std::string Names() const {  // in the order of registration
    std::map<int64_t, std::string> names;
    for (const auto& [id, thread] : threads_) names[thread.order] = thread.name;
    std::string all;
    for (const auto& [order, name] : names) all += (all.empty() ? "" : ", ") + name;
    return all;
  }

  mutable std::mutex mutex_;
  std::atomic<int64_t> now_ns_{0};
  int64_t next_order_ = 0;
  int64_t turn_ = kNobody;    // the ticket of the thread that runs
  std::deque<int64_t> line_;  // those that could run
  std::map<std::thread::id, Thread> threads_;
  std::vector<Waiter*> waiters_;  // first come, first notified
};

}  // namespace

std::unique_ptr<Clock> Clock::MakeVirtual() { return std::make_unique<VirtualClock>(); }

}  // namespace mariana
