// Pool: the threads of one CPU device. The caller of Run works too, so a pool of `threads` has
// threads - 1 workers of its own.
//
// Tasks are claimed one by one, so a thread that the machine has put aside delays nobody but the
// task it holds. Workers spin for some ten microseconds between runs and then sleep on a futex:
// an idle or overcommitted machine is left alone. (The one place that waits beside Clock: a
// computing device is never "blocked" in virtual time.)
//
// Threading: Run by one thread at a time. Tasks must not throw, nor call Run.
#pragma once

#include <atomic>
#include <cstdint>
#include <thread>
#include <vector>

namespace mariana {

class Pool {
 public:
  // Worker i is pinned to the i-th of the cores this process may use, counted from first_core,
  // when there are as many; the caller is not, for threads that it starts would inherit it.
  // first_core < 0: no pinning.
  Pool(int threads, int first_core);
  ~Pool();
  Pool(const Pool&) = delete;
  Pool& operator=(const Pool&) = delete;

  int threads() const { return static_cast<int>(workers_.size()) + 1; }

  // Calls task(i) for i in [0, tasks), each once, and returns when all have returned.
  template <class F>
  void Run(int64_t tasks, const F& task) {
    if (workers_.empty() || tasks <= 1) {
      for (int64_t i = 0; i < tasks; ++i) task(i);
      return;
    }
    RunShared(
        static_cast<uint32_t>(tasks),
        [](const void* f, int64_t i) { (*static_cast<const F*>(f))(i); }, &task);
  }

  // Calls part(begin, end) over [0, n) in at most threads() consecutive parts of whole multiples
  // of `grain` (but the last).
  template <class F>
  void Split(int64_t n, int64_t grain, const F& part) {
    const int64_t grains = (n + grain - 1) / grain;
    const int64_t parts = grains < threads() ? grains : threads();
    Run(parts, [&](int64_t i) {
      const int64_t begin = grains * i / parts * grain, end = grains * (i + 1) / parts * grain;
      part(begin, end < n ? end : n);
    });
  }

 private:
  using Task = void (*)(const void* context, int64_t i);
  void RunShared(uint32_t tasks, Task task, const void* context);
  bool WorkOnce();
  void WorkerLoop();

  std::vector<std::thread> workers_;
  // Low 32 bits: tasks not yet claimed. High: which run. One word, so that a worker that comes
  // late cannot claim a task of the next run with what it read of the last.
  alignas(64) std::atomic<uint64_t> unclaimed_{0};
  alignas(64) std::atomic<uint32_t> done_{0};
  std::atomic<uint32_t> caller_sleeps_{0};
  alignas(64) std::atomic<uint32_t> signal_{0};  // workers sleep on it
  std::atomic<uint32_t> sleepers_{0};
  std::atomic<bool> stop_{false};
  // Of the run that is going on; written before unclaimed_, read after a claim.
  uint32_t tasks_ = 0;
  Task task_ = nullptr;
  const void* context_ = nullptr;
};

}  // namespace mariana
