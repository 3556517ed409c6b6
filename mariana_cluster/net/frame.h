// Frame: one message of the data plane between nodes, a header of 64 bytes and a body, in one part
// of a ZeroMQ message. Little-endian. The header tells the length of everything; a CRC32C covers
// header and body. Whatever is not exactly so is refused with a reason (ParseFrame): frames come
// from a network.
//
//   offset  0 u32 magic "MnF1"        24 u64 request: rises by client; an answer has its question's
//           4 u8  version             32 u64 list: a list of keys, by number; dense: the slice
//           5 u8  kind                40 u32 epoch: the snapshot's, of a push
//           6 u8  flags               44 u32 keys: how many; dense: elements
//           7 u8  bytes of a value    48 u16 width: values of a key
//           8 u32 CRC32C, this as 0   50 u8  bytes of a key, 51 u8 0
//          12 u16 table, 14 u16 shard 52 f32 rate: of a push
//          16 u64 client              56 u32 bytes of the body, 60 u32 0
//
// A list of keys travels once: [keys x bytes of a key], the first bytes of each (those that tell
// rows apart), most significant first. Its number is a hash of it, and stands for it from then on,
// in pulls and pushes, until the server has forgotten it and says kListUnknown.
//
//   client -> server                      server -> client
//   kHello      [nonce 32]                kChallenge [nonce 32], or kWelcome where none has a token
//   kProof      [HMAC 32]                 kWelcome [Welcome], or kRefused [text]
//   kPull       [keys]                    kValues [keys x width values], or kListUnknown
//   kPush       [keys][values]            kPushed, or kListUnknown
//   kDense      [values]                  kDense [values], or kDenseKnown [fp32] (dense_owner.h)
//   kDenseFinal [fp32]                    kDenseFinal [fp32]
//   kDenseAsk                             kDenseKnown [fp32]
//   anything before kWelcome              kUnknownPeer: greet me first
//
// Free functions and plain values: thread-safe.
#pragma once

#include <cstdint>
#include <string_view>

namespace mariana {

enum class FrameKind : uint8_t {
  kHello = 1,
  kChallenge,
  kProof,
  kWelcome,
  kRefused,
  kUnknownPeer,
  kPull,
  kValues,
  kPush,
  kPushed,
  kListUnknown,
  kDense,
  kDenseKnown,
  kDenseFinal,
  kDenseAsk,
};
constexpr int kFrameKinds = 16;

enum FrameFlags : uint8_t {
  kHasKeys = 1,  // of kPull, kPush: the list itself is there
  kInserts = 2,  // of kPull: keys without a row get one (Missing::kInsert)
};

constexpr uint32_t kFrameMagic = 0x31466E4D;  // "MnF1"
constexpr uint8_t kFrameVersion = 1;
constexpr int64_t kMaxFrameKeys = int64_t{1} << 24;
constexpr int64_t kMaxFrameBytes = int64_t{1} << 28;  // of a body

struct FrameHeader {
  uint32_t magic = kFrameMagic;
  uint8_t version = kFrameVersion;
  FrameKind kind = FrameKind::kHello;
  uint8_t flags = 0, value_bytes = 0;  // 0, 2: bf16, 4: fp32
  uint32_t crc = 0;
  uint16_t table = 0, shard = 0;
  uint64_t client = 0, request = 0, list = 0;
  uint32_t epoch = 0, keys = 0;
  uint16_t width = 0;
  uint8_t key_bytes = 0, zero1 = 0;
  float rate = 1;
  uint32_t bytes = 0, zero2 = 0;
};
static_assert(sizeof(FrameHeader) == 64, "as it travels");

// A frame that was parsed; views into its bytes.
struct Frame {
  FrameHeader header;
  std::string_view keys;    // [keys x key_bytes], or empty
  std::string_view values;  // [keys x width x value_bytes], or what else the body is
};

constexpr int64_t kNonceBytes = 32;

// What a server says of itself and of the client it has met before.
struct Welcome {
  uint8_t proof[kNonceBytes] = {};  // that it has the token, too; zeros without one
  uint64_t instance = 0;            // of the process: another one knows no lists
  uint64_t session = 0;             // of the connection: another one may have lost frames
  uint64_t last_push = 0;           // of this client's, that was applied
};

// Length of the body that `header` announces; -1 where the header contradicts itself.
int64_t BodyBytes(const FrameHeader& header);

// Null and *frame filled, or the reason why the bytes are no frame.
const char* ParseFrame(std::string_view bytes, Frame* frame);

// Writes the header, its length and CRC filled in, to the first 64 bytes of a frame whose body
// follows already. The body must be BodyBytes long, or of any length where the kind leaves it open.
void SealFrame(FrameHeader header, char* frame, int64_t frame_bytes);

const char* NameOf(FrameKind kind);

}  // namespace mariana
