// Frames, and what a server's desk says to those that are not what it expects.
#include "mariana_cluster/net/frame.h"

#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <functional>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "mariana_cluster/net/shard_desk.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

std::string Sealed(const FrameHeader& header, const std::string& body) {
  std::string frame(sizeof(FrameHeader), '\0');
  frame += body;
  SealFrame(header, frame.data(), static_cast<int64_t>(frame.size()));
  return frame;
}

FrameHeader PullHeader(uint32_t keys) {
  FrameHeader h;
  h.kind = FrameKind::kPull;
  h.flags = kHasKeys | kInserts;
  h.value_bytes = 2;
  h.width = 3;
  h.key_bytes = 8;
  h.keys = keys;
  return h;
}

TEST_CASE("A frame is read as it was written") {
  FrameHeader h = PullHeader(2);
  h.kind = FrameKind::kPush;
  h.flags = kHasKeys;
  h.client = 7;
  h.request = 1ull << 40;
  h.rate = 0.5f;
  const std::string keys = "0123456789abcdef", values = "abcdefghijkl";
  const std::string bytes = Sealed(h, keys + values);
  Frame frame;
  REQUIRE(ParseFrame(bytes, &frame) == nullptr);
  CHECK(frame.keys == keys);
  CHECK(frame.values == values);
  CHECK(frame.header.request == 1ull << 40);
  CHECK(frame.header.rate == 0.5f);
  CHECK(frame.header.client == 7);
}

TEST_CASE("Whatever is not exactly a frame is refused with a reason") {
  const std::string good = Sealed(PullHeader(2), "0123456789abcdef");
  Frame frame;
  REQUIRE(ParseFrame(good, &frame) == nullptr);
  const auto why = [&](const std::string& bytes) {
    const char* text = ParseFrame(bytes, &frame);
    return std::string(text == nullptr ? "" : text);
  };
  CHECK(why("") == "shorter than a header");
  CHECK(why(good.substr(0, 63)) == "shorter than a header");
  CHECK(why(good.substr(0, 70)) == "of another length than its header says");
  CHECK(why(good + "x") == "of another length than its header says");
  // Any bit that is another one.
  for (size_t bit = 0; bit < 8 * good.size(); ++bit) {
    std::string bad = good;
    bad[bit / 8] = static_cast<char>(bad[bit / 8] ^ (1 << bit % 8));
    INFO(bit);
    CHECK(why(bad) != "");
  }
  std::string other = good;
  other[4] = 9;
  CHECK(why(other) == "of another version of mariana_cluster");
  // Headers that contradict themselves though their checksums hold.
  const auto with = [&](const std::function<void(FrameHeader*)>& change) {
    FrameHeader h = PullHeader(2);
    change(&h);
    h.bytes = 16;
    h.crc = 0;
    std::string bytes(reinterpret_cast<const char*>(&h), sizeof(h));
    bytes += "0123456789abcdef";
    h.crc = Crc32c(bytes.data(), bytes.size());
    std::memcpy(bytes.data(), &h, sizeof(h));
    return why(bytes);
  };
  CHECK(with([](FrameHeader*) {}) == "");
  const std::string length = "a body of another length than its keys and values take";
  CHECK(with([](FrameHeader* h) { h->keys = 3; }) == length);
  CHECK(with([](FrameHeader* h) { h->keys = 0; }) == "no keys");
  CHECK(with([](FrameHeader* h) { h->keys = ~0u; }) == "more keys than a frame may have");
  CHECK(with([](FrameHeader* h) { h->key_bytes = 9; }) == "keys must have 1 to 8 bytes");
  CHECK(with([](FrameHeader* h) { h->flags = 0xF0; }) == "unknown flags");
  CHECK(with([](FrameHeader* h) { h->zero2 = 1; }) == "a reserved field is not zero");
  CHECK(with([](FrameHeader* h) { h->rate = NAN; }) == "a rate that is no rate");
  CHECK(with([](FrameHeader* h) { h->kind = FrameKind::kValues; }) ==
        "flags on a frame that has none");
  CHECK(with([](FrameHeader* h) {
          h->kind = FrameKind::kPush;
          h->value_bytes = 3;
        }) == "values must have 2 or 4 bytes");
  CHECK(with([](FrameHeader* h) {
          h->kind = FrameKind::kPush;
          h->keys = kMaxFrameKeys;
          h->width = 65535;
        }) == "longer than a frame may be");
}

TEST_CASE("Keys travel as the bytes that tell them apart") {
  const std::vector<uint64_t> keys = {0x0123456789ABCDEF, 0xFFFFFFFFFFFFFFFF, 0x8000000000000000};
  for (int bytes = 1; bytes <= 8; ++bytes) {
    std::string packed(keys.size() * static_cast<size_t>(bytes), '\0');
    PackKeys(keys.data(), 3, bytes, packed.data());
    std::vector<uint64_t> back;
    UnpackKeys(packed, bytes, &back);
    REQUIRE(back.size() == 3);
    for (size_t i = 0; i < 3; ++i) CHECK(back[i] == (keys[i] & (~0ull << (64 - 8 * bytes))));
  }
}

TEST_CASE("A list's number tells its keys, their order, and its table") {
  const std::string a = "0123456789abcdef0123456789abcdefXYZ";
  const uint64_t number = NumberOfList(0, 1, a);
  CHECK(number == NumberOfList(0, 1, a));
  CHECK(number != NumberOfList(1, 1, a));
  CHECK(number != NumberOfList(0, 5, a));
  for (size_t i = 0; i < a.size(); ++i) {
    std::string b = a;
    ++b[i];
    CHECK(number != NumberOfList(0, 1, b));
    CHECK(number != NumberOfList(0, 1, a.substr(0, i)));
  }
}

TEST_CASE("The lists used longest ago go where there is no room") {
  KeyLists lists(3 * (16 * 10 + 256));
  const auto add = [&](uint64_t number) { lists.Add(number, 10)->keys.assign(10, number); };
  for (const uint64_t n : {1, 2, 3}) add(n);
  CHECK(lists.Find(1) != nullptr);  // used: 2 is the oldest now
  add(4);
  CHECK(lists.Find(2) == nullptr);
  CHECK(lists.Find(1)->keys == std::vector<uint64_t>(10, 1));
  CHECK(lists.lists() == 3);
  CHECK(lists.bytes() == 3 * (16 * 10 + 256));
}

// ---- the desk
struct Desk {
  std::vector<std::string> warnings;
  std::vector<std::string> sent;
  PushLedger ledger = PushLedger::Create();
  std::shared_ptr<TableShard> shard;
  std::unique_ptr<ShardDesk> desk;

  explicit Desk(const std::string& token) {
    TableSpec spec;
    spec.name = "t";
    spec.bits = 12;
    spec.parts = {{"linear", 1, {}, 0}};
    shard = std::make_shared<TableShard>(TableShard::Create(spec, 1, 2));
    ShardDesk::Options options;
    options.shard = 1;
    options.token = token;
    options.warn = [this](const std::string& line) { warnings.push_back(line); };
    desk = std::make_unique<ShardDesk>(
        options, std::vector<std::shared_ptr<TableShard>>{shard}, &ledger, nullptr,
        [this](const std::string&, Packet p) { sent.emplace_back(p.view()); });
  }
  Frame Say(FrameHeader h, const std::string& body) {
    h.shard = 1;
    const size_t before = sent.size();
    desk->Handle("me", Sealed(h, body));
    Frame answer;
    REQUIRE(sent.size() == before + 1);
    REQUIRE(ParseFrame(sent.back(), &answer) == nullptr);
    return answer;
  }
  Frame Hello(const Nonce& nonce) {
    FrameHeader h;
    return Say(h, std::string(nonce.begin(), nonce.end()));
  }
};

TEST_CASE("Nothing is answered before a greeting, nor before the token was shown") {
  Desk d("the token of this job");
  FrameHeader pull = PullHeader(1);
  pull.width = 1;
  pull.key_bytes = 2;
  CHECK(d.Say(pull, "\xFF\xFF").header.kind == FrameKind::kUnknownPeer);
  const Nonce mine = RandomNonce();
  const Frame challenge = d.Hello(mine);
  REQUIRE(challenge.header.kind == FrameKind::kChallenge);
  Nonce theirs;
  std::memcpy(theirs.data(), challenge.values.data(), theirs.size());
  d.desk->Handle("me", Sealed(pull, "\xFF\xFF"));  // not a word
  CHECK(d.sent.size() == 2);
  FrameHeader proof;
  proof.kind = FrameKind::kProof;
  const auto show = [&](const std::string& token, const Nonce& nonce) {
    const Nonce p = ProofOf(token, Prover::kClient, nonce, mine);
    return d.Say(proof, std::string(p.begin(), p.end())).header.kind;
  };
  CHECK(show("another token, or none", theirs) == FrameKind::kRefused);
  CHECK(d.warnings.back() == "server 1 refused a frame: a client with a wrong token");
  // A challenge is good for one try.
  CHECK(show("the token of this job", theirs) == FrameKind::kRefused);
  const Frame again = d.Hello(mine);
  std::memcpy(theirs.data(), again.values.data(), theirs.size());
  CHECK(show("the token of this job", theirs) == FrameKind::kWelcome);
  CHECK(d.desk->counters().refused == 3);
}

TEST_CASE("Frames that do not fit the tables are refused, and the table stays as it was") {
  Desk d("");
  REQUIRE(d.Hello(RandomNonce()).header.kind == FrameKind::kWelcome);
  const auto refused = [&](FrameHeader h, const std::string& body) {
    const std::string keys = (h.flags & kHasKeys) ? body.substr(0, h.keys * h.key_bytes) : "";
    h.list = NumberOfList(h.table, h.key_bytes, keys);
    const Frame answer = d.Say(h, body);
    return answer.header.kind == FrameKind::kRefused ? std::string(answer.values) : "";
  };
  FrameHeader pull = PullHeader(1);
  pull.width = 1;
  pull.key_bytes = 2;
  CHECK(refused(pull, "\xFF\xFF").empty());
  CHECK(refused(pull, std::string(1, '\x10') + "\x01") ==
        "a frame (pull) is of keys of another shard");
  CHECK(refused(pull, std::string(2, '\0')) == "a frame (pull) is of keys of another shard");
  FrameHeader other = pull;
  other.table = 1;
  CHECK(refused(other, "\xFF\xFF") == "a frame (pull) is of a table that is not there");
  other = pull;
  other.width = 2;
  CHECK(refused(other, "\xFF\xFF") == "a frame (pull) is rows of another width than the table's");
  other = pull;
  other.kind = FrameKind::kDenseAsk;
  other.flags = 0;
  CHECK(refused(other, "") ==
        "a frame (dense ask) is of dense parameters, which this server has none of");
  FrameHeader hello;
  hello.shard = 0;
  d.desk->Handle("other", Sealed(hello, std::string(32, 'n')));
  Frame answer;
  REQUIRE(ParseFrame(d.sent.back(), &answer) == nullptr);
  CHECK(answer.values == "this is server 1, not 0: another job listens there");
  CHECK(d.warnings.size() == 5);  // the first ones are told
  CHECK(d.desk->counters().refused == 5);
}

TEST_CASE("A token is a secret file of some length, an address one of this machine") {
  const ScratchFolder folder;
  const std::string path = folder.path() + "/token";
  WriteFileAtomic(path, "0123456789abcdef\n");
  chmod(path.c_str(), 0644);
  CHECK_THROWS_WITH(ReadToken(path), Catch::Contains("others may read it"));
  chmod(path.c_str(), 0600);
  CHECK(ReadToken(path) == "0123456789abcdef");
  WriteFileAtomic(path, "short");
  chmod(path.c_str(), 0600);
  CHECK_THROWS_WITH(ReadToken(path), Catch::Contains("16 characters or more, not 5"));
  CHECK(AddressOf("") == "127.0.0.1");
  CHECK(AddressOf("lo") == "127.0.0.1");
  CHECK(AddressOf("10.1.2.3") == "10.1.2.3");
  CHECK_THROWS_WITH(AddressOf("nope0"), Catch::Contains("there are lo"));
  CHECK(IsLoopback("127.0.0.1"));
  CHECK_FALSE(IsLoopback("10.1.2.3"));
}

}  // namespace
}  // namespace mariana
