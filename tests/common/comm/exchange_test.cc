// The exchange among workers of one process, each a thread of the test.
#include "common/comm/exchange.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <thread>

#include "common/base/error.h"
#include "common/base/random.h"

namespace mariana {
namespace {

constexpr Topology kTopologies[] = {Topology::kLinear, Topology::kRing};

// Uneven: nothing at all, fewer elements than workers, fewer than 16 a worker, no multiple of 16.
const std::vector<Range> kUneven = {{0, 5}, {16, 16}, {16, 67}, {80, 1107}, {1120, 4000}};

// Random waits between calls, without sleeping.
void Dawdle(RandomSequence* random) {
  for (uint64_t i = random->Below(20); i-- > 0;) std::this_thread::yield();
}

struct Job {
  explicit Job(ExchangeOptions o, int64_t elements)
      : options(o), received(o.workers), group(ExchangeGroup::Make(o)) {
    for (int w = 0; w < o.workers; ++w) {
      grads.emplace_back(elements);
      values.emplace_back(elements);
      received[w].resize(elements);
    }
    for (int w = 0; w < o.workers; ++w) {
      ends.push_back(group->Join(w, nullptr, grads[w].data(), values[w].data(),
                                 [this, w](int64_t begin, int64_t n) {
                                   for (int64_t i = begin; i < begin + n; ++i) ++received[w][i];
                                 }));
    }
  }

  // body(worker) on a thread each; returns what they threw, as "code message", or "".
  template <class Body>
  std::vector<std::string> Run(Body body) {
    std::vector<std::string> errors(options.workers);
    std::vector<std::thread> threads;
    for (int w = 0; w < options.workers; ++w) {
      threads.emplace_back([&, w] {
        try {
          body(w);
        } catch (const Error& e) {
          errors[w] = StrCat(static_cast<int>(e.code()), " ", e.message());
        }
      });
    }
    for (auto& t : threads) t.join();
    return errors;
  }

  ExchangeOptions options;
  std::vector<std::vector<float>> grads, values;
  std::vector<std::vector<int>> received;  // [worker][element]: times it came from another
  std::vector<Exchange*> ends;             // [worker]
  std::unique_ptr<ExchangeGroup> group;    // last: its threads use the arenas
};

ExchangeOptions Options(Topology t, int n, std::vector<Range> buckets, int64_t chunk = 64) {
  ExchangeOptions o;
  o.topology = t;
  o.workers = n;
  o.buckets = std::move(buckets);
  o.chunk_elements = chunk;
  return o;
}

float Gradient(int step, int worker, int64_t i) {
  return 2 * ToUnit(Philox(step, worker, static_cast<uint64_t>(i)).v[0]) - 1;
}

// The sum of x over all workers in the order of the topology, in the arithmetic of T.
template <class T, class X>
T Sum(Topology t, int n, int owner, X x) {
  const auto fold = [&](int from, int to, int by) {
    T sum = x(from);
    for (int w = from; w != to;) {
      w = (w + by + n) % n;
      sum += x(w);
    }
    return sum;
  };
  if (t == Topology::kRing) return fold((owner + 1) % n, owner, 1);
  const T left = fold(0, owner, 1);
  return owner == n - 1 ? left : left + fold(n - 1, owner + 1, -1);
}

// One worker's whole step: fills gradients, collects the buckets in an order of its own, commits,
// takes value -= sum in its slices, distributes in another order, waits in a third.
void Step(Job* job, int w, int step, RandomSequence* random) {
  Exchange* const e = job->ends[w];
  const auto& buckets = job->options.buckets;
  std::vector<int> order(buckets.size());
  std::iota(order.begin(), order.end(), 0);
  const auto shuffle = [&] {
    for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[random->Below(i)]);
  };
  shuffle();
  for (int b : order) {
    for (int64_t i = buckets[b].begin; i < buckets[b].end; ++i) {
      job->grads[w][i] = Gradient(step, w, i);
    }
    e->Collect(b);
    Dawdle(random);
  }
  e->FinishCollect();
  CommitValues mine;
  mine.samples = 1;
  if (e->Commit(mine).samples != job->options.workers) throw Error(ExitCode::kInternal, "samples");
  shuffle();
  for (int b : order) {
    const Range own = e->Owned(b);
    for (int64_t i = own.begin; i < own.end; ++i) job->values[w][i] -= job->grads[w][i];
    e->Distribute(b);
    Dawdle(random);
  }
  shuffle();
  for (int b : order) e->WaitValues(b);
}

void CheckSteps(Topology t, int n, const std::vector<Range>& buckets, int64_t chunk, int steps,
                uint64_t seed) {
  const int64_t elements = buckets.empty() ? 0 : buckets.back().end;
  Job job(Options(t, n, buckets, chunk), elements);
  const auto errors = job.Run([&](int w) {
    RandomSequence random(seed, w);
    for (int s = 0; s < steps; ++s) Step(&job, w, s, &random);
  });
  for (const auto& e : errors) REQUIRE(e == "");

  for (const Range& bucket : buckets) {
    for (int p = 0; p < n; ++p) {
      const Range slice = SliceOf(bucket, p, n);
      for (int64_t i = slice.begin; i < slice.end; ++i) {
        float value = 0;
        for (int s = 0; s < steps; ++s) {
          const auto g = [&](int w) { return Gradient(s, w, i); };
          const float sum = Sum<float>(t, n, p, g);
          REQUIRE(std::abs(sum - Sum<double>(t, n, p, g)) < 1e-6 * n);
          value -= sum;
        }
        for (int w = 0; w < n; ++w) {
          REQUIRE(job.values[w][i] == value);  // the same bits, whatever the order of calls
          REQUIRE(job.received[w][i] == (w == p ? 0 : steps));
        }
      }
    }
  }
  for (const LinkBytes& link : job.group->Traffic()) {
    const LinkBytes one = ExpectedTraffic(t, n, buckets, link.from, link.to);
    REQUIRE(link.collect == one.collect * steps);
    REQUIRE(link.distribute == one.distribute * steps);
  }
}

TEST_CASE("1 to 6 workers keep one model: exact sums, same bits, bytes by the formula") {
  for (Topology t : kTopologies) {
    for (int n = 1; n <= 6; ++n) {
      CAPTURE(Name(t), n);
      CheckSteps(t, n, kUneven, 64, 3, 100 + n);
    }
  }
}

TEST_CASE("random bucket layouts, chunk sizes and orders of calls") {
  RandomSequence random(11, 0);
  for (int trial = 0; trial < 40; ++trial) {
    std::vector<Range> buckets;
    int64_t at = 0;
    for (uint64_t b = random.Below(7); b-- > 0;) {
      const int64_t size = static_cast<int64_t>(random.Below(random.Below(2) ? 40 : 900));
      buckets.push_back({at, at + size});
      at += (size + 15) / 16 * 16;
    }
    const int n = 1 + static_cast<int>(random.Below(6));
    const int64_t chunk = 1 + static_cast<int64_t>(random.Below(300));
    CAPTURE(trial, n, chunk, buckets.size());
    CheckSteps(kTopologies[trial % 2], n, buckets, chunk, 2, 1000 + trial);
  }
}

TEST_CASE("commit adds in worker order whoever comes first, and tells all the same") {
  const double losses[] = {1e16, 1.0, -1e16, 3.0};  // every order has another sum
  for (int trial = 0; trial < 50; ++trial) {
    Job job(Options(Topology::kLinear, 4, {}), 0);
    std::vector<CommitValues> got(4);
    job.Run([&](int w) {
      RandomSequence random(trial, w);
      Dawdle(&random);
      CommitValues mine;
      mine.loss = losses[w];
      mine.squared_norm = w == 2 ? std::numeric_limits<double>::quiet_NaN() : 1;
      mine.correct = w;
      mine.samples = 10;
      mine.stop = w == trial % 5;  // once in five, nobody
      got[w] = job.ends[w]->Commit(mine);
    });
    for (const CommitValues& c : got) {
      CHECK(c.loss == ((1e16 + 1.0) + -1e16) + 3.0);
      CHECK(std::isnan(c.squared_norm));
      CHECK(c.correct == 6);
      CHECK(c.samples == 40);
      CHECK(c.stop == (trial % 5 < 4));
    }
  }
}

TEST_CASE("gather hands everyone all parts in worker order, of any length") {
  Job job(Options(Topology::kRing, 3, {}), 0);
  const auto errors = job.Run([&](int w) {
    RandomSequence random(5, w);
    for (int round = 0; round < 50; ++round) {
      const std::vector<float> mine(static_cast<size_t>((w + round) % 3), 10.0f * round + w);
      std::vector<float> expected, all(7, -1.0f);
      for (int v = 0; v < 3; ++v) {
        expected.insert(expected.end(), static_cast<size_t>((v + round) % 3), 10.0f * round + v);
      }
      Dawdle(&random);
      job.ends[w]->GatherHost(mine.data(), static_cast<int64_t>(mine.size()), &all);
      if (all != expected) throw Error(ExitCode::kInternal, StrCat("round ", round));
    }
  });
  for (const auto& e : errors) CHECK(e == "");
}

TEST_CASE("one worker alone needs no thread, no link, and never waits") {
  const auto threads = [] {
    return std::distance(std::filesystem::directory_iterator("/proc/self/task"),
                         std::filesystem::directory_iterator());
  };
  const auto before = threads();
  Job job(Options(Topology::kRing, 1, {{0, 100}}), 100);
  CHECK(threads() == before);
  RandomSequence random(1, 1);
  Step(&job, 0, 0, &random);
  std::vector<float> all;
  const float two[] = {1, 2};
  job.ends[0]->GatherHost(two, 2, &all);
  CHECK(all == std::vector<float>{1, 2});
  CHECK(job.group->Traffic().empty());
  CHECK(job.ends[0]->Owned(0).size() == 100);
}

TEST_CASE("a worker's failure reaches the others in whatever phase they are") {
  const std::vector<Range> buckets = {{0, 1000}, {1008, 3000}};
  const char* const phases[] = {"collect", "commit", "gather", "values", "later"};
  for (Topology t : kTopologies) {
    for (const std::string phase : phases) {
      CAPTURE(Name(t), phase);
      Job job(Options(t, 4, buckets), 3000);
      const auto errors = job.Run([&](int w) {
        Exchange* const e = job.ends[w];
        const auto fails_at = [&](const std::string& here) {
          if (phase == here && w == 2) {
            job.group->Abort(2, "backward", 76, "loss is not finite");
            job.group->Abort(2, "unwinding", 70, "never seen");
          }
          return phase == here && w == 2;
        };
        for (int b : {1, 0}) {
          if (b == 0 && fails_at("collect")) break;
          e->Collect(b);
        }
        e->FinishCollect();
        fails_at("commit");
        e->Commit({});
        for (int b : {0, 1}) {
          if (b == 1 && fails_at("values")) break;
          e->Distribute(b);
        }
        for (int b : {0, 1}) e->WaitValues(b);
        fails_at("gather");
        std::vector<float> all;
        e->GatherHost(nullptr, 0, &all);
        if (w == 2) job.group->Abort(2, "backward", 76, "loss is not finite");
        for (;;) e->Commit({});  // until the failure shows
      });
      for (const auto& e : errors) CHECK(e == "76 worker 2, backward: loss is not finite");
      for (Exchange* e : job.ends) {  // and for ever after
        std::vector<float> all;
        CHECK_THROWS_AS(e->Collect(0), Error);
        CHECK_THROWS_AS(e->FinishCollect(), Error);
        CHECK_THROWS_AS(e->GatherHost(nullptr, 0, &all), Error);
        CHECK_THROWS_AS(e->Distribute(0), Error);
        CHECK_THROWS_AS(e->WaitValues(0), Error);
      }
    }
  }
}

TEST_CASE("an exception while values arrive is the worker's failure") {
  auto group = ExchangeGroup::Make(Options(Topology::kLinear, 2, {{0, 64}}));
  std::vector<float> arena(64 * 4);
  Exchange* const ends[] = {group->Join(0, nullptr, &arena[0], &arena[64], nullptr),
                            group->Join(1, nullptr, &arena[128], &arena[192], [](int64_t, int64_t) {
                              throw Error(ExitCode::kIo, "no memory");
                            })};
  std::string errors[2];
  std::vector<std::thread> threads;
  for (int w = 0; w < 2; ++w) {
    threads.emplace_back([&, w] {
      try {
        ends[w]->Distribute(0);
        ends[w]->WaitValues(0);
        ends[w]->Commit({});
      } catch (const Error& e) {
        errors[w] = e.message();
      }
    });
  }
  for (auto& t : threads) t.join();
  CHECK(errors[0] == "worker 1, exchange: no memory");
  CHECK(errors[1] == "worker 1, exchange: no memory");
}

// What `body` says on stderr before it aborts; "" if it lives.
template <class Body>
std::string LastWords(Body body) {
  int ends[2];
  REQUIRE(pipe(ends) == 0);
  const pid_t child = fork();
  if (child == 0) {
    dup2(ends[1], STDERR_FILENO);
    signal(SIGABRT, SIG_DFL);
    body();
    _exit(0);
  }
  close(ends[1]);
  std::string words;
  char buffer[4096];
  for (ssize_t n; (n = read(ends[0], buffer, sizeof buffer)) > 0;) {
    words.append(buffer, static_cast<size_t>(n));
  }
  close(ends[0]);
  int status = 0;
  waitpid(child, &status, 0);
  return WIFSIGNALED(status) ? words : "";
}

TEST_CASE("calls against the protocol are caught, whatever the timing") {
  using Catch::Contains;
  Job job(Options(Topology::kLinear, 1, {{0, 64}}), 64);
  Exchange* const e = job.ends[0];
  CHECK_THAT(LastWords([&] {
               e->Collect(0);
               e->Collect(0);
             }),
             Contains("collected twice"));
  CHECK_THAT(LastWords([&] {
               e->Distribute(0);
               e->Collect(0);
             }),
             Contains("before WaitValues"));
  CHECK_THAT(LastWords([&] {
               e->Collect(0);
               e->Commit({});
             }),
             Contains("before FinishCollect"));
  CHECK_THAT(LastWords([&] {
               e->Distribute(0);
               e->Commit({});
             }),
             Contains("before WaitValues"));
  CHECK_THAT(LastWords([&] {
               e->Collect(0);
               e->FinishCollect();
               e->Distribute(0);
             }),
             Contains("before Commit"));
  CHECK_THAT(LastWords([&] {
               e->Distribute(0);
               e->WaitValues(0);
               e->Distribute(0);
             }),
             Contains("without a Commit"));
  CHECK_THAT(LastWords([&] { e->Collect(1); }), Contains("bucket 1"));
}

TEST_CASE("waiting is measured by the clock of the group") {
  const auto clock = Clock::MakeVirtual();
  const ClockThread registered(clock.get(), "test");
  ExchangeOptions options = Options(Topology::kLinear, 2, {{0, 100}});
  options.clock = clock.get();
  Job job(options, 100);
  std::vector<std::unique_ptr<ClockedThread>> threads;
  for (int w = 0; w < 2; ++w) {
    threads.push_back(std::make_unique<ClockedThread>(clock.get(), StrCat("worker ", w), [&, w] {
      Exchange* const e = job.ends[w];
      const auto late = [&](int64_t ms) {
        if (w == 0) clock->SleepFor(ms * 1000000);
      };
      late(1);
      e->Collect(0);
      e->FinishCollect();
      late(20);
      e->Commit({});
      late(300);
      e->Distribute(0);
      e->WaitValues(0);
    }));
  }
  for (auto& t : threads) t->Join();
  const auto waited = job.ends[1]->WaitSeconds();
  REQUIRE(waited.size() == 3);
  CHECK(waited[0] == Approx(0.001));
  CHECK(waited[1] == Approx(0.020));
  CHECK(waited[2] == Approx(0.300));
  for (double s : job.ends[0]->WaitSeconds()) CHECK(s == 0);
}

}  // namespace
}  // namespace mariana
