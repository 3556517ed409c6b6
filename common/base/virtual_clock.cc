// The virtual clock of clock.h.
//
// Lock order: the caller's mutex, then mutex_. A waiter enters waiters_ before it lets go of the
// caller's mutex, so no notification is lost; it leaves the list when somebody picks it, and
// from then on its thread counts as running, whether or not the host has scheduled it yet.

#include <glog/logging.h>

#include <algorithm>
#include <atomic>
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
    int64_t order;  // of registration
    int depth = 1;  // nested ClockThreads
  };
  struct Waiter {
    const CondVar* cv;
    const Thread* thread;  // null: not registered
    int64_t deadline_ns;
    bool picked = false;
    std::condition_variable wake{};
  };

  void Wait(CondVar* cv, std::unique_lock<std::mutex>* lock, int64_t deadline_ns) override {
    {
      std::unique_lock<std::mutex> own(mutex_);
      const auto thread = threads_.find(std::this_thread::get_id());
      Waiter waiter{cv, thread == threads_.end() ? nullptr : &thread->second, deadline_ns};
      waiters_.push_back(&waiter);
      lock->unlock();
      AdvanceIfAllBlocked();
      waiter.wake.wait(own, [&] { return waiter.picked; });
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
      if (!all) return;
    }
  }

  void Expect(const std::string& name) override {
    std::unique_lock<std::mutex> own(mutex_);
    expected_.emplace(name, next_order_++);
  }

  void Register(const std::string& name) override {
    std::unique_lock<std::mutex> own(mutex_);
    const auto known = threads_.find(std::this_thread::get_id());
    if (known != threads_.end()) {
      ++known->second.depth;
      return;
    }
    const auto expected = expected_.find(name);
    int64_t order;
    if (expected != expected_.end()) {
      order = expected->second;
      expected_.erase(expected);
    } else {
      order = next_order_++;
    }
    threads_.emplace(std::this_thread::get_id(), Thread{name, order});
  }

  void Unregister() override {
    std::unique_lock<std::mutex> own(mutex_);
    const auto known = threads_.find(std::this_thread::get_id());
    CHECK(known != threads_.end()) << "this thread is not registered with its virtual clock";
    if (--known->second.depth > 0) return;
    threads_.erase(known);
    AdvanceIfAllBlocked();
  }

  void Pick(size_t i) {
    Waiter* waiter = waiters_[i];
    waiters_.erase(waiters_.begin() + static_cast<std::ptrdiff_t>(i));
    waiter->picked = true;
    waiter->wake.notify_one();
  }

  // Wakes the one waiter that is due first, and moves time there.
  void AdvanceIfAllBlocked() {
    const auto registered =
        std::count_if(waiters_.begin(), waiters_.end(), [](Waiter* w) { return w->thread; });
    if (!expected_.empty() || registered < static_cast<std::ptrdiff_t>(threads_.size())) return;
    const auto first = std::min_element(waiters_.begin(), waiters_.end(),
                                        [](Waiter* a, Waiter* b) { return Due(a) < Due(b); });
    if (first == waiters_.end() || (*first)->deadline_ns == INT64_MAX) {
      CHECK_EQ(registered, 0) << "deadlock: every thread waits and none has a deadline: "
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
  std::multimap<std::string, int64_t> expected_;  // name -> order
  std::map<std::thread::id, Thread> threads_;
  std::vector<Waiter*> waiters_;  // first come, first notified
};

}  // namespace

std::unique_ptr<Clock> Clock::MakeVirtual() { return std::make_unique<VirtualClock>(); }

}  // namespace mariana
