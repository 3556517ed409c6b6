#include "common/data/images/datum.h"

#include <cmath>
#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kMostPixels = int64_t{1} << 28;

enum WireType : int { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

template <class... Args>
Error Bad(const Args&... what) {
  return Fail(ExitCode::kBadData, "not a Datum: ", what...);
}

class Message {
 public:
  explicit Message(std::string_view bytes) : left_(bytes) {}

  bool empty() const { return left_.empty(); }
  uint64_t Varint() {
    uint64_t value = 0;
    for (int shift = 0; shift < 64; shift += 7) {
      if (left_.empty()) throw Bad("it ends within a number");
      const auto byte = static_cast<uint8_t>(left_[0]);
      left_.remove_prefix(1);
      if (shift == 63 && byte > 1) throw Bad("a number of more than 64 bits");
      value |= uint64_t{byte & 0x7Fu} << shift;
      if (byte < 0x80) return value;
    }
    throw Bad("a number of more than 64 bits");
  }
  std::string_view Take(uint64_t n) {
    if (n > left_.size()) throw Bad("a field of ", n, " bytes where ", left_.size(), " are left");
    const std::string_view taken = left_.substr(0, n);
    left_.remove_prefix(n);
    return taken;
  }
  std::string_view Bytes() { return Take(Varint()); }
  void Skip(int wire) {
    switch (wire) {
      case kVarint: Varint(); return;
      case kFixed64: Take(8); return;
      case kBytes: Bytes(); return;
      case kFixed32: Take(4); return;
      default: throw Bad("wire type ", wire);
    }
  }

 private:
  std::string_view left_;
};

// A negative int32 is written as ten bytes.
int64_t Int32(uint64_t varint) { return static_cast<int32_t>(static_cast<uint32_t>(varint)); }

float ToFloat(std::string_view bytes) {
  float value;
  std::memcpy(&value, bytes.data(), sizeof(value));
  return value;
}

uint8_t PixelOf(const Datum& d, int64_t i) {
  if (!d.data.empty()) return static_cast<uint8_t>(d.data[static_cast<size_t>(i)]);
  const float value = d.unpacked_floats.empty()
                          ? ToFloat(d.float_data.substr(static_cast<size_t>(4 * i), 4))
                          : d.unpacked_floats[static_cast<size_t>(i)];
  if (!(value >= 0 && value <= 255) || value != std::floor(value)) {
    throw Fail(ExitCode::kBadData, "float_data ", i, " is ", value,
               ", expected whole numbers from 0 to 255");
  }
  return static_cast<uint8_t>(value);
}

}  // namespace

Datum ParseDatum(std::string_view bytes) {
  Datum d;
  Message m(bytes);
  while (!m.empty()) {
    const uint64_t tag = m.Varint();
    const uint64_t field = tag >> 3;
    const int wire = static_cast<int>(tag & 7);
    const bool number = field == 1 || field == 2 || field == 3 || field == 5 || field == 7;
    if (field == 0) throw Bad("field 0");
    if ((number && wire != kVarint) || (field == 4 && wire != kBytes) ||
        (field == 6 && wire != kBytes && wire != kFixed32)) {
      throw Bad("field ", field, " has wire type ", wire);
    }
    switch (field) {
      case 1: d.channels = Int32(m.Varint()); break;
      case 2: d.height = Int32(m.Varint()); break;
      case 3: d.width = Int32(m.Varint()); break;
      case 4: d.data = m.Bytes(); break;
      case 5: d.label = Int32(m.Varint()); break;
      case 6:
        if (wire == kFixed32) {
          d.unpacked_floats.push_back(ToFloat(m.Take(4)));
        } else {
          d.float_data = m.Bytes();
        }
        break;
      case 7: d.encoded = m.Varint() != 0; break;
      default: m.Skip(wire);
    }
  }
  return d;
}

void DatumToImage(const Datum& d, ImageBytes* image) {
  if (d.encoded) {
    if (d.data.empty()) throw Fail(ExitCode::kBadData, "an encoded Datum without data");
    image->channels = image->width = image->height = 0;
    image->bytes.assign(d.data.begin(), d.data.end());
    return;
  }
  if ((d.channels != 1 && d.channels != 3) || d.height < 1 || d.width < 1 ||
      d.height > kMostPixels / d.width) {
    throw Fail(ExitCode::kBadData, "a Datum of ", d.channels, " x ", d.height, " x ", d.width,
               ", expected 1 or 3 channels, height and width");
  }
  const int64_t plane = d.height * d.width, n = plane * d.channels;
  const size_t floats =
      d.unpacked_floats.empty() ? d.float_data.size() / 4 : d.unpacked_floats.size();
  const size_t have = d.data.empty() ? floats : d.data.size();
  if (have != static_cast<size_t>(n) || d.float_data.size() % 4 != 0) {
    throw Fail(ExitCode::kBadData, "a Datum of ", d.channels, " x ", d.height, " x ", d.width,
               " with ", have, " values");
  }
  image->channels = static_cast<int>(d.channels);
  image->height = static_cast<int>(d.height);
  image->width = static_cast<int>(d.width);
  image->bytes.resize(static_cast<size_t>(n));
  for (int64_t c = 0; c < d.channels; ++c) {
    const int64_t from = d.channels - 1 - c;  // B, G, R to R, G, B
    for (int64_t p = 0; p < plane; ++p) {
      image->bytes[static_cast<size_t>(p * d.channels + c)] = PixelOf(d, from * plane + p);
    }
  }
}

}  // namespace mariana
