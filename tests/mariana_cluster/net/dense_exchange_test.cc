// Dense parameters of several nodes: every step counts once everywhere, and a flush leaves all
// nodes with the same bits.
#include "mariana_cluster/net/dense_exchange.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "mariana_cluster/net/shard_service.h"

namespace mariana {
namespace {

constexpr int64_t kElements = 3 * DenseParameters::kSliceElements + 1000;

struct TestNode {
  NodeMap map;
  DenseParameters dense = DenseParameters::Create(kElements, 0);
  DenseMirror mirror;
  PushLedger ledger = PushLedger::Create();
  std::unique_ptr<DenseOwner> owner;
  std::unique_ptr<ShardService> service;
  std::unique_ptr<DenseExchange> exchange;

  explicit TestNode(const NodeMap& m)
      : map(m), mirror(DenseMirror::Create(dense, m.nodes, m.node)) {
    for (int64_t i = 0; i < kElements; ++i) dense.values()[i] = static_cast<float>(i % 7);
    mirror.Start(dense.values());
  }
  std::string Serve(const std::string& endpoint = "") {
    ShardService::Options o;
    o.address = "127.0.0.1";
    o.endpoint = endpoint;
    o.desk.shard = map.node;
    o.failed = [](const Error& e) { FAIL(e.message()); };
    owner = std::make_unique<DenseOwner>(&dense, &mirror);
    service = std::make_unique<ShardService>(o);
    service->Start({}, &ledger, owner.get());
    return service->endpoint();
  }
  void Exchange() {
    DenseExchange::Options o;
    o.bytes_per_second = 1e12;
    o.patience_seconds = 20;
    o.failed = [](const Error& e) { FAIL(e.message()); };
    exchange = std::make_unique<DenseExchange>(map, o, &dense, &mirror);
  }
  // A worker's step: what it adds differs by node, step and element.
  void Step(int step) {
    for (int64_t slice = 0; slice < dense.slices(); ++slice) {
      const DenseRange r = dense.SliceRange(slice);
      dense.Lock(slice);
      for (int64_t i = r.begin; i < r.end; ++i) dense.values()[i] += Added(map.node, step, i);
      dense.Unlock(slice);
    }
  }
  static float Added(int node, int step, int64_t i) {
    return 0.01f *
           std::sin(static_cast<float>(node * 31 + step * 7) + static_cast<float>(i % 1009));
  }
};

struct Job {
  std::vector<std::unique_ptr<TestNode>> nodes;
  std::vector<std::string> endpoints;
  uint32_t flushes = 0;
  explicit Job(int count) {
    for (int n = 0; n < count; ++n) {
      NodeMap map;
      map.nodes = count;
      map.node = n;
      nodes.push_back(std::make_unique<TestNode>(map));
      endpoints.push_back(nodes[n]->Serve());
    }
    for (auto& n : nodes) n->map.endpoints = endpoints;
    for (auto& n : nodes) n->Exchange();
  }
  ~Job() {
    for (auto& n : nodes) n->exchange.reset();
  }
  void Flush() {
    ++flushes;
    std::vector<std::thread> threads;
    for (auto& n : nodes) threads.emplace_back([&] { n->exchange->Flush(flushes); });
    for (auto& t : threads) t.join();
  }
  void CheckAgree(int steps) const {
    for (size_t n = 1; n < nodes.size(); ++n) {
      CHECK(std::equal(nodes[0]->dense.values(), nodes[0]->dense.values() + kElements,
                       nodes[n]->dense.values()));
    }
    double worst = 0;
    for (int64_t i = 0; i < kElements; ++i) {
      double sum = static_cast<double>(i % 7);
      for (int n = 0; n < static_cast<int>(nodes.size()); ++n) {
        for (int s = 0; s < steps; ++s) sum += static_cast<double>(TestNode::Added(n, s, i));
      }
      worst = std::max(worst, std::abs(sum - static_cast<double>(nodes[0]->dense.values()[i])));
    }
    CHECK(worst < 2e-5);
  }
};

TEST_CASE("After a flush all nodes have the sum of all steps, to the bit the same") {
  Job job(3);
  for (int round = 0; round < 3; ++round) {
    std::vector<std::thread> threads;
    for (auto& n : job.nodes) {
      threads.emplace_back([&] {
        for (int s = 0; s < 10; ++s) n->Step(10 * round + s);
      });
    }
    for (auto& t : threads) t.join();
    job.Flush();
    job.CheckAgree(10 * round + 10);
  }
  for (auto& n : job.nodes) CHECK(n->exchange->bytes() > 0);
}

TEST_CASE("What others have trained arrives without a flush") {
  Job job(2);
  job.nodes[0]->Step(0);
  // Slice 0 is node 0's own, slice 1 the other's: both ways.
  for (const int64_t i : {int64_t{5}, DenseParameters::kSliceElements + 5}) {
    const float wanted = static_cast<float>(i % 7) + TestNode::Added(0, 0, i);
    DenseParameters* dense = &job.nodes[1]->dense;
    const auto value = [&] {
      dense->Lock(i / DenseParameters::kSliceElements);
      const float v = dense->values()[i];
      dense->Unlock(i / DenseParameters::kSliceElements);
      return v;
    };
    // Rounding leaves less over each time.
    while (std::abs(value() - wanted) > 1e-5f) Clock::Real()->SleepFor(1'000'000);
  }
}

TEST_CASE("A server that is started again goes on with what it said and heard") {
  Job job(2);
  int step = 0;
  for (int round = 0; round < 4; ++round) {
    for (int s = 0; s < 5; ++s, ++step) {
      for (auto& n : job.nodes) n->Step(step);
    }
    TestNode& n = *job.nodes[round % 2];
    n.exchange.reset();
    n.service.reset();
    n.Serve(job.endpoints[round % 2]);
    n.Exchange();
  }
  job.Flush();
  job.CheckAgree(step);
}

}  // namespace
}  // namespace mariana
