// ShardDesk: what a server answers to the frames of workers of other nodes: who they are (token),
// weights of their keys, their gradients applied, with the kernels and the rows that workers of its
// own node use directly. No sockets, no threads: ShardService (shard_service.h) runs it, tests and
// the fuzzer call it.
//
// Nothing but a greeting is answered before the client has proved that it has the token. What is
// malformed, out of order or of other keys than this shard's is refused, counted and, the first
// times, told. Pushes of a client are applied once each, in order (PushLedger).
//
// Thread-compatible; counters() from any thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <mutex>
#include <string>
#include <unordered_map>
#include <vector>

#include "mariana_cluster/net/dense_owner.h"
#include "mariana_cluster/net/frame.h"
#include "mariana_cluster/net/key_lists.h"
#include "mariana_cluster/net/packet.h"
#include "mariana_cluster/net/push_ledger.h"
#include "mariana_cluster/net/token.h"
#include "mariana_cluster/net/wire_values.h"
#include "mariana_cluster/table/table_shard.h"

namespace mariana {

class ShardDesk {
 public:
  struct Options {
    int shard = 0;      // the number of this server among those of all nodes
    std::string token;  // empty: none is asked for (loopback)
    int64_t list_bytes = int64_t{64} << 20;
    // One line, of a kind a few times only.
    std::function<void(const std::string&)> warn = [](const std::string&) {};
  };
  struct Counters {
    int64_t frames = 0, refused = 0;  // refused: malformed, or before greeting
    int64_t pulls = 0, pushes = 0, keys_pulled = 0, keys_pushed = 0;
    int64_t repeated = 0;       // pushes that came again and were not applied
    int64_t torn = 0;           // pushes that a server's death cut short
    int64_t unknown_lists = 0;  // asked for again
    int64_t other_epoch = 0;    // pushes of another snapshot epoch than the shard's
    int64_t bytes_in = 0, bytes_out = 0;
  };
  // What it sends: a frame to a client's connection.
  using Reply = std::function<void(const std::string& peer, Packet frame)>;

  // `shards`: of every table, this server's; may be empty (dense alone). `ledger` outlives it and
  // holds what a former process of this server knew. `dense`: null where the node owns no slices.
  ShardDesk(const Options& options, std::vector<std::shared_ptr<TableShard>> shards,
            PushLedger* ledger, DenseOwner* dense, Reply reply);

  // A frame that came from a connection. Error(kIo) when memory for rows ends.
  void Handle(const std::string& peer, std::string_view bytes);

  // Rows may have moved (Evict).
  void ForgetRows() { lists_.ForgetRows(); }
  // The snapshot epoch that pushes are to carry.
  void set_epoch(uint32_t epoch) { epoch_.store(epoch, std::memory_order_relaxed); }
  Counters counters() const;

 private:
  struct Session {
    std::string peer;
    bool welcome = false;
    uint64_t client = 0, number = 0;
    Nonce mine{}, theirs{}, proof{};  // proof: this server's own
  };

  void Count(int64_t Counters::*counter, int64_t n = 1);
  void Refuse(const std::string& why);
  void Send(const std::string& peer, const FrameHeader& header, std::string_view body = {});
  void SendPacket(const std::string& peer, const FrameHeader& header, Packet packet);
  Session* Meet(const std::string& peer);
  void Greet(const std::string& peer, const Frame& frame);
  void CheckProof(Session* session, const Frame& frame);
  void Admit(Session* session);
  void Answer(Session* session, const Frame& frame);
  const char* WhyNot(const FrameHeader& header) const;
  const char* AnswerDense(const Session& session, const Frame& frame);
  void Reject(const Session& session, const Frame& frame, const char* why);
  // The frame's list, from its keys or from what is known; null: unknown (answered) or not of this
  // shard's keys (refused).
  KeyList* ListOf(const Session& session, const Frame& frame);
  void LocateRows(const TableShard& shard, Missing missing, KeyList* list) const;
  void Pull(const Session& session, const Frame& frame);
  void Push(const Session& session, const Frame& frame);
  void Apply(const TableShard& shard, const Frame& frame, const KeyList& list);

  const Options options_;
  std::vector<std::shared_ptr<TableShard>> shards_;
  PushLedger* ledger_;
  DenseOwner* dense_;
  Reply reply_;
  const uint64_t instance_ = RandomNumber();
  uint64_t sessions_made_ = 0;
  std::list<Session> sessions_;  // the one heard last first
  std::unordered_map<std::string, std::list<Session>::iterator> by_peer_;
  KeyLists lists_;
  std::vector<float> floats_;
  std::vector<uint64_t> keys_;
  std::atomic<uint32_t> epoch_{0};
  mutable std::mutex counters_mutex_;
  Counters counters_;
};

// How many of its first bytes tell the rows of a shard's table apart.
int KeyBytesOf(const TableShard& shard);

}  // namespace mariana
