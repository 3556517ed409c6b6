// Clock, CondVar, Queue, ClockThread, ClockedThread: real and virtual time.
#include "common/base/clock.h"

#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <catch2/catch.hpp>
#include <functional>
#include <vector>

namespace mariana {
namespace {

constexpr int64_t kHour = 3600ll * 1000 * 1000 * 1000;

// What `body` writes to stderr before it dies of a CHECK, in a process of its own.
std::string DeathMessage(const std::function<void()>& body) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    const rlimit no_core{0, 0};
    setrlimit(RLIMIT_CORE, &no_core);
    signal(SIGABRT, SIG_DFL);  // Catch2's handler would report the test as its own
    dup2(ends[1], STDERR_FILENO);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string message;
  char part[512];
  for (ssize_t n; (n = read(ends[0], part, sizeof part)) > 0;) {
    message.append(part, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  REQUIRE(WIFSIGNALED(status));
  CHECK(WTERMSIG(status) == SIGABRT);
  return message;
}

// Catch2's assertions are not thread-safe: threads note what they see, and the test checks it.

TEST_CASE("a deadlock in virtual time dies naming the threads that wait") {
  const std::string message = DeathMessage([] {
    auto clock = Clock::MakeVirtual();
    ClockThread main(clock.get(), "main");
    Queue<int> never(clock.get(), 1);
    ClockedThread trainer(clock.get(), "trainer 0", [&] { never.Pop(); });
    ClockedThread reader(clock.get(), "reader", [&] {
      clock->SleepFor(kHour);
      never.Pop();
    });
    never.Pop();
  });
  CHECK_THAT(message, Catch::Contains("deadlock"));
  CHECK_THAT(message, Catch::Contains("main, trainer 0, reader"));
}

TEST_CASE("a thread that is not registered cannot unregister") {
  CHECK_THAT(DeathMessage([] {
               auto clock = Clock::MakeVirtual();
               auto* registered = new ClockThread(clock.get(), "here");
               std::thread([registered] { delete registered; }).join();
             }),
             Catch::Contains("not registered"));
}

TEST_CASE("the real clock moves by itself and a deadline in the past does not wait") {
  Clock* clock = Clock::Real();
  const int64_t start = clock->NowNs();
  clock->SleepFor(2'000'000);
  CHECK(clock->NowNs() - start >= 2'000'000);
  clock->SleepFor(-5);
  std::mutex mutex;
  std::unique_lock<std::mutex> lock(mutex);
  CondVar cv(clock);
  CHECK_FALSE(cv.WaitUntil(&lock, start, [] { return false; }));
  CHECK(cv.WaitUntil(&lock, start, [] { return true; }));
  CHECK(cv.clock() == clock);
}

TEST_CASE("the real clock wakes waiters that are notified") {
  Clock* clock = Clock::Real();
  std::mutex mutex;
  CondVar cv(clock);
  int stage = 0;
  ClockedThread other(clock, "other", [&] {
    std::unique_lock<std::mutex> lock(mutex);
    cv.Wait(&lock, [&] { return stage == 1; });
    stage = 2;
    cv.NotifyAll();
  });
  std::unique_lock<std::mutex> lock(mutex);
  stage = 1;
  cv.NotifyOne();
  cv.Wait(&lock, [&] { return stage == 2; });
  CHECK(stage == 2);
}

TEST_CASE("virtual time starts at zero and jumps over a sleep of one thread") {
  auto clock = Clock::MakeVirtual();
  CHECK(clock->NowNs() == 0);
  clock->SleepFor(kHour);  // no thread is registered: nobody to wait for
  CHECK(clock->NowNs() == kHour);
  ClockThread main(clock.get(), "main");
  ClockThread again(clock.get(), "main once more");
  clock->SleepFor(kHour);
  CHECK(clock->NowSeconds() == 7200.0);
  clock->SleepFor(0);
  clock->SleepFor(-1);
  CHECK(clock->NowNs() == 2 * kHour);
}

TEST_CASE("virtual time visits every deadline of several threads in order") {
  auto clock = Clock::MakeVirtual();
  std::vector<std::pair<int, int64_t>> visits;  // only one thread is awake at a time
  {
    ClockThread main(clock.get(), "main");
    std::vector<std::unique_ptr<ClockedThread>> threads;
    for (int id = 0; id < 4; ++id) {
      threads.push_back(
          std::make_unique<ClockedThread>(clock.get(), "sleeper " + std::to_string(id), [&, id] {
            for (int i = 1; i <= 3; ++i) {
              clock->SleepFor((id % 2 + 1) * kHour);
              visits.emplace_back(id, clock->NowNs() / kHour);
            }
          }));
    }
    for (auto& thread : threads) thread->Join();
  }
  // Due at one time: in the order of registration.
  const std::vector<std::pair<int, int64_t>> expected{{0, 1}, {2, 1}, {0, 2}, {1, 2},
                                                      {2, 2}, {3, 2}, {0, 3}, {2, 3},
                                                      {1, 4}, {3, 4}, {1, 6}, {3, 6}};
  CHECK(visits == expected);
  CHECK(clock->NowNs() == 6 * kHour);
}

TEST_CASE("registered threads run one at a time, in the order in which they became able to") {
  auto clock = Clock::MakeVirtual();
  std::mutex mutex;
  CondVar cv(clock.get());
  bool go = false;
  std::atomic<int> running{0}, most{0};
  std::vector<int> started, notified;
  const auto work = [&](std::vector<int>* order, int id) {
    most = std::max<int>(most, ++running);
    for (int i = 0; i < 1000; ++i) std::this_thread::yield();
    order->push_back(id);
    --running;
  };
  {
    ClockThread main(clock.get(), "main");
    std::vector<std::unique_ptr<ClockedThread>> threads;
    for (int id = 0; id < 4; ++id) {
      threads.push_back(std::make_unique<ClockedThread>(clock.get(), "thread", [&, id] {
        work(&started, id);
        clock->SleepFor(4 - id);  // 3 waits first
        std::unique_lock<std::mutex> lock(mutex);
        cv.Wait(&lock, [&] { return go; });
        lock.unlock();
        work(&notified, id);
      }));
    }
    clock->SleepFor(10);
    go = true;
    cv.NotifyAll();
    for (auto& thread : threads) thread->Join();
  }
  CHECK(most == 1);
  CHECK(started == std::vector<int>{0, 1, 2, 3});
  CHECK(notified == std::vector<int>{3, 2, 1, 0});
}

TEST_CASE("virtual time stands still while a registered thread works or has yet to start") {
  auto clock = Clock::MakeVirtual();
  std::atomic<int64_t> seen{-1};
  {
    ClockThread main(clock.get(), "main");
    ClockedThread worker(clock.get(), "worker", [&] {
      for (int i = 0; i < 1000; ++i) std::this_thread::yield();
      seen = clock->NowNs();
      clock->SleepFor(1);
    });
    clock->SleepFor(kHour);  // may only pass once `worker` has started and sleeps too
  }
  CHECK(seen == 0);
  CHECK(clock->NowNs() == kHour);
}

TEST_CASE("a notified waiter keeps virtual time where it is") {
  auto clock = Clock::MakeVirtual();
  std::mutex mutex;
  CondVar cv(clock.get());
  bool ready = false;
  int64_t woken_at = -1;
  bool first = false, second = true;
  {
    ClockThread main(clock.get(), "main");
    ClockedThread waiter(clock.get(), "waiter", [&] {
      std::unique_lock<std::mutex> lock(mutex);
      first = cv.WaitUntil(&lock, 5 * kHour, [&] { return ready; });
      woken_at = clock->NowNs();
      second = cv.WaitUntil(&lock, 3 * kHour, [&] { return !ready; });
    });
    clock->SleepFor(kHour);
    {
      std::unique_lock<std::mutex> lock(mutex);
      ready = true;
    }
    cv.NotifyOne();
  }
  CHECK(first);
  CHECK(woken_at == kHour);
  CHECK_FALSE(second);
  CHECK(clock->NowNs() == 3 * kHour);
}

TEST_CASE("NotifyOne wakes one waiter, first come first served") {
  auto clock = Clock::MakeVirtual();
  std::mutex mutex;
  CondVar cv(clock.get());
  int tokens = 0;
  std::vector<int> served;
  {
    ClockThread main(clock.get(), "main");
    std::vector<std::unique_ptr<ClockedThread>> threads;
    for (int id = 0; id < 3; ++id) {
      threads.push_back(std::make_unique<ClockedThread>(clock.get(), "waiter", [&, id] {
        clock->SleepFor(3 - id);  // 2 comes first
        std::unique_lock<std::mutex> lock(mutex);
        cv.Wait(&lock, [&] { return tokens > 0; });
        --tokens;
        served.push_back(id);
      }));
    }
    for (int i = 0; i < 3; ++i) {
      clock->SleepFor(10);
      std::unique_lock<std::mutex> lock(mutex);
      ++tokens;
      cv.NotifyOne();
    }
    for (auto& thread : threads) thread->Join();
  }
  CHECK(served == std::vector<int>{2, 1, 0});
}

TEST_CASE("a queue hands everything over in order and never holds more than its capacity") {
  auto clock = Clock::MakeVirtual();
  ClockThread main(clock.get(), "main");
  Queue<std::unique_ptr<int>> queue(clock.get(), 3);
  size_t largest = 0;
  int pushed = 0;
  ClockedThread producer(clock.get(), "producer", [&] {
    for (int i = 0; i < 100; ++i) pushed += queue.Push(std::make_unique<int>(i)) ? 1 : 0;
    queue.Close();
  });
  for (int i = 0; i < 100; ++i) {
    clock->SleepFor(1);  // the producer has filled the queue by then
    largest = std::max(largest, queue.size());
    const auto value = queue.Pop();
    REQUIRE(value.has_value());
    CHECK(**value == i);
  }
  CHECK_FALSE(queue.Pop().has_value());
  producer.Join();
  CHECK(pushed == 100);
  CHECK(largest == 3);
}

TEST_CASE("a closed queue is drained, then gives nothing, and refuses new values") {
  Queue<int> queue(Clock::Real(), 4);
  CHECK(queue.Push(1));
  CHECK(queue.Push(2));
  queue.Close();
  queue.Close();
  CHECK_FALSE(queue.Push(3));
  CHECK(queue.Pop() == 1);
  CHECK(queue.Pop() == 2);
  CHECK_FALSE(queue.Pop().has_value());
}

TEST_CASE("Close releases a reader of an empty queue and a writer of a full one") {
  for (const bool is_virtual : {false, true}) {
    auto owned = Clock::MakeVirtual();
    Clock* clock = is_virtual ? owned.get() : Clock::Real();
    Queue<int> empty(clock, 1), full(clock, 1);
    ClockThread main(clock, "main");
    REQUIRE(full.Push(0));
    std::atomic<int> released{0};
    ClockedThread reader(clock, "reader", [&] { released += empty.Pop().has_value() ? 0 : 1; });
    ClockedThread writer(clock, "writer", [&] { released += full.Push(1) ? 0 : 1; });
    clock->SleepFor(1000);  // virtual: both wait by now
    empty.Close();
    full.Close();
    reader.Join();
    writer.Join();
    writer.Join();
    CHECK(released == 2);
    CHECK(full.Pop() == 0);
  }
}

TEST_CASE("many producers and consumers lose nothing on either clock") {
  for (const bool is_virtual : {false, true}) {
    auto owned = Clock::MakeVirtual();
    Clock* clock = is_virtual ? owned.get() : Clock::Real();
    ClockThread main(clock, "main");
    Queue<int> queue(clock, 2);
    std::atomic<int64_t> sum{0}, count{0};
    {
      std::vector<std::unique_ptr<ClockedThread>> consumers, producers;
      for (int c = 0; c < 3; ++c) {
        consumers.push_back(std::make_unique<ClockedThread>(clock, "consumer", [&] {
          while (const auto value = queue.Pop()) {
            sum += *value;
            ++count;
          }
        }));
      }
      for (int p = 0; p < 3; ++p) {
        producers.push_back(std::make_unique<ClockedThread>(clock, "producer", [&, p] {
          for (int i = 0; i < 200; ++i) queue.Push(p * 200 + i);
        }));
      }
      for (auto& producer : producers) producer->Join();
      queue.Close();
    }
    CHECK(count == 600);
    CHECK(sum == 600 * 599 / 2);
  }
}

}  // namespace
}  // namespace mariana
