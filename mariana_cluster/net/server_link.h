// ServerLink: a connection to one server as its client sees it: greeting, questions in order and
// their answers, and everything again when the server or the connection was lost meanwhile.
// LinkGroup: the links of one client, and waiting for them.
//
// Thread-compatible. Waiting is in zmq_poll: sockets know no Clock.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <unordered_set>
#include <vector>

#include "mariana_cluster/net/frame.h"
#include "mariana_cluster/net/key_lists.h"
#include "mariana_cluster/net/packet.h"
#include "mariana_cluster/net/token.h"

namespace mariana {

// A list of keys as it travels; kept until nobody may ask for it again.
struct SentList {
  uint64_t number = 0;
  int64_t keys = 0;
  int key_bytes = 8;
  std::string packed;
};

struct LinkCounters {
  int64_t bytes_sent = 0, bytes_received = 0;  // of frames, with ZeroMQ's own few
  int64_t naive_bytes = 0;  // what 8-byte keys, fp32 values and no deduplication would have taken
  int64_t pulls = 0, pushes = 0, keys_pulled = 0, keys_pushed = 0;
  int64_t lists_sent = 0, lists_spared = 0;  // keys, or their number alone
  int64_t resent = 0;                        // questions, after a server or connection was lost
  int64_t greetings = 0;                     // sessions, the first included
};

class ServerLink {
 public:
  struct Options {
    uint64_t client = 0;  // PushLedger's; of all links of a client the same
    std::string token;
    int shard = 0;  // that the server must say it is
    std::string endpoint;
    std::string name;           // for people
    uint64_t last_request = 0;  // of a former process: questions are numbered from there on
  };
  ServerLink(const SocketContext& context, const Options& options, LinkCounters* counters);

  // Sends a question as soon as the server has been greeted; returns its number. `frame`: the body
  // from byte 64 on, keys left out; `list` null: it has none.
  uint64_t Ask(FrameHeader header, Packet frame, std::shared_ptr<const SentList> list);
  // Takes in what has come. Throws Error(kUsage) for a wrong token, Error(kInternal) for an answer
  // that is none.
  void Pump();
  // The answer to a question, once; its frame's views lie in *packet.
  bool Take(uint64_t request, Packet* packet, Frame* frame);
  void Cancel(uint64_t request);
  int64_t unanswered_pushes() const;
  bool idle() const { return questions_.empty() && welcome_; }
  // Greets again where nothing has come for a second though something should; Error(kLostWorkers)
  // after `patience_seconds`.
  void Nudge(int64_t now_ns, double patience_seconds);
  const std::string& name() const { return options_.name; }
  void* socket() const { return socket_.get(); }

 private:
  struct Question {
    FrameHeader header;
    Packet frame;  // as it was sent, keys left out
    std::shared_ptr<const SentList> list;
    bool sent = false, cancelled = false;
    std::optional<Packet> answer;
  };
  static constexpr size_t kMostKnownLists = 1 << 16;

  void SendHello();
  void SendQuestion(Question* question, bool with_keys);
  void SendFrame(const FrameHeader& header, Packet packet);
  void HandleFrame(Packet packet);
  void Prove(const Frame& challenge);
  void Enter(const Frame& welcome);
  void AskAgain(uint64_t request);
  std::deque<Question>::iterator FindQuestion(uint64_t request);
  bool Waits() const;

  const Options options_;
  LinkCounters* counters_;
  Socket socket_;
  Nonce mine_, theirs_{};
  bool welcome_ = false;
  Welcome server_;
  uint64_t last_request_ = 0;
  std::deque<Question> questions_;                // ascending
  std::unordered_set<uint64_t> known_lists_;      // that the server has, unless it forgot them
  int64_t heard_ns_, asked_ns_, greeted_ns_ = 0;  // asked: the first that is not answered
};

class LinkGroup {
 public:
  LinkGroup(uint64_t client, const std::string& token, double patience_seconds);
  // The number of the link, from 0.
  int Add(int shard, const std::string& endpoint, const std::string& name,
          uint64_t last_request = 0);

  ServerLink* link(int i) const { return links_[static_cast<size_t>(i)].get(); }
  int links() const { return static_cast<int>(links_.size()); }
  // Takes in what has come, waiting up to so long for something to come.
  void Pump(int64_t timeout_ms);
  // False when Stop was called before the answer came.
  bool Await(int link, uint64_t request, Packet* packet, Frame* frame);
  void Stop() { stop_ = true; }  // from any thread
  // Until no push is unanswered.
  void Drain();
  LinkCounters counters;

 private:
  const uint64_t client_;
  const std::string token_;
  const double patience_seconds_;
  SocketContext context_;
  std::vector<std::unique_ptr<ServerLink>> links_;
  std::vector<zmq_pollitem_t> items_;
  std::atomic<bool> stop_{false};
};

// A client's number: its place among all workers of the job, and which process it is.
uint64_t NewClientNumber(int64_t place);

}  // namespace mariana
