#include "mariana_cluster/net/frame.h"

#include <glog/logging.h>

#include <cmath>
#include <cstddef>
#include <cstring>

#include "common/base/files.h"

namespace mariana {
namespace {

constexpr size_t kHeader = sizeof(FrameHeader);
constexpr int64_t kMaxText = 512;  // of kRefused

bool IsKind(FrameKind kind) { return kind >= FrameKind::kHello && kind <= FrameKind::kDenseAsk; }

// Of header and body, the field of the checksum itself as 0.
uint32_t ChecksumOf(FrameHeader header, const char* body, size_t bytes) {
  header.crc = 0;
  return Crc32c(body, bytes, Crc32c(&header, kHeader));
}

bool HasValues(FrameKind kind) {
  switch (kind) {
    case FrameKind::kValues:
    case FrameKind::kPush:
    case FrameKind::kDense:
    case FrameKind::kDenseKnown:
    case FrameKind::kDenseFinal: return true;
    default: return false;
  }
}

// Why the fields of a header whose checksum holds cannot be meant.
const char* WhyNot(const FrameHeader& h) {
  if (h.zero1 != 0 || h.zero2 != 0) return "a reserved field is not zero";
  if ((h.flags & ~(kHasKeys | kInserts)) != 0) return "unknown flags";
  if (h.keys > kMaxFrameKeys) return "more keys than a frame may have";
  const bool asks = h.kind == FrameKind::kPull || h.kind == FrameKind::kPush;
  if (h.flags != 0 && !asks) return "flags on a frame that has none";
  if (asks && (h.key_bytes < 1 || h.key_bytes > 8)) return "keys must have 1 to 8 bytes";
  if (asks && h.keys == 0) return "no keys";
  if (HasValues(h.kind)) {
    if (h.value_bytes != 2 && h.value_bytes != 4) return "values must have 2 or 4 bytes";
    if (h.width == 0) return "no width";
  }
  if (!std::isfinite(h.rate) || h.rate < 0) return "a rate that is no rate";
  const int64_t bytes = BodyBytes(h);
  if (bytes > kMaxFrameBytes || h.bytes > kMaxFrameBytes) return "longer than a frame may be";
  if (h.kind == FrameKind::kRefused) return h.bytes > kMaxText ? "a text too long" : nullptr;
  return bytes == h.bytes ? nullptr : "a body of another length than its keys and values take";
}

}  // namespace

int64_t BodyBytes(const FrameHeader& h) {
  switch (h.kind) {
    case FrameKind::kHello:
    case FrameKind::kChallenge:
    case FrameKind::kProof: return kNonceBytes;
    case FrameKind::kWelcome: return sizeof(Welcome);
    case FrameKind::kRefused: return h.bytes;
    default: break;
  }
  int64_t bytes = (h.flags & kHasKeys) != 0 ? int64_t{h.keys} * h.key_bytes : 0;
  if (HasValues(h.kind)) bytes += int64_t{h.keys} * h.width * h.value_bytes;
  return bytes;
}

const char* ParseFrame(std::string_view bytes, Frame* frame) {
  if (bytes.size() < kHeader) return "shorter than a header";
  FrameHeader& h = frame->header;
  std::memcpy(&h, bytes.data(), kHeader);
  if (h.magic != kFrameMagic) return "not a frame of mariana_cluster";
  if (h.version != kFrameVersion) return "of another version of mariana_cluster";
  if (!IsKind(h.kind)) return "of an unknown kind";
  if (bytes.size() - kHeader != h.bytes) return "of another length than its header says";
  if (ChecksumOf(h, bytes.data() + kHeader, h.bytes) != h.crc) return "its checksum is wrong";
  if (const char* why = WhyNot(h)) return why;
  const std::string_view body = bytes.substr(kHeader);
  const size_t keys = (h.flags & kHasKeys) != 0 ? size_t{h.keys} * h.key_bytes : 0;
  frame->keys = body.substr(0, keys);
  frame->values = body.substr(keys);
  return nullptr;
}

void SealFrame(FrameHeader header, char* frame, int64_t frame_bytes) {
  const auto body = static_cast<size_t>(frame_bytes) - kHeader;
  header.bytes = static_cast<uint32_t>(body);
  DCHECK_EQ(BodyBytes(header), static_cast<int64_t>(body)) << NameOf(header.kind);
  header.crc = ChecksumOf(header, frame + kHeader, body);
  std::memcpy(frame, &header, kHeader);
}

const char* NameOf(FrameKind kind) {
  constexpr const char* kNames[kFrameKinds] = {
      "?",           "hello",    "challenge", "proof",  "welcome",      "refused", "unknown peer",
      "pull",        "values",   "push",      "pushed", "list unknown", "dense",   "dense known",
      "dense final", "dense ask"};
  return IsKind(kind) ? kNames[static_cast<int>(kind)] : kNames[0];
}

}  // namespace mariana
