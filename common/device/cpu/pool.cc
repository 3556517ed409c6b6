#include "common/device/cpu/pool.h"

#include <immintrin.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace mariana {
namespace {

// A pause is 40 to 140 cycles: some 10 to 40 microseconds.
constexpr int kSpins = 800;

void Sleep(std::atomic<uint32_t>* word, uint32_t expected) {
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
}

void Wake(std::atomic<uint32_t>* word, int waiters) {
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, waiters, nullptr, nullptr, 0);
}

// The cores this process may use, in ascending order.
std::vector<int> AllowedCores() {
  cpu_set_t set;
  CPU_ZERO(&set);
  sched_getaffinity(0, sizeof set, &set);
  std::vector<int> cores;
  for (int i = 0; i < CPU_SETSIZE; ++i) {
    if (CPU_ISSET(i, &set)) cores.push_back(i);
  }
  return cores;
}

}  // namespace

Pool::Pool(int threads, int first_core) {
  const std::vector<int> cores = AllowedCores();
  const bool pin = first_core >= 0 && first_core + threads <= static_cast<int>(cores.size());
  for (int i = 1; i < threads; ++i) {
    workers_.emplace_back([this] { WorkerLoop(); });
    if (!pin) continue;
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(cores[first_core + i], &one);
    pthread_setaffinity_np(workers_.back().native_handle(), sizeof one, &one);
  }
}

Pool::~Pool() {
  stop_.store(true);
  signal_.fetch_add(1);
  Wake(&signal_, threads());
  for (std::thread& t : workers_) t.join();
}

// Claims and runs one task; false when none is left.
bool Pool::WorkOnce() {
  uint64_t word = unclaimed_.load(std::memory_order_acquire);
  do {
    if (static_cast<uint32_t>(word) == 0) return false;
  } while (!unclaimed_.compare_exchange_weak(word, word - 1, std::memory_order_acq_rel));
  // The run cannot end, nor another begin, before the claimed task is done.
  const uint32_t tasks = tasks_;
  task_(context_, tasks - static_cast<uint32_t>(word));
  if (done_.fetch_add(1) + 1 == tasks && caller_sleeps_.load() != 0) Wake(&done_, 1);
  return true;
}

void Pool::RunShared(uint32_t tasks, Task task, const void* context) {
  tasks_ = tasks;
  task_ = task;
  context_ = context;
  done_.store(0);
  const uint64_t run = (unclaimed_.load() >> 32) + 1;
  unclaimed_.store(run << 32 | tasks);
  signal_.fetch_add(1);
  if (sleepers_.load() != 0) Wake(&signal_, threads());
  while (WorkOnce()) {
  }
  for (int i = 0; i < kSpins && done_.load() != tasks; ++i) _mm_pause();
  if (done_.load() == tasks) return;
  caller_sleeps_.store(1);
  for (uint32_t seen; (seen = done_.load()) != tasks;) Sleep(&done_, seen);
  caller_sleeps_.store(0);
}

void Pool::WorkerLoop() {
  int idle = 0;
  for (;;) {
    const uint32_t seen = signal_.load();
    if (stop_.load()) return;
    if (WorkOnce()) {
      idle = 0;
    } else if (++idle < kSpins) {
      _mm_pause();
    } else {
      sleepers_.fetch_add(1);
      // Between reading signal_ and here a run may have begun: then signal_ is no longer `seen`.
      Sleep(&signal_, seen);
      sleepers_.fetch_sub(1);
      idle = 0;
    }
  }
}

}  // namespace mariana
