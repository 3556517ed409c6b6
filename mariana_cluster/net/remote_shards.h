// RemoteShards: the shards of other nodes as a worker uses them.
//
//   std::unique_ptr<Pull> next = remote.Request(t, keys, n, Missing::kInsert);   // goes out at
//   once
//   ... compute on the present batch ...
//   remote.Await(next.get(), values);       // [n, width]: rows of remote keys are filled in
//   ... gradients ...
//   remote.Push(std::move(next), gradients, rate);   // does not wait
//   remote.Drain();                         // all pushes are applied: a consistent cut
//
// Local keys are the caller's business: Table::Locate gives them their rows and remote ones null.
//
// A server that dies and comes back at its endpoint is greeted again, and what it has not answered
// is sent again, in order; no push is applied twice that can be told apart (PushLedger). A server
// that is silent for longer than `patience_seconds` ends the job: Error(kLostWorkers) naming it. A
// wrong token: Error(kUsage).
//
// Thread-compatible (a thread of ZeroMQ's moves the bytes meanwhile).
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mariana_cluster/net/node_map.h"
#include "mariana_cluster/net/server_link.h"
#include "mariana_cluster/net/wire_values.h"
#include "mariana_cluster/table/table_shard.h"

namespace mariana {

class RemoteShards {
 public:
  struct Options {
    int worker = 0;  // of this node
    WireType wire = WireType::kBf16;
    std::string token;
    double patience_seconds = 120;
  };
  struct RemoteTable {
    int width = 1;
    int key_bytes = 8;
  };
  RemoteShards(const NodeMap& map, const Options& options, std::vector<RemoteTable> tables);
  ~RemoteShards();

  // A batch's keys of a table, under way.
  struct Pull {
    int table = 0;
    int64_t keys = 0;
    std::vector<int64_t> begin;                          // by shard of the whole job, into `order`
    std::vector<int32_t> order;                          // places of keys
    std::vector<std::shared_ptr<const SentList>> lists;  // by shard; null: none there, or local
    std::vector<uint64_t> requests;                      // likewise
  };

  // The keys are distinct and canonical, as TableBatch's.
  std::unique_ptr<Pull> Request(int table, const uint64_t* keys, int64_t n, Missing missing);
  void Await(Pull* pull, float* values);
  // Not wanted any more, answered or not.
  void Cancel(std::unique_ptr<Pull> pull);
  void Push(std::unique_ptr<Pull> pull, const float* gradients, float rate);
  void Drain();
  // The snapshot epoch that pushes carry from here on.
  void set_epoch(uint32_t epoch) { epoch_ = epoch; }

  // For the naive way's bytes: of `index`, the features of the batch, those of remote keys.
  void CountFeatures(const Pull& pull, const std::vector<uint32_t>& index);

  const LinkCounters& counters() const { return links_->counters; }

 private:
  void Partition(const uint64_t* keys, int64_t n, Pull* pull) const;
  std::shared_ptr<const SentList> ListFor(const Pull& pull, int shard, const uint64_t* keys);
  FrameHeader HeaderFor(FrameKind kind, int table) const;

  const NodeMap map_;
  const Options options_;
  const std::vector<RemoteTable> tables_;
  std::unique_ptr<LinkGroup> links_;
  std::vector<int> link_of_;  // by shard; -1: local
  uint32_t epoch_ = 0;
  std::vector<float> scratch_;
  std::vector<uint64_t> keys_;
  std::vector<uint8_t> remote_key_;
};

}  // namespace mariana
