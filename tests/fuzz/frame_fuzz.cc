// Frames between nodes from arbitrary bytes: each is refused with a reason or is exactly what its
// header says, and a server's desk that gets it (greeted, with a hashed and a keyed table and dense
// parameters) neither fails nor touches memory that is not its own. The first byte of each piece
// says whether its header is made good (magic, version, length, checksum, list's number), so that
// inputs come to what lies behind the checks.
//
//   input: pieces [u8 how | u16 length | bytes]
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/base/files.h"
#include "mariana_cluster/net/shard_desk.h"

namespace mariana {
namespace {

constexpr size_t kHeader = sizeof(FrameHeader);

TableSpec Spec(TableForm form) {
  TableSpec spec;
  spec.name = "fuzz";
  spec.form = form;
  spec.bits = 10;
  spec.max_rows = 1 << 10;
  spec.admission = form == TableForm::kKeyed ? 2 : 1;
  spec.parts = {{"linear", 1, {}, 0}, {"embedding", 2, {}, 0.1}};
  return spec;
}

struct Server {
  PushLedger ledger = PushLedger::Create();
  DenseParameters dense = DenseParameters::Create(100, 0);
  DenseMirror mirror = DenseMirror::Create(dense, 2, 0);
  DenseOwner owner{&dense, &mirror};
  std::vector<std::shared_ptr<TableShard>> shards;
  std::unique_ptr<ShardDesk> desk;
  Server() {
    for (const TableForm form : {TableForm::kHashed, TableForm::kKeyed}) {
      shards.push_back(std::make_shared<TableShard>(TableShard::Create(Spec(form), 0, 2)));
    }
    ShardDesk::Options options;
    options.list_bytes = 1 << 12;
    desk = std::make_unique<ShardDesk>(options, shards, &ledger, &owner,
                                       [](const std::string&, const Packet& packet) {
                                         Frame answer;
                                         if (ParseFrame(packet.view(), &answer) != nullptr) abort();
                                       });
    std::string hello(kHeader + kNonceBytes, 'n');
    SealFrame({}, hello.data(), static_cast<int64_t>(hello.size()));
    desk->Handle("client", hello);
  }
};

// A header that passes the first checks, whatever else it says.
void MakeGood(std::string* frame) {
  if (frame->size() < kHeader) frame->resize(kHeader);
  FrameHeader h;
  std::memcpy(&h, frame->data(), kHeader);
  h.magic = kFrameMagic;
  h.version = kFrameVersion;
  h.bytes = static_cast<uint32_t>(frame->size() - kHeader);
  h.zero1 = 0;
  h.zero2 = 0;
  const size_t keys = size_t{h.keys} * h.key_bytes;
  if ((h.flags & kHasKeys) != 0 && keys <= h.bytes) {
    h.list = NumberOfList(h.table, h.key_bytes, std::string_view(*frame).substr(kHeader, keys));
  }
  h.crc = 0;
  std::memcpy(frame->data(), &h, kHeader);
  h.crc = Crc32c(frame->data(), frame->size());
  std::memcpy(frame->data(), &h, kHeader);
}

void Feed(const std::string& bytes, Server* server) {
  Frame frame;
  const char* why = ParseFrame(bytes, &frame);
  if (why == nullptr && frame.keys.size() + frame.values.size() + kHeader != bytes.size()) {
    std::abort();
  }
  server->desk->Handle("client", bytes);
}

}  // namespace
}  // namespace mariana

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static auto* server = new mariana::Server();
  while (size > 3) {
    const uint8_t how = data[0];
    const size_t length = std::min<size_t>(size - 3, data[1] | data[2] << 8);
    std::string frame(reinterpret_cast<const char*>(data) + 3, length);
    data += 3 + length;
    size -= 3 + length;
    if ((how & 1) != 0) mariana::MakeGood(&frame);
    mariana::Feed(frame, server);
  }
  return 0;
}
