#include "mariana_cluster/net/remote_shards.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <limits>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kHeader = sizeof(FrameHeader);
constexpr int64_t kNaiveKeyBytes = 8;

}  // namespace

RemoteShards::RemoteShards(const NodeMap& map, const Options& options,
                           std::vector<RemoteTable> tables)
    : map_(map), options_(options), tables_(std::move(tables)) {
  CHECK_EQ(map.endpoints.size(), static_cast<size_t>(map.shards()));
  const int64_t place = int64_t{map.node} * map.workers + options.worker;
  links_ =
      std::make_unique<LinkGroup>(NewClientNumber(place), options.token, options.patience_seconds);
  for (int s = 0; s < map.shards(); ++s) {
    link_of_.push_back(
        map.is_local(s) ? -1
                        : links_->Add(s, map.endpoints[static_cast<size_t>(s)], map.Describe(s)));
  }
}

RemoteShards::~RemoteShards() = default;

void RemoteShards::Partition(const uint64_t* keys, int64_t n, Pull* pull) const {
  CHECK_LE(n, std::numeric_limits<int32_t>::max());
  const int shards = map_.shards();
  pull->begin.assign(static_cast<size_t>(shards) + 1, 0);
  for (int64_t i = 0; i < n; ++i) ++pull->begin[TableShard::ShardOf(keys[i], shards) + 1];
  for (int s = 0; s < shards; ++s) pull->begin[s + 1] += pull->begin[s];
  std::vector<int64_t> next(pull->begin.begin(), pull->begin.end() - 1);
  pull->order.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) {
    pull->order[next[TableShard::ShardOf(keys[i], shards)]++] = static_cast<int32_t>(i);
  }
}

std::shared_ptr<const SentList> RemoteShards::ListFor(const Pull& pull, int shard,
                                                      const uint64_t* keys) {
  const RemoteTable& table = tables_[static_cast<size_t>(pull.table)];
  const int64_t begin = pull.begin[shard], n = pull.begin[shard + 1] - begin;
  keys_.resize(static_cast<size_t>(n));
  for (int64_t i = 0; i < n; ++i) keys_[i] = keys[pull.order[begin + i]];
  auto list = std::make_shared<SentList>();
  list->keys = n;
  list->key_bytes = table.key_bytes;
  list->packed.resize(static_cast<size_t>(n * table.key_bytes));
  PackKeys(keys_.data(), n, table.key_bytes, list->packed.data());
  list->number = NumberOfList(pull.table, table.key_bytes, list->packed);
  return list;
}

FrameHeader RemoteShards::HeaderFor(FrameKind kind, int table) const {
  FrameHeader header;
  header.kind = kind;
  header.table = static_cast<uint16_t>(table);
  header.width = static_cast<uint16_t>(tables_[static_cast<size_t>(table)].width);
  header.value_bytes = static_cast<uint8_t>(options_.wire);
  return header;
}

std::unique_ptr<RemoteShards::Pull> RemoteShards::Request(int table, const uint64_t* keys,
                                                          int64_t n, Missing missing) {
  auto pull = std::make_unique<Pull>();
  pull->table = table;
  pull->keys = n;
  Partition(keys, n, pull.get());
  pull->lists.resize(link_of_.size());
  pull->requests.resize(link_of_.size());
  for (int s = 0; s < map_.shards(); ++s) {
    if (link_of_[s] < 0 || pull->begin[s] == pull->begin[s + 1]) continue;
    FrameHeader header = HeaderFor(FrameKind::kPull, table);
    if (missing == Missing::kInsert) header.flags = kInserts;
    pull->lists[s] = ListFor(*pull, s, keys);
    ++links_->counters.pulls;
    links_->counters.keys_pulled += pull->lists[s]->keys;
    pull->requests[s] = links_->link(link_of_[s])->Ask(header, Packet(kHeader), pull->lists[s]);
  }
  return pull;
}

void RemoteShards::Await(Pull* pull, float* values) {
  const int64_t width = tables_[static_cast<size_t>(pull->table)].width;
  Packet packet;
  Frame frame;
  for (int s = 0; s < map_.shards(); ++s) {
    if (pull->lists[s] == nullptr) continue;
    CHECK(links_->Await(link_of_[s], pull->requests[s], &packet, &frame));
    const int64_t begin = pull->begin[s], n = pull->begin[s + 1] - begin;
    const FrameHeader& h = frame.header;
    if (h.kind != FrameKind::kValues || h.keys != n || h.width != width) {
      throw Fail(ExitCode::kInternal, map_.Describe(s), " answers a pull of ", n, " rows with ",
                 NameOf(h.kind), " of ", h.keys, " x ", h.width);
    }
    scratch_.resize(static_cast<size_t>(n * width));
    FromWire(static_cast<WireType>(h.value_bytes), frame.values.data(), n * width, scratch_.data());
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(values + pull->order[begin + i] * width, scratch_.data() + i * width,
                  static_cast<size_t>(width) * sizeof(float));
    }
  }
}

void RemoteShards::Cancel(std::unique_ptr<Pull> pull) {
  for (size_t s = 0; s < pull->lists.size(); ++s) {
    if (pull->lists[s] != nullptr) links_->link(link_of_[s])->Cancel(pull->requests[s]);
  }
}

void RemoteShards::Push(std::unique_ptr<Pull> pull, const float* gradients, float rate) {
  const int64_t width = tables_[static_cast<size_t>(pull->table)].width;
  for (int s = 0; s < map_.shards(); ++s) {
    if (pull->lists[s] == nullptr) continue;
    const int64_t begin = pull->begin[s], n = pull->begin[s + 1] - begin;
    scratch_.resize(static_cast<size_t>(n * width));
    for (int64_t i = 0; i < n; ++i) {
      std::memcpy(scratch_.data() + i * width, gradients + pull->order[begin + i] * width,
                  static_cast<size_t>(width) * sizeof(float));
    }
    FrameHeader header = HeaderFor(FrameKind::kPush, pull->table);
    header.rate = rate;
    header.epoch = epoch_;
    Packet packet(kHeader + n * width * BytesOf(options_.wire));
    ToWire(options_.wire, scratch_.data(), n * width, packet.data() + kHeader);
    ++links_->counters.pushes;
    links_->counters.keys_pushed += n;
    links_->link(link_of_[s])->Ask(header, std::move(packet), pull->lists[s]);
  }
}

void RemoteShards::Drain() { links_->Drain(); }

// Pull and push of each feature: a key and its values each time.
void RemoteShards::CountFeatures(const Pull& pull, const std::vector<uint32_t>& index) {
  remote_key_.assign(static_cast<size_t>(pull.keys), 0);
  for (int s = 0; s < map_.shards(); ++s) {
    if (link_of_[s] < 0) continue;
    for (int64_t i = pull.begin[s]; i < pull.begin[s + 1]; ++i) remote_key_[pull.order[i]] = 1;
  }
  int64_t features = 0;
  for (const uint32_t k : index) features += remote_key_[k];
  const int64_t width = tables_[static_cast<size_t>(pull.table)].width;
  links_->counters.naive_bytes += features * 2 * (kNaiveKeyBytes + 4 * width);
}

}  // namespace mariana
