#include "mariana_cluster/remote_rows.h"

#include <glog/logging.h>

#include <utility>

#include "mariana_cluster/net/shard_desk.h"

namespace mariana {
namespace {

RemoteShards::Options OptionsOf(const JobSpec& job, int worker) {
  RemoteShards::Options options;
  options.worker = worker;
  options.wire = job.parallel.wire;
  if (!job.parallel.token_file.empty()) options.token = ReadToken(job.parallel.token_file);
  return options;
}

std::vector<RemoteShards::RemoteTable> TablesOf(const JobMemory& memory) {
  std::vector<RemoteShards::RemoteTable> tables;
  for (const auto& shards : memory.shards) {
    tables.push_back({shards[0]->layout().width, KeyBytesOf(*shards[0])});
  }
  return tables;
}

}  // namespace

RemoteRows::RemoteRows(const JobSpec& job, JobMemory* memory, int worker)
    : memory_(memory),
      shards_(memory->Nodes(static_cast<int>(job.parallel.servers),
                            static_cast<int>(job.parallel.workers)),
              OptionsOf(job, worker), TablesOf(*memory)) {}

void RemoteRows::Request(Missing missing, const ClickBatch& batch) {
  if (requested_.count(&batch) > 0) return;
  Pulls& pulls = requested_[&batch];
  for (size_t t = 0; t < batch.tables.size(); ++t) {
    const TableBatch& b = batch.tables[t];
    pulls.push_back(shards_.Request(static_cast<int>(t), b.keys.data(),
                                    static_cast<int64_t>(b.keys.size()), missing));
    if (missing == Missing::kInsert) shards_.CountFeatures(*pulls.back(), b.index);
  }
}

void RemoteRows::Await(ClickBatch* batch) {
  Pulls& pulls = requested_.at(batch);
  for (size_t t = 0; t < pulls.size(); ++t) {
    shards_.Await(pulls[t].get(), batch->tables[t].values.data());
  }
}

void RemoteRows::Push(float rate, const ClickBatch& batch) {
  Pulls& pulls = requested_.at(&batch);
  for (size_t t = 0; t < pulls.size(); ++t) {
    shards_.Push(std::move(pulls[t]), batch.tables[t].gradients.data(), rate);
  }
  requested_.erase(&batch);
  CountBytes();
}

void RemoteRows::Forget(const ClickBatch* batch) {
  const auto found = requested_.find(batch);
  if (found == requested_.end()) return;
  for (auto& pull : found->second) shards_.Cancel(std::move(pull));
  requested_.erase(found);
}

void RemoteRows::CountBytes() {
  const LinkCounters& c = shards_.counters();
  memory_->writer.AddBytes(c.bytes_received - counted_in_, c.bytes_sent - counted_out_);
  counted_in_ = c.bytes_received;
  counted_out_ = c.bytes_sent;
}

void RemoteRows::Drain() {
  shards_.Drain();
  CountBytes();
  const LinkCounters& c = shards_.counters();
  // scripts/bench/cluster reads this line.
  LOG(INFO) << "between nodes: sent " << c.bytes_sent << " received " << c.bytes_received
            << " naive " << c.naive_bytes << " bytes; keys pulled " << c.keys_pulled << " pushed "
            << c.keys_pushed << "; lists sent " << c.lists_sent << " spared " << c.lists_spared
            << "; sessions " << c.greetings << ", sent again " << c.resent;
}

}  // namespace mariana
