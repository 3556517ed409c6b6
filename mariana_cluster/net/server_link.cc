#include "mariana_cluster/net/server_link.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/clock.h"
#include "common/base/error.h"
#include "mariana_cluster/net/push_ledger.h"

namespace mariana {
namespace {

constexpr int64_t kHeader = sizeof(FrameHeader);
constexpr int64_t kFramingBytes = 9;  // ZMTP's, of a long message
constexpr int64_t kLookAgainMs = 100;
constexpr int64_t kGreetAgainNs = 1'000'000'000;

std::string_view BytesOfNonce(const Nonce& nonce) {
  return {reinterpret_cast<const char*>(nonce.data()), nonce.size()};
}

// Room for a header, then the bodies.
Packet PacketWith(std::string_view first, std::string_view second = {}) {
  Packet packet(kHeader + static_cast<int64_t>(first.size() + second.size()));
  if (!first.empty()) std::memcpy(packet.data() + kHeader, first.data(), first.size());
  if (!second.empty()) {
    std::memcpy(packet.data() + kHeader + first.size(), second.data(), second.size());
  }
  return packet;
}

bool IsDense(FrameKind kind) {
  return kind == FrameKind::kDense || kind == FrameKind::kDenseFinal ||
         kind == FrameKind::kDenseAsk;
}

}  // namespace

ServerLink::ServerLink(const SocketContext& context, const Options& options, LinkCounters* counters)
    : options_(options),
      counters_(counters),
      socket_(context, ZMQ_DEALER),
      mine_(RandomNonce()),
      last_request_(options.last_request),
      heard_ns_(Clock::Real()->NowNs()),
      asked_ns_(heard_ns_) {
  socket_.Connect(options.endpoint);
  SendHello();
}

void ServerLink::SendHello() {
  greeted_ns_ = Clock::Real()->NowNs();
  FrameHeader header;
  header.kind = FrameKind::kHello;
  SendFrame(header, PacketWith(BytesOfNonce(mine_)));
}

// Seals what has room for its header, as this client's.
void ServerLink::SendFrame(const FrameHeader& header, Packet packet) {
  FrameHeader signed_header = header;
  signed_header.client = options_.client;
  // Of dense parameters it is the node that asks.
  if (!IsDense(header.kind)) signed_header.shard = static_cast<uint16_t>(options_.shard);
  SealFrame(signed_header, packet.data(), packet.bytes());
  counters_->bytes_sent += packet.bytes() + kFramingBytes;
  socket_.Send(std::move(packet));
}

uint64_t ServerLink::Ask(FrameHeader header, Packet frame, std::shared_ptr<const SentList> list) {
  header.request = ++last_request_;
  if (!Waits()) asked_ns_ = Clock::Real()->NowNs();
  Question q;
  q.header = header;
  q.frame = std::move(frame);
  q.list = std::move(list);
  questions_.push_back(std::move(q));
  if (welcome_) {
    Question& last = questions_.back();
    SendQuestion(&last, last.list != nullptr && known_lists_.count(last.list->number) == 0);
  }
  return header.request;
}

void ServerLink::SendQuestion(Question* q, bool with_keys) {
  FrameHeader header = q->header;
  std::string_view keys;
  if (q->list != nullptr) {
    header.list = q->list->number;
    header.keys = static_cast<uint32_t>(q->list->keys);
    header.key_bytes = static_cast<uint8_t>(q->list->key_bytes);
    ++(with_keys ? counters_->lists_sent : counters_->lists_spared);
  }
  if (with_keys) {
    header.flags |= kHasKeys;
    keys = q->list->packed;
    if (known_lists_.size() >= kMostKnownLists) known_lists_.clear();
    known_lists_.insert(q->list->number);
  } else if (!q->sent) {  // the first time where it lies; ZeroMQ may still hold that later
    q->sent = true;
    return SendFrame(header, q->frame.Share());
  }
  SendFrame(header, PacketWith(keys, q->frame.view().substr(kHeader)));
}

void ServerLink::Pump() {
  while (auto packet = socket_.Receive()) HandleFrame(std::move(*packet));
}

void ServerLink::HandleFrame(Packet packet) {
  heard_ns_ = Clock::Real()->NowNs();
  counters_->bytes_received += packet.bytes() + kFramingBytes;
  Frame frame;
  if (const char* why = ParseFrame(packet.view(), &frame)) {
    throw Fail(ExitCode::kInternal, options_.name, " sent a malformed frame: ", why);
  }
  switch (frame.header.kind) {
    case FrameKind::kChallenge: return Prove(frame);
    case FrameKind::kWelcome: return Enter(frame);
    case FrameKind::kRefused:
      throw Fail(ExitCode::kUsage, options_.name, " refuses this node: ", frame.values);
    case FrameKind::kUnknownPeer:
      // Of frames that were sent before a greeting that is under way, no more than that is meant.
      if (heard_ns_ - greeted_ns_ > kGreetAgainNs / 10) SendHello();
      return;
    case FrameKind::kListUnknown: return AskAgain(frame.header.request);
    default: break;
  }
  const auto q = FindQuestion(frame.header.request);
  if (q == questions_.end()) return;  // answered before
  if (q->cancelled || frame.header.kind == FrameKind::kPushed) {
    questions_.erase(q);
  } else {
    q->answer = std::move(packet);
  }
}

void ServerLink::Prove(const Frame& challenge) {
  if (options_.token.empty()) {
    throw Fail(ExitCode::kUsage, options_.name,
               " asks for a token, and this node has none: set parallel.token_file");
  }
  std::memcpy(theirs_.data(), challenge.values.data(), theirs_.size());
  const Nonce proof = ProofOf(options_.token, Prover::kClient, theirs_, mine_);
  FrameHeader header;
  header.kind = FrameKind::kProof;
  SendFrame(header, PacketWith(BytesOfNonce(proof)));
}

void ServerLink::Enter(const Frame& frame) {
  Welcome w;
  std::memcpy(&w, frame.values.data(), sizeof(w));
  if (!options_.token.empty()) {
    Nonce proof;
    std::memcpy(proof.data(), w.proof, proof.size());
    if (!Equal(proof, ProofOf(options_.token, Prover::kServer, theirs_, mine_))) {
      throw Fail(ExitCode::kUsage, options_.name,
                 " does not know the token of parallel.token_file: another program listens there");
    }
  }
  const bool same_session =
      welcome_ && w.instance == server_.instance && w.session == server_.session;
  if (w.instance != server_.instance) known_lists_.clear();
  const bool first = !welcome_;
  welcome_ = true;
  server_ = w;
  if (same_session) return;
  ++counters_->greetings;
  // Pushes whose answers were lost.
  questions_.erase(std::remove_if(questions_.begin(), questions_.end(),
                                  [&](const Question& q) {
                                    return q.header.kind == FrameKind::kPush &&
                                           q.header.request <= w.last_push;
                                  }),
                   questions_.end());
  for (Question& q : questions_) {
    if (q.answer || q.cancelled) continue;
    if (!first) ++counters_->resent;
    SendQuestion(&q, q.list != nullptr && known_lists_.count(q.list->number) == 0);
  }
}

// The server has forgotten the list. A push gets a new number: later ones may have been applied.
void ServerLink::AskAgain(uint64_t request) {
  const auto found = FindQuestion(request);
  if (found == questions_.end()) return;
  Question q = std::move(*found);
  questions_.erase(found);
  if (q.cancelled || q.list == nullptr) return;
  if (q.header.kind == FrameKind::kPush) {
    q.header.request = ++last_request_;
    questions_.push_back(std::move(q));
    return SendQuestion(&questions_.back(), true);
  }
  const auto place =
      std::upper_bound(questions_.begin(), questions_.end(), request,
                       [](uint64_t r, const Question& other) { return r < other.header.request; });
  SendQuestion(&*questions_.insert(place, std::move(q)), true);
}

std::deque<ServerLink::Question>::iterator ServerLink::FindQuestion(uint64_t request) {
  const auto found =
      std::lower_bound(questions_.begin(), questions_.end(), request,
                       [](const Question& q, uint64_t r) { return q.header.request < r; });
  return found != questions_.end() && found->header.request == request ? found : questions_.end();
}

bool ServerLink::Take(uint64_t request, Packet* packet, Frame* frame) {
  const auto q = FindQuestion(request);
  CHECK(q != questions_.end()) << options_.name << ": question " << request << " was never asked";
  if (!q->answer) return false;
  *packet = std::move(*q->answer);
  questions_.erase(q);
  CHECK(ParseFrame(packet->view(), frame) == nullptr);
  return true;
}

void ServerLink::Cancel(uint64_t request) {
  const auto q = FindQuestion(request);
  if (q == questions_.end()) return;
  if (q->answer) {
    questions_.erase(q);
  } else {
    q->cancelled = true;
  }
}

int64_t ServerLink::unanswered_pushes() const {
  return std::count_if(questions_.begin(), questions_.end(),
                       [](const Question& q) { return q.header.kind == FrameKind::kPush; });
}

bool ServerLink::Waits() const {
  return !welcome_ || std::any_of(questions_.begin(), questions_.end(),
                                  [](const Question& q) { return !q.answer; });
}

void ServerLink::Nudge(int64_t now_ns, double patience_seconds) {
  if (!Waits()) return;
  const auto silent = static_cast<double>(now_ns - std::max(heard_ns_, asked_ns_)) * 1e-9;
  if (silent > patience_seconds) {
    throw Fail(ExitCode::kLostWorkers, options_.name, " has not answered for ",
               static_cast<int64_t>(silent), " s");
  }
  if (now_ns - std::max({heard_ns_, asked_ns_, greeted_ns_}) > kGreetAgainNs) SendHello();
}

// ---- all of a client
LinkGroup::LinkGroup(uint64_t client, const std::string& token, double patience_seconds)
    : client_(client), token_(token), patience_seconds_(patience_seconds) {}

int LinkGroup::Add(int shard, const std::string& endpoint, const std::string& name,
                   uint64_t last_request) {
  links_.push_back(std::make_unique<ServerLink>(
      context_, ServerLink::Options{client_, token_, shard, endpoint, name, last_request},
      &counters));
  items_.push_back({links_.back()->socket(), 0, ZMQ_POLLIN, 0});
  return links() - 1;
}

void LinkGroup::Pump(int64_t timeout_ms) {
  zmq_poll(items_.data(), static_cast<int>(items_.size()), timeout_ms);
  for (const auto& link : links_) link->Pump();
  const int64_t now = Clock::Real()->NowNs();
  for (const auto& link : links_) link->Nudge(now, patience_seconds_);
}

bool LinkGroup::Await(int i, uint64_t request, Packet* packet, Frame* frame) {
  link(i)->Pump();
  while (!link(i)->Take(request, packet, frame)) {
    if (stop_) return false;
    Pump(kLookAgainMs);
  }
  return true;
}

void LinkGroup::Drain() {
  const auto left = [this] {
    return std::any_of(links_.begin(), links_.end(),
                       [](const auto& link) { return link->unanswered_pushes() > 0; });
  };
  while (left()) Pump(kLookAgainMs);
}

uint64_t NewClientNumber(int64_t place) {
  CHECK(place >= 0 && place < PushLedger::kPlaces) << place;
  return RandomNumber() / PushLedger::kPlaces * PushLedger::kPlaces + static_cast<uint64_t>(place);
}

}  // namespace mariana
