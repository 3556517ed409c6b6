// Protocol buffers' wire format (https://protobuf.dev/programming-guides/encoding), writing: for
// the few messages of formats that are made of them. A value; thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mariana {

// The bytes of one message, field after field; a repeated field is written once an element.
class ProtoMessage {
 public:
  ProtoMessage& Int(int field, int64_t value);  // int32, int64, bool, enum
  ProtoMessage& Float(int field, float value);
  ProtoMessage& Double(int field, double value);
  ProtoMessage& Bytes(int field, std::string_view value);  // string, bytes
  ProtoMessage& Message(int field, const ProtoMessage& value) { return Bytes(field, value.bytes_); }
  // What comes before a value of `size` bytes that the caller writes after this message.
  ProtoMessage& Head(int field, uint64_t size);

  const std::string& bytes() const { return bytes_; }

 private:
  void Varint(uint64_t value);
  void Key(int field, int wire_type);
  template <class T>
  void Fixed(T value);

  std::string bytes_;
};

}  // namespace mariana
