// Reads protocol buffers' wire format into fields by number, for tests. A value.
#pragma once

#include <cstring>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

namespace mariana {

// One field: a number (varint or fixed bits), or bytes that may be a message of their own.
struct ProtoField {
  uint64_t number = 0;
  std::string bytes;
};

class ProtoReader {
 public:
  // Throws std::out_of_range where the bytes are not whole fields.
  explicit ProtoReader(const std::string& bytes) {
    for (size_t at = 0; at < bytes.size();) {
      const uint64_t key = Varint(bytes, &at);
      ProtoField field;
      size_t size = 0;
      switch (key & 7) {
        case 0: field.number = Varint(bytes, &at); break;
        case 1: size = 8; break;
        case 2: size = Varint(bytes, &at); break;
        case 5: size = 4; break;
        default: throw std::out_of_range("wire type");
      }
      if (size > bytes.size() - at) throw std::out_of_range("length");
      field.bytes = bytes.substr(at, size);
      at += size;
      if ((key & 7) != 2) std::memcpy(&field.number, field.bytes.data(), field.bytes.size());
      fields_[static_cast<int>(key >> 3)].push_back(std::move(field));
    }
  }

  const std::vector<ProtoField>& all(int field) const {
    static const std::vector<ProtoField> none;
    const auto it = fields_.find(field);
    return it == fields_.end() ? none : it->second;
  }
  uint64_t number(int field) const { return all(field).at(0).number; }
  const std::string& bytes(int field) const { return all(field).at(0).bytes; }
  ProtoReader message(int field) const { return ProtoReader(bytes(field)); }
  std::vector<ProtoReader> messages(int field) const {
    std::vector<ProtoReader> out;
    for (const ProtoField& f : all(field)) out.emplace_back(f.bytes);
    return out;
  }
  std::vector<std::string> texts(int field) const {
    std::vector<std::string> out;
    for (const ProtoField& f : all(field)) out.push_back(f.bytes);
    return out;
  }

 private:
  static uint64_t Varint(const std::string& bytes, size_t* at) {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      const auto byte = static_cast<unsigned char>(bytes.at((*at)++));
      value |= static_cast<uint64_t>(byte & 127) << shift;
      if (byte < 128) return value;
    }
    throw std::out_of_range("varint");
  }

  std::map<int, std::vector<ProtoField>> fields_;
};

}  // namespace mariana
