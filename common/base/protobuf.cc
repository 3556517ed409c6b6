#include "common/base/protobuf.h"

#include <cstring>

namespace mariana {
namespace {

enum WireType { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

template <class Bits, class T>
Bits BitsOf(T value) {
  static_assert(sizeof(Bits) == sizeof(T));
  Bits bits;
  std::memcpy(&bits, &value, sizeof(bits));
  return bits;
}

}  // namespace

void ProtoMessage::Varint(uint64_t value) {
  for (; value >= 0x80; value >>= 7) bytes_ += static_cast<char>(value | 0x80);
  bytes_ += static_cast<char>(value);
}

void ProtoMessage::Key(int field, int wire_type) {
  Varint(static_cast<uint64_t>(field) << 3 | static_cast<uint64_t>(wire_type));
}

// Little-endian, whatever the machine's order.
template <class T>
void ProtoMessage::Fixed(T value) {
  for (size_t i = 0; i < sizeof(T); ++i) bytes_ += static_cast<char>(value >> (8 * i));
}

ProtoMessage& ProtoMessage::Int(int field, int64_t value) {
  Key(field, kVarint);
  Varint(static_cast<uint64_t>(value));
  return *this;
}

ProtoMessage& ProtoMessage::Float(int field, float value) {
  Key(field, kFixed32);
  Fixed(BitsOf<uint32_t>(value));
  return *this;
}

ProtoMessage& ProtoMessage::Double(int field, double value) {
  Key(field, kFixed64);
  Fixed(BitsOf<uint64_t>(value));
  return *this;
}

ProtoMessage& ProtoMessage::Head(int field, uint64_t size) {
  Key(field, kBytes);
  Varint(size);
  return *this;
}

ProtoMessage& ProtoMessage::Bytes(int field, std::string_view value) {
  Head(field, value.size());
  bytes_ += value;
  return *this;
}

}  // namespace mariana
