#include "mariana_cluster/net/shard_desk.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kHeader = sizeof(FrameHeader);
constexpr int64_t kFramingBytes = 9;  // ZMTP's, of a long message
constexpr int64_t kTimesTold = 5;     // of one kind of trouble
constexpr size_t kMostSessions = 1 << 14;
constexpr int64_t kBlockFloats = 1 << 14;  // gathered before they are written as they travel

}  // namespace

int KeyBytesOf(const TableShard& shard) {
  return shard.form() == TableForm::kHashed ? static_cast<int>((shard.bits() + 7) / 8) : 8;
}

ShardDesk::ShardDesk(const Options& options, std::vector<std::shared_ptr<TableShard>> shards,
                     PushLedger* ledger, DenseOwner* dense, Reply reply)
    : options_(options),
      shards_(std::move(shards)),
      ledger_(ledger),
      dense_(dense),
      reply_(std::move(reply)),
      lists_(options.list_bytes) {
  const int64_t torn = ledger->SettleTorn();
  if (torn == 0) return;
  Count(&Counters::torn, torn);
  options_.warn(StrCat("server ", options.shard, " was ended while it applied ", torn,
                       torn == 1 ? " push" : " pushes", " of other nodes: part of it is lost"));
}

ShardDesk::Counters ShardDesk::counters() const {
  std::unique_lock<std::mutex> lock(counters_mutex_);
  return counters_;
}

void ShardDesk::Count(int64_t Counters::*counter, int64_t n) {
  std::unique_lock<std::mutex> lock(counters_mutex_);
  counters_.*counter += n;
}

void ShardDesk::Refuse(const std::string& why) {
  Count(&Counters::refused);
  if (counters().refused > kTimesTold) return;
  options_.warn(StrCat("server ", options_.shard, " refused a frame: ", why));
}

void ShardDesk::SendPacket(const std::string& peer, const FrameHeader& header, Packet packet) {
  SealFrame(header, packet.data(), packet.bytes());
  Count(&Counters::bytes_out, packet.bytes() + kFramingBytes);
  reply_(peer, std::move(packet));
}

void ShardDesk::Send(const std::string& peer, const FrameHeader& header, std::string_view body) {
  Packet packet(kHeader + static_cast<int64_t>(body.size()));
  if (!body.empty()) std::memcpy(packet.data() + kHeader, body.data(), body.size());
  SendPacket(peer, header, std::move(packet));
}

void ShardDesk::Handle(const std::string& peer, std::string_view bytes) {
  Count(&Counters::frames);
  Count(&Counters::bytes_in, static_cast<int64_t>(bytes.size()) + kFramingBytes);
  Frame frame;
  if (const char* why = ParseFrame(bytes, &frame)) return Refuse(why);
  if (frame.header.kind == FrameKind::kHello) return Greet(peer, frame);
  const auto known = by_peer_.find(peer);
  if (known == by_peer_.end()) {
    FrameHeader header;
    header.kind = FrameKind::kUnknownPeer;
    return Send(peer, header);
  }
  sessions_.splice(sessions_.begin(), sessions_, known->second);
  Session* session = &sessions_.front();
  if (frame.header.kind == FrameKind::kProof) return CheckProof(session, frame);
  if (!session->welcome) return Refuse("asked before the token was shown");
  Answer(session, frame);
}

// ---- greeting
ShardDesk::Session* ShardDesk::Meet(const std::string& peer) {
  const auto known = by_peer_.find(peer);
  if (known != by_peer_.end()) return &*known->second;
  if (sessions_.size() >= kMostSessions) {
    by_peer_.erase(sessions_.back().peer);
    sessions_.pop_back();
  }
  sessions_.emplace_front();
  sessions_.front().peer = peer;
  sessions_.front().number = ++sessions_made_;
  by_peer_[peer] = sessions_.begin();
  return &sessions_.front();
}

void ShardDesk::Greet(const std::string& peer, const Frame& frame) {
  if (frame.header.shard != options_.shard) {
    FrameHeader header;
    header.kind = FrameKind::kRefused;
    return Send(peer, header,
                StrCat("this is server ", options_.shard, ", not ", frame.header.shard,
                       ": another job listens there"));
  }
  Session* session = Meet(peer);
  session->client = frame.header.client;
  std::memcpy(session->theirs.data(), frame.values.data(), session->theirs.size());
  if (options_.token.empty()) return Admit(session);
  session->mine = RandomNonce();
  FrameHeader header;
  header.kind = FrameKind::kChallenge;
  Send(peer, header, {reinterpret_cast<const char*>(session->mine.data()), session->mine.size()});
}

void ShardDesk::CheckProof(Session* session, const Frame& frame) {
  Nonce proof;
  std::memcpy(proof.data(), frame.values.data(), proof.size());
  const bool good =
      !options_.token.empty() &&
      Equal(proof, ProofOf(options_.token, Prover::kClient, session->mine, session->theirs));
  session->proof = ProofOf(options_.token, Prover::kServer, session->mine, session->theirs);
  session->mine = RandomNonce();  // a challenge is good for one try
  if (good) return Admit(session);
  FrameHeader header;
  header.kind = FrameKind::kRefused;
  Send(session->peer, header, "its token is another (parallel.token_file)");
  Refuse("a client with a wrong token");
}

void ShardDesk::Admit(Session* session) {
  session->welcome = true;
  Welcome w;
  w.instance = instance_;
  w.session = session->number;
  w.last_push = ledger_->Last(session->client);
  if (!options_.token.empty()) std::memcpy(w.proof, session->proof.data(), sizeof(w.proof));
  FrameHeader header;
  header.kind = FrameKind::kWelcome;
  Send(session->peer, header, {reinterpret_cast<const char*>(&w), sizeof(w)});
}

// ---- questions
const char* ShardDesk::WhyNot(const FrameHeader& h) const {
  if (h.table >= shards_.size()) return "of a table that is not there";
  const TableShard& shard = *shards_[h.table];
  if (h.key_bytes != KeyBytesOf(shard)) return "keys of another length than the table's";
  if (h.width != shard.layout().width) return "rows of another width than the table's";
  if (h.value_bytes != 2 && h.value_bytes != 4) return "values must have 2 or 4 bytes";
  return nullptr;
}

void ShardDesk::Answer(Session* session, const Frame& frame) {
  const FrameHeader& h = frame.header;
  const char* why = nullptr;
  switch (h.kind) {
    case FrameKind::kPull:
    case FrameKind::kPush: why = WhyNot(h); break;
    case FrameKind::kDense:
    case FrameKind::kDenseAsk:
    case FrameKind::kDenseFinal: why = AnswerDense(*session, frame); break;
    default: why = "not a question";
  }
  if (why != nullptr) return Reject(*session, frame, why);
  if (h.kind == FrameKind::kPull) Pull(*session, frame);
  if (h.kind == FrameKind::kPush) Push(*session, frame);
}

// A client that was greeted hears why; it has another version of the program, or a bug.
void ShardDesk::Reject(const Session& session, const Frame& frame, const char* why) {
  Refuse(StrCat(NameOf(frame.header.kind), ": ", why));
  FrameHeader header;
  header.kind = FrameKind::kRefused;
  Send(session.peer, header, StrCat("a frame (", NameOf(frame.header.kind), ") is ", why));
}

const char* ShardDesk::AnswerDense(const Session& session, const Frame& frame) {
  if (dense_ == nullptr) return "of dense parameters, which this server has none of";
  std::vector<DenseOwner::Answer> answers;
  const char* why = dense_->Handle(session.peer, frame, &answers);
  for (const DenseOwner::Answer& a : answers) Send(a.peer, a.header, a.body);
  return why;
}

KeyList* ShardDesk::ListOf(const Session& session, const Frame& frame) {
  const FrameHeader& h = frame.header;
  if (KeyList* known = lists_.Find(h.list);
      known != nullptr && known->keys.size() == h.keys && known->table == h.table) {
    return known;
  }
  if (frame.keys.empty()) {
    Count(&Counters::unknown_lists);
    FrameHeader header;
    header.kind = FrameKind::kListUnknown;
    header.request = h.request;
    Send(session.peer, header);
    return nullptr;
  }
  if (NumberOfList(h.table, h.key_bytes, frame.keys) != h.list) {
    Reject(session, frame, "a list of another number than its keys have");
    return nullptr;
  }
  UnpackKeys(frame.keys, h.key_bytes, &keys_);
  const TableShard& shard = *shards_[h.table];
  const bool keyed = shard.form() == TableForm::kKeyed;
  for (const uint64_t key : keys_) {
    if ((key != 0 || !keyed) && TableShard::ShardOf(key, shard.shards()) == shard.shard()) continue;
    Reject(session, frame, "of keys of another shard");
    return nullptr;
  }
  KeyList* list = lists_.Add(h.list, h.keys);
  list->table = h.table;
  list->keys.swap(keys_);
  return list;
}

void ShardDesk::LocateRows(const TableShard& shard, Missing missing, KeyList* list) const {
  // Rows of a hashed table are where they are; a keyed one counts sightings of keys without a row.
  if (!list->rows.empty() && (shard.form() == TableForm::kHashed || list->all_found)) return;
  list->rows.resize(list->keys.size());
  shard.Locate(list->keys.data(), static_cast<int64_t>(list->keys.size()), missing,
               list->rows.data());
  list->all_found = std::find(list->rows.begin(), list->rows.end(), nullptr) == list->rows.end();
}

void ShardDesk::Pull(const Session& session, const Frame& frame) {
  KeyList* list = ListOf(session, frame);
  if (list == nullptr) return;
  FrameHeader h = frame.header;
  const TableShard& shard = *shards_[h.table];
  LocateRows(shard, (h.flags & kInserts) != 0 ? Missing::kInsert : Missing::kSkip, list);
  const auto n = static_cast<int64_t>(h.keys);
  const auto wire = static_cast<WireType>(h.value_bytes);
  const int64_t width = h.width;
  Packet packet(kHeader + n * width * BytesOf(wire));
  const int64_t block = std::max<int64_t>(1, kBlockFloats / width);
  floats_.resize(static_cast<size_t>(block * width));
  for (int64_t i = 0; i < n; i += block) {
    const int64_t m = std::min(block, n - i);
    shard.Gather(list->rows.data() + i, m, floats_.data());
    ToWire(wire, floats_.data(), m * width, packet.data() + kHeader + i * width * BytesOf(wire));
  }
  h.kind = FrameKind::kValues;
  h.flags = 0;
  Count(&Counters::pulls);
  Count(&Counters::keys_pulled, n);
  SendPacket(session.peer, h, std::move(packet));
}

void ShardDesk::Push(const Session& session, const Frame& frame) {
  const FrameHeader& h = frame.header;
  FrameHeader header;
  header.kind = FrameKind::kPushed;
  header.request = h.request;
  if (h.request <= ledger_->Last(session.client)) {
    Count(&Counters::repeated);
    return Send(session.peer, header);
  }
  KeyList* list = ListOf(session, frame);
  if (list == nullptr) return;
  if (h.epoch != epoch_.load(std::memory_order_relaxed)) Count(&Counters::other_epoch);
  const TableShard& shard = *shards_[h.table];
  if (list->rows.empty()) LocateRows(shard, Missing::kSkip, list);
  ledger_->Begin(session.client, h.request);
  Apply(shard, frame, *list);
  ledger_->End(session.client);
  Count(&Counters::pushes);
  Count(&Counters::keys_pushed, h.keys);
  Send(session.peer, header);
}

void ShardDesk::Apply(const TableShard& shard, const Frame& frame, const KeyList& list) {
  const auto wire = static_cast<WireType>(frame.header.value_bytes);
  const int64_t n = frame.header.keys, width = frame.header.width;
  const int64_t block = std::max<int64_t>(1, kBlockFloats / width);
  floats_.resize(static_cast<size_t>(block * width));
  for (int64_t i = 0; i < n; i += block) {
    const int64_t m = std::min(block, n - i);
    FromWire(wire, frame.values.data() + i * width * BytesOf(wire), m * width, floats_.data());
    shard.Apply(list.rows.data() + i, m, floats_.data(), frame.header.rate);
  }
}

}  // namespace mariana
