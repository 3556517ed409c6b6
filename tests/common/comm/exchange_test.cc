// The exchange among workers, each a thread of the test: of one process, or of several ranks that
// are threads too.
#include "common/comm/exchange.h"

#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <limits>
#include <numeric>
#include <thread>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/comm/wire.h"
#include "common/comm/world.h"
#include "common/comm/world_parts.h"
#include "common/device/device.h"

namespace mariana {
namespace {

constexpr Topology kTopologies[] = {Topology::kLinear, Topology::kRing, Topology::kTwoLevel};

// Uneven: nothing at all, fewer elements than workers, fewer than 16 a worker, no multiple of 16.
const std::vector<Range> kUneven = {{0, 5}, {16, 16}, {16, 67}, {80, 1107}, {1120, 4000}};

// Random waits between calls, without sleeping.
void Dawdle(RandomSequence* random) {
  for (uint64_t i = random->Below(20); i-- > 0;) std::this_thread::yield();
}

struct Job {
  explicit Job(const ExchangeOptions& o, int64_t elements, int ranks = 1)
      : options(o), received(o.workers), ends(o.workers), devices(o.workers), groups(ranks) {
    for (int w = 0; w < o.workers; ++w) {
      grads.emplace_back(elements);
      values.emplace_back(elements);
      received[w].resize(elements);
      rank_of.push_back(w * ranks / o.workers);
    }
    if (ranks == 1) {
      Make(0);
      return;
    }
    std::vector<std::string> nodes;
    for (int r = 0; r < ranks; ++r) nodes.push_back(StrCat("node", r));
    worlds = MakeThreadWorlds(nodes, o.clock);
    OnThreads(ranks, [this](int r) { Make(r); });
  }
  ~Job() {  // each waits for others to take what it sent
    OnThreads(static_cast<int>(groups.size()), [this](int r) { groups[r].reset(); });
  }

  void Make(int rank) {
    ExchangeOptions o = options;
    if (!worlds.empty()) {
      o.world = worlds[rank].get();
      o.rank_of = rank_of;
    }
    groups[rank] = ExchangeGroup::Make(o);
    for (int w = 0; w < o.workers; ++w) {
      if (rank_of[w] != rank) continue;
      if (o.device_memory) devices[w] = MakeCpuDevice(w, 1, -1);
      ends[w] = groups[rank]->Join(w, devices[w].get(), grads[w].data(), values[w].data(),
                                   [this, w](int64_t begin, int64_t n) {
                                     for (int64_t i = begin; i < begin + n; ++i) ++received[w][i];
                                   });
    }
  }

  template <class Body>
  static void OnThreads(int n, Body body) {
    std::vector<std::thread> threads;
    for (int i = 1; i < n; ++i) threads.emplace_back([&, i] { body(i); });
    body(0);
    for (auto& t : threads) t.join();
  }

  ExchangeGroup* group(int worker) { return groups[rank_of[worker]].get(); }

  // body(worker) on a thread each; returns what they threw, as "code message", or "".
  template <class Body>
  std::vector<std::string> Run(Body body) {
    std::vector<std::string> errors(options.workers);
    OnThreads(options.workers, [&](int w) {
      try {
        body(w);
      } catch (const Error& e) {
        errors[w] = StrCat(static_cast<int>(e.code()), " ", e.message());
      }
    });
    return errors;
  }

  ExchangeOptions options;
  std::vector<std::vector<float>> grads, values;
  std::vector<std::vector<int>> received;  // [worker][element]: times it came from another
  std::vector<Exchange*> ends;             // [worker]
  std::vector<int> rank_of;
  std::vector<std::unique_ptr<Device>> devices;        // of options.device_memory
  std::vector<std::unique_ptr<World>> worlds;          // of more than one rank
  std::vector<std::unique_ptr<ExchangeGroup>> groups;  // by rank; last: threads use the arenas
};

ExchangeOptions Options(Topology t, int n, std::vector<Range> buckets, int64_t chunk = 64) {
  ExchangeOptions o;
  o.topology = t;
  o.workers = n;
  o.buckets = std::move(buckets);
  o.chunk_elements = chunk;
  for (int w = 0; t == Topology::kTwoLevel && w < n; ++w) {
    o.node_of.push_back(w * (n % 3 == 0 ? 3 : 2) / n);  // one worker a node, several, uneven
  }
  if (n == 1) o.node_of.clear();
  return o;
}

float Gradient(int step, int worker, int64_t i) {
  return 2 * ToUnit(Philox(step, worker, static_cast<uint64_t>(i)).v[0]) - 1;
}

// The sum of gradients of element i over all workers in the order of the topology; a partial sum
// is rounded each time it moves on.
float Sum(const ExchangeOptions& o, int owner, int step, int64_t i) {
  const auto moved = [&](float sum) {
    Round(o.collect_wire, kGradientScale, &sum, 1);
    return sum;
  };
  const auto fold = [&](int from, int to, int by) {  // of the chain's workers before `to`
    float sum = Gradient(step, from, i);
    for (int w = from + by; w != to; w += by) sum = Gradient(step, w, i) + moved(sum);
    return sum;
  };
  const auto chain = [&](int first, int size, int to) {
    float sum = Gradient(step, to, i);
    if (to > first) sum += moved(fold(first, to, 1));
    if (to < first + size - 1) sum += moved(fold(first + size - 1, to, -1));
    return sum;
  };
  if (o.topology == Topology::kLinear) return chain(0, o.workers, owner);
  // A ring of nodes; of single workers if it is the plain one.
  std::vector<int> first, size;
  const bool nodes = o.topology == Topology::kTwoLevel && !o.node_of.empty();
  int home = 0;
  for (int w = 0; w < o.workers; ++w) {
    if (w == 0 || o.topology == Topology::kRing || (nodes && o.node_of[w] != o.node_of[w - 1])) {
      first.push_back(w);
      size.push_back(0);
    }
    ++size.back();
    if (w == owner) home = static_cast<int>(first.size()) - 1;
  }
  const int k = static_cast<int>(first.size());
  float sum = 0;
  for (int hop = 1; hop <= k; ++hop) {
    const int at = (home + hop) % k;
    const float here = chain(first[at], size[at], first[at] + (owner - first[home]) % size[at]);
    sum = hop == 1 ? here : here + moved(sum);
  }
  return sum;
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

void CheckSteps(const ExchangeOptions& o, int ranks, int steps, uint64_t seed) {
  const int n = o.workers;
  Job job(o, o.buckets.empty() ? 0 : o.buckets.back().end, ranks);
  const auto errors = job.Run([&](int w) {
    RandomSequence random(seed, w);
    for (int s = 0; s < steps; ++s) Step(&job, w, s, &random);
  });
  for (const auto& e : errors) REQUIRE(e == "");

  const double unit = o.collect_wire == Wire::kF32   ? 1e-6
                      : o.collect_wire == Wire::kF16 ? 1e-3
                                                     : 1e-2;
  for (const Range& bucket : o.buckets) {
    for (int p = 0; p < n; ++p) {
      const Range slice = SliceOf(bucket, p, n);
      for (int64_t i = slice.begin; i < slice.end; ++i) {
        float value = 0;
        for (int s = 0; s < steps; ++s) {
          double exact = 0;
          for (int w = 0; w < n; ++w) exact += Gradient(s, w, i);
          const float sum = Sum(o, p, s, i);
          REQUIRE(std::abs(sum - exact) < unit * n);
          value -= sum;
          Round(o.distribute_wire, kValueScale, &value, 1);
        }
        for (int w = 0; w < n; ++w) {
          REQUIRE(job.values[w][i] == value);  // the same bits, whatever the order of calls
          REQUIRE(job.received[w][i] == (w == p ? 0 : steps));
        }
      }
    }
  }
  for (const auto& group : job.groups) {
    for (const LinkBytes& link : group->Traffic()) {
      const LinkBytes one =
          ExpectedTraffic(o, o.buckets, link.from, link.to, o.collect_wire, o.distribute_wire);
      REQUIRE(link.collect == one.collect * steps);
      REQUIRE(link.distribute == one.distribute * steps);
    }
  }
}

TEST_CASE("1 to 8 workers keep one model: exact sums, same bits, bytes by the formula") {
  for (Topology t : kTopologies) {
    for (int n : {1, 2, 3, 4, 5, 6, 8}) {
      CAPTURE(Name(t), n);
      CheckSteps(Options(t, n, kUneven), 1, 3, 100 + n);
    }
  }
}

TEST_CASE("workers spread over ranks end in the same bits as in one process, whatever travels") {
  const Wire wires[] = {Wire::kF32, Wire::kBf16, Wire::kF16};
  for (Topology t : kTopologies) {
    for (int n : {2, 3, 5}) {
      for (int ranks : {1, 2, n}) {
        ExchangeOptions o = Options(t, n, kUneven);
        o.collect_wire = wires[(n + ranks) % 3];
        o.distribute_wire = wires[(n * ranks + 1) % 3];
        CAPTURE(Name(t), n, ranks, Name(o.collect_wire), Name(o.distribute_wire));
        CheckSteps(o, ranks, 3, 200 + n);
      }
    }
  }
}

TEST_CASE("memory of devices: from one to another, and through the host's between ranks") {
  for (Topology t : kTopologies) {
    for (int n : {2, 3, 5}) {
      for (int ranks : {1, 2, n}) {
        ExchangeOptions o = Options(t, n, kUneven);
        o.device_memory = true;
        CAPTURE(Name(t), n, ranks);
        CheckSteps(o, ranks, 3, 300 + n);
      }
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
    CheckSteps(Options(kTopologies[trial % 3], n, buckets, chunk), 1 + trial % 2 * (n - 1), 2,
               1000 + trial);
  }
}

TEST_CASE("values of an arena that no cache holds arrive too, at any alignment") {
  const int64_t large = 5 << 20;  // 20 MB
  const ExchangeOptions o = Options(Topology::kLinear, 2, {{0, 5}, {16, 1107}, {1120, large}}, 999);
  Job job(o, large);
  job.Run([&](int w) {
    Exchange* const e = job.ends[w];
    for (int b = 0; b < 3; ++b) {
      const Range own = e->Owned(b);
      for (int64_t i = own.begin; i < own.end; ++i) job.values[w][i] = static_cast<float>(i);
      e->Distribute(b);
    }
    for (int b = 0; b < 3; ++b) e->WaitValues(b);
  });
  int64_t wrong = 0;
  for (int w = 0; w < 2; ++w) {
    for (const Range& b : o.buckets) {
      for (int64_t i = b.begin; i < b.end; ++i) wrong += job.values[w][i] != static_cast<float>(i);
    }
  }
  CHECK(wrong == 0);
}

TEST_CASE("commit adds in worker order whoever comes first, and tells all the same") {
  const double losses[] = {1e16, 1.0, -1e16, 3.0};  // every order has another sum
  for (int trial = 0; trial < 50; ++trial) {
    Job job(Options(Topology::kLinear, 4, {}), 0, 1 + trial % 3);
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
  const int ranks = GENERATE(1, 2, 3);
  Job job(Options(Topology::kRing, 3, {}), 0, ranks);
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
  CHECK(job.group(0)->Traffic().empty());
  CHECK(job.ends[0]->Owned(0).size() == 100);
}

TEST_CASE("a worker's failure reaches the others in whatever phase they are") {
  const std::vector<Range> buckets = {{0, 1000}, {1008, 3000}};
  const char* const phases[] = {"collect", "commit", "gather", "values", "later"};
  for (Topology t : kTopologies) {
    for (const std::string phase : phases) {
      const int ranks = t == Topology::kRing ? 1 : t == Topology::kLinear ? 2 : 4;
      CAPTURE(Name(t), phase, ranks);
      Job job(Options(t, 4, buckets), 3000, ranks);
      const auto errors = job.Run([&](int w) {
        Exchange* const e = job.ends[w];
        const auto fails_at = [&](const std::string& here) {
          if (phase == here && w == 2) {
            job.group(2)->Abort(2, "backward", 76, "loss is not finite");
            job.group(2)->Abort(2, "unwinding", 70, "never seen");
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
        if (w == 2) job.group(2)->Abort(2, "backward", 76, "loss is not finite");
        for (;;) e->Commit({});  // until the failure shows
      });
      const std::string where =
          ranks == 1 ? "" : StrCat(" (rank ", ranks / 2, ", node", ranks / 2, ")");
      for (const auto& e : errors)
        CHECK(e == "76 worker 2" + where + ", backward: loss is not finite");
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

TEST_CASE("a world's failure ends every wait and call, also of who comes late") {
  struct Ear : WorldListener {
    void Arrived(std::shared_ptr<BulkMessage>) override {}
    void Failed(const Error& error) override { heard = error.message(); }
    std::string heard;
  };
  const auto worlds = MakeThreadWorlds({"a", "b"});
  std::thread waits([&] { CHECK_THROWS_AS(worlds[1]->Receive(0, World::kFirstFreeTag), Error); });
  worlds[0]->Abort(Error(ExitCode::kLostWorkers, "rank 0 is gone"));
  waits.join();
  CHECK(!worlds[1]->Fail(Error(ExitCode::kInternal, "later")));
  for (const auto& world : worlds) {
    Ear ear;
    world->Listen(&ear);
    world->Listen(nullptr);
    CHECK(ear.heard == "rank 0 is gone");
    CHECK_THROWS_AS(world->Barrier(), Error);
  }
}

TEST_CASE("what was posted is not read any more once its sender has left a failed world") {
  struct Ear : WorldListener {
    void Arrived(std::shared_ptr<BulkMessage> m) override { message = std::move(m); }
    void Failed(const Error&) override {}
    std::shared_ptr<BulkMessage> message;
  } posts, takes;
  const auto worlds = MakeThreadWorlds({"a", "b"});
  worlds[0]->Listen(&posts);
  worlds[1]->Listen(&takes);
  auto data = std::make_unique<int>(7);
  worlds[0]->Post(1, 0, data.get(), sizeof(int), [] { FAIL("sent after the end"); });
  worlds[1]->Abort(Error(ExitCode::kLostWorkers, "rank 1 is gone"));
  worlds[0]->Listen(nullptr);
  data.reset();
  int into = 3;
  REQUIRE(takes.message);
  takes.message->Take(&into, [] { FAIL("taken after the end"); });
  CHECK(into == 3);
  worlds[1]->Listen(nullptr);
}

TEST_CASE("a group that has ended itself leaves when its world's failure comes after") {
  // The other rank says what this one says, takes nothing, and somebody else is at the failure.
  class Echo : public World {
   public:
    Echo() : World(0, 2, "a", Clock::Real()) {}
    void Post(int, int, const void*, int64_t, std::function<void()>) override { posted = true; }
    int64_t channels() const override { return 1000; }
    void Abort(const Error&) override {}
    std::atomic<bool> posted{false};

   protected:
    void SendTo(int to, int tag, std::string bytes) override { Deliver(to, tag, std::move(bytes)); }
  } world;
  ExchangeOptions o = Options(Topology::kRing, 2, {{0, 64}});
  o.world = &world;
  o.rank_of = {0, 1};
  auto group = ExchangeGroup::Make(o);
  std::vector<float> grads(64), values(64);
  group->Join(0, nullptr, grads.data(), values.data(), nullptr)->Collect(0);
  REQUIRE(world.posted);
  group->Abort(0, "backward", 76, "loss is not finite");
  std::thread leaves([&] { group.reset(); });
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // most often it waits by then
  world.Fail(Error(ExitCode::kLostWorkers, "rank 1 is gone"));
  leaves.join();
}

TEST_CASE(
    "parts of a world have ranks, tags, channels and listeners of their own, and one failure") {
  struct Ear : WorldListener {
    void Arrived(std::shared_ptr<BulkMessage> message) override {
      from = message->from();
      channel = message->channel();
      message->Take(&value, [this] { there = true; });
    }
    void Failed(const Error& error) override {
      heard = error.message();
      failed = true;
    }
    int from = -1, channel = -1, value = 0;
    std::atomic<bool> there{false}, failed{false};
    std::string heard;
  };
  const std::vector<std::vector<int>> ranks = {{0, 1}, {1, 2}, {0, 2}, {1}, {0, 1, 2}};
  const auto worlds = MakeThreadWorlds({"a", "b", "c"});
  std::vector<std::vector<std::string>> gathered(3);
  std::vector<std::vector<std::string>> heard(3);
  std::vector<int> wrong(3, 0);
  std::atomic<int> done{0};
  std::vector<std::thread> threads;
  for (int r = 0; r < 3; ++r) {
    threads.emplace_back([&, r] {
      WorldParts parts(worlds[r].get(), ranks);
      std::vector<std::unique_ptr<Ear>> ears;
      std::vector<int> sent(ranks.size());
      for (size_t i = 0; i < ranks.size(); ++i) {
        World* const part = parts.part(static_cast<int>(i));
        ears.push_back(std::make_unique<Ear>());
        const auto& of = ranks[i];
        const bool mine = of.size() > 1 && std::count(of.begin(), of.end(), r) > 0;
        wrong[r] += (part != nullptr) != mine;
        if (part == nullptr) continue;
        std::string all;
        for (const std::string& s : part->Gather(StrCat(i, r))) all += s + " ";
        gathered[r].push_back(all);
        sent[i] = static_cast<int>(10 * i) + r;
        // Each to the next, on the same channel of every part.
        part->Post((part->rank() + 1) % part->size(), 5, &sent[i], sizeof(int), [] {});
        part->Listen(ears[i].get());
      }
      for (size_t i = 0; i < ranks.size(); ++i) {
        World* const part = parts.part(static_cast<int>(i));
        if (part == nullptr) continue;
        Ear& ear = *ears[i];
        while (!ear.there) std::this_thread::yield();
        const int before = (part->rank() + part->size() - 1) % part->size();
        wrong[r] += ear.from != before || ear.channel != 5;
        wrong[r] += ear.value != static_cast<int>(10 * i) + ranks[i][before];
      }
      ++done;  // no Barrier, which the failure might reach
      while (done < 3) std::this_thread::yield();
      if (r == 0) parts.part(0)->Abort(Error(ExitCode::kLostWorkers, "a part fails"));
      for (size_t i = 0; i < ranks.size(); ++i) {
        if (World* const part = parts.part(static_cast<int>(i))) {
          while (!ears[i]->failed) std::this_thread::yield();
          part->Listen(nullptr);
          heard[r].push_back(ears[i]->heard);
          wrong[r] += !part->failed();
        }
      }
    });
  }
  for (std::thread& t : threads) t.join();
  CHECK(gathered[0] == std::vector<std::string>{"00 01 ", "20 22 ", "40 41 42 "});
  CHECK(gathered[1] == std::vector<std::string>{"00 01 ", "11 12 ", "40 41 42 "});
  CHECK(gathered[2] == std::vector<std::string>{"11 12 ", "20 22 ", "40 41 42 "});
  for (int r = 0; r < 3; ++r) {
    CHECK(wrong[r] == 0);
    CHECK(heard[r] == std::vector<std::string>(3, "a part fails"));
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
