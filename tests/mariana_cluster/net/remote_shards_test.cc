// Tables split over nodes, on loopback: the same results as one table, whatever happens between.
#include "mariana_cluster/net/remote_shards.h"

#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <memory>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "mariana_cluster/net/shard_service.h"
#include "mariana_cluster/table/table.h"

namespace mariana {
namespace {

TableSpec Spec(TableForm form, int64_t admission = 1) {
  TableSpec spec;
  spec.name = "clicks";
  spec.form = form;
  spec.bits = 14;
  spec.max_rows = 1 << 16;
  spec.admission = admission;
  spec.parts.resize(2);
  spec.parts[0].name = "linear";
  spec.parts[1].name = "embedding";
  spec.parts[1].width = 5;
  spec.parts[1].init = 0.1;
  spec.parts[1].optimizer.type = RowOptimizer::kAdaGrad;
  return spec;
}
constexpr int kWidth = 6;

// The servers of one node; they may be ended and started again on the same memory.
struct TestNode {
  ShardService::Options options;
  std::vector<std::shared_ptr<TableShard>> shards;  // of one table, one a server
  std::vector<PushLedger> ledgers;
  std::vector<std::unique_ptr<ShardService>> services;

  TestNode(const TableSpec& spec, const NodeMap& map, const std::string& token = "") {
    options.address = "127.0.0.1";
    options.desk.token = token;
    options.failed = [](const Error& e) { FAIL(e.message()); };
    for (int s = 0; s < map.servers; ++s) {
      shards.push_back(std::make_shared<TableShard>(
          TableShard::Create(spec, map.first_shard() + s, map.shards())));
      ledgers.push_back(PushLedger::Create());
      services.emplace_back();
    }
  }
  std::string Start(int s, const std::string& endpoint = "") {
    ShardService::Options o = options;
    o.desk.shard = shards[s]->shard();
    o.endpoint = endpoint;
    services[s] = std::make_unique<ShardService>(o);
    services[s]->Start({shards[s]}, &ledgers[s], nullptr);
    return services[s]->endpoint();
  }
};

// Two nodes of two servers each; the worker is on node 0.
struct Job {
  NodeMap map;
  std::vector<std::unique_ptr<TestNode>> nodes;
  std::unique_ptr<Table> local;
  std::unique_ptr<RemoteShards> remote;

  explicit Job(const TableSpec& spec, WireType wire = WireType::kF32, int64_t list_bytes = 1 << 26,
               const std::string& token = "", const std::string& client_token = "") {
    map.nodes = map.servers = 2;
    for (int n = 0; n < 2; ++n) {
      map.node = n;
      nodes.push_back(std::make_unique<TestNode>(spec, map, token));
      nodes[n]->options.desk.list_bytes = list_bytes;
      for (int s = 0; s < 2; ++s) map.endpoints.push_back(nodes[n]->Start(s));
    }
    map.node = 0;
    local = std::make_unique<Table>(nodes[0]->shards);
    RemoteShards::Options options;
    options.wire = wire;
    options.token = client_token;
    options.patience_seconds = 20;
    remote = std::make_unique<RemoteShards>(
        map, options,
        std::vector<RemoteShards::RemoteTable>{{kWidth, KeyBytesOf(*nodes[0]->shards[0])}});
  }
  ShardDesk::Counters Counters() const {
    ShardDesk::Counters sum;
    for (const auto& s : nodes[1]->services) {
      const auto c = s->counters();
      sum.pushes += c.pushes;
      sum.repeated += c.repeated;
      sum.unknown_lists += c.unknown_lists;
      sum.keys_pushed += c.keys_pushed;
    }
    return sum;
  }
};

std::vector<uint64_t> BatchKeys(const TableShard& shard, uint64_t batch) {
  RandomSequence random(5, batch);
  std::set<uint64_t> keys;
  while (keys.size() < 300) {
    const Philox4 p = Philox(9, 9, random.Below(2000));
    const uint64_t key = (uint64_t{p.v[0]} << 32 | p.v[1]) | 1;
    keys.insert(shard.Canonical(key));
  }
  std::vector<uint64_t> list(keys.begin(), keys.end());
  for (size_t i = list.size() - 1; i > 0; --i) std::swap(list[i], list[random.Below(i + 1)]);
  return list;
}

// What a model would say: any function of keys and values.
std::vector<float> Gradients(const std::vector<uint64_t>& keys, const std::vector<float>& values) {
  std::vector<float> g(values.size());
  for (size_t i = 0; i < g.size(); ++i) {
    g[i] = std::sin(static_cast<float>(keys[i / kWidth] % 1000)) + 0.3f * values[i];
  }
  return g;
}

void StepSplit(Job* job, const std::vector<uint64_t>& keys) {
  const auto n = static_cast<int64_t>(keys.size());
  auto pull = job->remote->Request(0, keys.data(), n, Missing::kInsert);
  std::vector<char*> rows(keys.size());
  std::vector<float> values(keys.size() * kWidth);
  job->local->Locate(keys.data(), n, Missing::kInsert, rows.data());
  job->local->Gather(rows.data(), n, values.data());
  job->remote->Await(pull.get(), values.data());
  const std::vector<float> g = Gradients(keys, values);
  job->local->Apply(rows.data(), n, g.data(), 0.5f);
  job->remote->Push(std::move(pull), g.data(), 0.5f);
}

void StepWhole(Table* table, const std::vector<uint64_t>& keys) {
  const auto n = static_cast<int64_t>(keys.size());
  std::vector<char*> rows(keys.size());
  std::vector<float> values(keys.size() * kWidth);
  table->Locate(keys.data(), n, Missing::kInsert, rows.data());
  table->Gather(rows.data(), n, values.data());
  table->Apply(rows.data(), n, Gradients(keys, values).data(), 0.5f);
}

using Rows = std::vector<std::pair<uint64_t, std::vector<float>>>;
Rows RowsOf(const std::vector<std::shared_ptr<TableShard>>& shards) {
  Rows all;
  for (const auto& s : shards) {
    s->ForEach([&](uint64_t key, const char* row) {
      std::vector<float> x(s->layout().width + s->layout().state_floats());
      ReadRow(s->layout(), row, x.data(), x.data() + s->layout().width);
      all.emplace_back(key, x);
    });
  }
  return all;
}
Rows RowsOf(const Job& job) {
  auto shards = job.nodes[0]->shards;
  shards.insert(shards.end(), job.nodes[1]->shards.begin(), job.nodes[1]->shards.end());
  return RowsOf(shards);
}

Rows WholeAfter(const TableSpec& spec, int batches) {
  auto shard = std::make_shared<TableShard>(TableShard::Create(spec, 0, 1));
  Table table({shard});
  for (int b = 0; b < batches; ++b) StepWhole(&table, BatchKeys(*shard, b));
  return RowsOf({shard});
}

TEST_CASE("A table split over nodes has the bits of one table") {
  for (const auto& spec :
       {Spec(TableForm::kHashed), Spec(TableForm::kKeyed), Spec(TableForm::kKeyed, 3)}) {
    Job job(spec);
    for (int b = 0; b < 20; ++b) StepSplit(&job, BatchKeys(*job.nodes[0]->shards[0], b));
    job.remote->Drain();
    const Rows rows = RowsOf(job);
    CHECK(rows.size() > 500);
    CHECK((rows == WholeAfter(spec, 20)));
    // A list goes once, then its number: with the push at the latest.
    const LinkCounters& c = job.remote->counters();
    CHECK(c.lists_sent == 40);
    CHECK(c.lists_spared == 40);
    CHECK(c.keys_pulled == c.keys_pushed);
  }
}

TEST_CASE("Weights as bf16 differ by their rounding") {
  const TableSpec spec = Spec(TableForm::kHashed);
  Job job(spec, WireType::kBf16);
  for (int b = 0; b < 20; ++b) StepSplit(&job, BatchKeys(*job.nodes[0]->shards[0], b));
  job.remote->Drain();
  const Rows rows = RowsOf(job), whole = WholeAfter(spec, 20);
  REQUIRE(rows.size() == whole.size());
  double difference = 0, size = 0;
  for (size_t i = 0; i < rows.size(); ++i) {
    REQUIRE(rows[i].first == whole[i].first);
    for (int j = 0; j < kWidth; ++j) {
      difference += std::abs(rows[i].second[j] - whole[i].second[j]);
      size += std::abs(whole[i].second[j]);
    }
  }
  CHECK(difference > 0);
  CHECK(difference / size < 0.01);
}

// Area under the ROC curve of scores for labels.
double Auc(std::vector<std::pair<float, bool>> scores) {
  std::sort(scores.begin(), scores.end());
  double below = 0, pairs = 0;
  for (const auto& [score, click] : scores) {
    if (click) pairs += below;
    if (!click) ++below;
  }
  return pairs / (below * (static_cast<double>(scores.size()) - below));
}

// Logistic regression with FTRL on rows of eight features out of 2000, which have known weights.
double AucAfterTraining(WireType wire) {
  constexpr int kBatch = 64, kBatches = 300, kFeatures = 8;
  TableSpec spec = Spec(TableForm::kHashed);
  spec.parts[1].init = 0;
  Job job(spec, wire);
  std::vector<std::pair<float, bool>> scores;
  for (int b = 0; b < kBatches; ++b) {
    RandomSequence random(11, static_cast<uint64_t>(b));
    std::vector<uint64_t> keys;
    std::vector<size_t> index;
    std::vector<bool> clicks;
    for (int r = 0; r < kBatch; ++r) {
      double logit = 0;
      for (int f = 0; f < kFeatures; ++f) {
        const uint64_t id = random.Below(2000);
        const Philox4 p = Philox(9, 9, id);
        const uint64_t key =
            job.nodes[0]->shards[0]->Canonical((uint64_t{p.v[0]} << 32 | p.v[1]) | 1);
        logit += std::sin(static_cast<double>(id));
        const auto known = std::find(keys.begin(), keys.end(), key);
        index.push_back(static_cast<size_t>(known - keys.begin()));
        if (known == keys.end()) keys.push_back(key);
      }
      clicks.push_back(random.Uniform() < 1 / (1 + std::exp(-logit)));
    }
    const auto n = static_cast<int64_t>(keys.size());
    auto pull = job.remote->Request(0, keys.data(), n, Missing::kInsert);
    std::vector<char*> rows(keys.size());
    std::vector<float> values(keys.size() * kWidth), gradients(values.size());
    job.local->Locate(keys.data(), n, Missing::kInsert, rows.data());
    job.local->Gather(rows.data(), n, values.data());
    job.remote->Await(pull.get(), values.data());
    for (int r = 0; r < kBatch; ++r) {
      float logit = 0;
      for (int f = 0; f < kFeatures; ++f) logit += values[index[r * kFeatures + f] * kWidth];
      if (b >= kBatches / 2) scores.emplace_back(logit, clicks[r]);
      const float g = 1 / (1 + std::exp(-logit)) - (clicks[r] ? 1.0f : 0.0f);
      for (int f = 0; f < kFeatures; ++f) gradients[index[r * kFeatures + f] * kWidth] += g;
    }
    job.local->Apply(rows.data(), n, gradients.data(), 1);
    job.remote->Push(std::move(pull), gradients.data(), 1);
  }
  return Auc(std::move(scores));
}

TEST_CASE("A model learnt with bf16 between nodes is as good as one with fp32") {
  const double exact = AucAfterTraining(WireType::kF32),
               rounded = AucAfterTraining(WireType::kBf16);
  CHECK(exact > 0.75);
  CHECK(std::abs(exact - rounded) < 0.001);
}

TEST_CASE("A list that the server forgot is sent again, and every push is applied once") {
  const TableSpec spec = Spec(TableForm::kKeyed);
  Job job(spec, WireType::kF32, 1);  // room for the newest list alone
  // The pull of the next batch goes out before the push of the present one, whose list is gone by
  // then.
  const TableShard& shard = *job.nodes[0]->shards[0];
  for (int b = 0; b < 10; ++b) {
    const auto next = BatchKeys(shard, 1000 + b);
    const auto n = static_cast<int64_t>(next.size());
    auto early = job.remote->Request(0, next.data(), n, Missing::kSkip);
    StepSplit(&job, BatchKeys(shard, b));
    std::vector<float> values(next.size() * kWidth);
    job.remote->Await(early.get(), values.data());
    auto again = job.remote->Request(0, next.data(), n, Missing::kSkip);
    job.remote->Cancel(std::move(again));
    job.remote->Drain();
  }
  CHECK(job.Counters().unknown_lists > 0);
  CHECK(job.Counters().pushes == 20);
  CHECK((RowsOf(job) == WholeAfter(spec, 10)));
}

TEST_CASE("A server that comes back on its memory goes on, and no push is lost or applied twice") {
  const TableSpec spec = Spec(TableForm::kKeyed);
  Job job(spec);
  TestNode& far = *job.nodes[1];
  const TableShard& shard = *far.shards[0];
  for (int b = 0; b < 12; ++b) {
    if (b % 4 == 2) {  // with a push, or a pull, under way
      far.services[b % 2].reset();
      std::thread later([&] { far.Start(b % 2, job.map.endpoints[2 + b % 2]); });
      StepSplit(&job, BatchKeys(shard, b));
      later.join();
    } else {
      StepSplit(&job, BatchKeys(shard, b));
    }
  }
  job.remote->Drain();
  CHECK((RowsOf(job) == WholeAfter(spec, 12)));
  CHECK(job.remote->counters().greetings >= 3);
}

TEST_CASE("A push that comes again is not applied again, one that was cut short is told") {
  PushLedger ledger = PushLedger::Create();
  const uint64_t client = NewClientNumber(3), other = NewClientNumber(3);
  ledger.Begin(client, 5);
  ledger.End(client);
  CHECK(ledger.Last(client) == 5);
  CHECK(ledger.Last(other) == 0);  // the same worker, started again
  ledger.Begin(client, 6);
  PushLedger later = PushLedger::Attach(dup(ledger.fd()));
  CHECK(later.SettleTorn() == 1);
  CHECK(later.Last(client) == 6);
  CHECK(later.SettleTorn() == 0);
  later.Begin(other, 1);
  later.End(other);
  CHECK(later.Last(client) == 0);
}

TEST_CASE("A wrong token, a missing one, and an address without one are told in one line") {
  const TableSpec spec = Spec(TableForm::kHashed);
  const auto why = [&](const std::string& servers, const std::string& client) {
    Job job(spec, WireType::kF32, 1 << 20, servers, client);
    try {
      StepSplit(&job, BatchKeys(*job.nodes[0]->shards[0], 0));
    } catch (const Error& e) {
      CHECK(e.code() == ExitCode::kUsage);
      return e.message();
    }
    return std::string();
  };
  CHECK(why("a token of the job", "a token of the job").empty());
  CHECK_THAT(why("a token of the job", "another, wrong token"),
             Catch::Contains(" of node 1 (tcp://127.0.0.1:") &&
                 Catch::Contains("refuses this node: its token is another"));
  CHECK_THAT(why("a token of the job", ""), Catch::Contains("set parallel.token_file"));
  ShardService::Options options;
  options.address = "10.1.2.3";
  CHECK_THROWS_WITH(ShardService(options), Catch::Contains("set parallel.token_file"));
}

TEST_CASE("A server that stays silent ends the job with its name") {
  Job job(Spec(TableForm::kHashed));
  for (auto& s : job.nodes[1]->services) s.reset();
  RemoteShards::Options options;
  options.patience_seconds = 0.2;
  RemoteShards remote(job.map, options, {{kWidth, 2}});
  const auto keys = BatchKeys(*job.nodes[0]->shards[0], 0);
  std::vector<float> values(keys.size() * kWidth);
  auto pull = remote.Request(0, keys.data(), static_cast<int64_t>(keys.size()), Missing::kSkip);
  try {
    remote.Await(pull.get(), values.data());
    FAIL("nobody is there");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kLostWorkers);
    CHECK_THAT(e.message(),
               Catch::Contains("of node 1 (tcp://") && Catch::Contains("has not answered"));
  }
}

}  // namespace
}  // namespace mariana
