// The progress engine over links that take time: virtual time, so every figure is exact.
#include "common/comm/progress.h"

#include <catch2/catch.hpp>
#include <deque>
#include <memory>
#include <numeric>

#include "common/base/error.h"

namespace mariana {
namespace {

// What comes into one worker, from whatever neighbour, one range after the other: a slot with
// `bytes_per_second` each way.
class Port {
 public:
  Port(Clock* clock, int worker, double bytes_per_second)
      : clock_(clock),
        ns_per_byte_(1e9 / bytes_per_second),
        queue_(clock, 1000),
        thread_(clock, StrCat("port ", worker), [this] {
          while (auto arrival = queue_.Pop()) {
            clock_->SleepFor(static_cast<int64_t>(arrival->bytes * ns_per_byte_));
            arrival->land();
          }
        }) {}
  ~Port() { queue_.Close(); }
  void Receive(int64_t bytes, std::function<void()> land) { queue_.Push({bytes, std::move(land)}); }

 private:
  struct Arrival {
    int64_t bytes;
    std::function<void()> land;
  };
  Clock* clock_;
  double ns_per_byte_;
  Queue<Arrival> queue_;
  ClockedThread thread_;
};

// Moves through the receiver's port; data is one number per worker and element.
class SlowLink : public Link {
 public:
  SlowLink(int from, int to, Arenas* arenas, Port* port, Arrivals* arrivals)
      : from_(from), to_(to), arenas_(arenas), port_(port), arrivals_(arrivals) {}
  void Publish(const LaneKey& lane, Range) override { arrivals_->Arrived(lane, from_); }
  void Receive(const LaneKey&, const Step& step, std::function<void()> done) override {
    port_->Receive(step.bytes(), [this, step, done] {
      for (int64_t i = step.range.begin; i < step.range.end; ++i) {
        if (step.kind == Step::Kind::kAdd) {
          arenas_[to_].grads[i] += arenas_[from_].grads[i];
        } else {
          arenas_[to_].values[i] = arenas_[from_].values[i];
        }
      }
      done();
    });
  }
  LinkBytes bytes() const override { return {from_, to_}; }

 private:
  const int from_, to_;
  Arenas* arenas_;
  Port* port_;
  Arrivals* arrivals_;
};

// n workers that collect and then distribute one bucket of M bytes over ports of M bytes a
// second; seconds of both phases, each until the last worker is done.
std::pair<double, double> PhaseSeconds(Topology t, int n, int64_t chunks_per_slice) {
  Wiring wiring;
  wiring.topology = t;
  wiring.workers = n;
  const int64_t chunk = 16, elements = chunk * chunks_per_slice * n;
  const auto clock = Clock::MakeVirtual();
  const ClockThread registered(clock.get(), "test");
  std::vector<std::vector<float>> grads(n, std::vector<float>(elements)), values = grads;
  std::vector<Arenas> arenas;
  std::vector<std::unique_ptr<ProgressEngine>> workers;
  std::vector<std::unique_ptr<Port>> ports;
  for (int w = 0; w < n; ++w) {
    std::fill(grads[w].begin(), grads[w].end(), static_cast<float>(1 << w));
    arenas.push_back({grads[w].data(), values[w].data()});
    ProgressEngine::Schedule schedule;
    for (Phase phase : {Phase::kCollect, Phase::kDistribute}) {
      schedule.push_back({MakeSchedule(wiring, w, phase, {0, elements}, chunk)});
    }
    workers.push_back(std::make_unique<ProgressEngine>(w, n, clock.get(), schedule));
    ports.push_back(std::make_unique<Port>(clock.get(), w, 4.0 * elements));
  }
  std::vector<std::unique_ptr<Link>> links;
  for (const LinkBytes& l : LinksOf(wiring)) {
    links.push_back(std::make_unique<SlowLink>(l.from, l.to, arenas.data(), ports[l.to].get(),
                                               workers[l.to].get()));
    workers[l.from]->ConnectTo(l.to, links.back().get());
    workers[l.to]->ConnectFrom(l.from, links.back().get());
  }
  for (auto& w : workers) w->Run(nullptr, nullptr);

  for (auto& w : workers) w->Start(Phase::kCollect, 0);
  for (auto& w : workers) w->WaitOwned();
  const double collected = clock->NowSeconds();
  for (int w = 0; w < n; ++w) {
    CHECK(workers[w]->AtRest(Phase::kCollect, 0));
    const Range own = SliceOf({0, elements}, w, n);
    for (int64_t i = own.begin; i < own.end; ++i) REQUIRE(grads[w][i] == (1 << n) - 1);
    std::fill(&values[w][own.begin], &values[w][own.begin] + own.size(), 1.0f + w);
  }
  for (auto& w : workers) w->Start(Phase::kDistribute, 0);
  for (auto& w : workers) w->WaitBucket(Phase::kDistribute, 0);
  for (int w = 1; w < n; ++w) CHECK(values[w] == values[0]);
  for (auto& w : workers) w->Stop();
  for (auto& w : workers) w->Join();
  return {collected, clock->NowSeconds() - collected};
}

TEST_CASE("phases last as long as the busiest port, and a pipeline's few chunks more") {
  const int chunks = 40;
  for (int n = 2; n <= 6; ++n) {
    CAPTURE(n);
    const double chunk = 1.0 / (chunks * n);
    // Inside a chain (n+1)/n of the bucket comes in per phase: both partial sums of the own slice.
    const auto [collect, distribute] = PhaseSeconds(Topology::kLinear, n, chunks);
    const double chain = n == 2 ? 0.5 : (n + 1.0) / n;
    CHECK(collect >= chain - 1e-6);
    CHECK(collect <= chain + 3 * n * chunk);
    CHECK(distribute >= (n - 1.0) / n - 1e-6);
    CHECK(distribute <= (n - 1.0) / n + 3 * n * chunk);
    const auto [scatter, gather] = PhaseSeconds(Topology::kRing, n, chunks);
    CHECK(scatter >= (n - 1.0) / n - 1e-6);
    CHECK(scatter <= (n - 1.0) / n + 3 * n * chunk);
    CHECK(gather >= (n - 1.0) / n - 1e-6);
    CHECK(gather <= (n - 1.0) / n + 3 * n * chunk);
  }
}

}  // namespace
}  // namespace mariana
