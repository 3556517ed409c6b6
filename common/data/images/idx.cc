#include "common/data/images/idx.h"

#include <algorithm>

#include "common/base/error.h"
#include "common/data/images/open_images.h"

namespace mariana {
namespace {

constexpr int64_t kPiece = int64_t{1} << 16;
constexpr int64_t kMost = int64_t{1} << 40;  // bytes of values; extents stay below it

int64_t ReadBigEndian(ByteSource* in, const std::string& path) {
  uint8_t b[4];
  if (in->Read(b, 4) != 4) throw Fail(ExitCode::kBadData, path, ": ends within its header");
  return int64_t{b[0]} << 24 | int64_t{b[1]} << 16 | int64_t{b[2]} << 8 | int64_t{b[3]};
}

// Bytes a value, by IDX type; 0 for a type that holds no labels or pixels.
int64_t ValueBytes(uint8_t type) {
  switch (type) {
    case 0x08: return 1;  // unsigned byte
    case 0x0B: return 2;  // short
    case 0x0C: return 4;  // int
    default: return 0;
  }
}

// Bytes of values in memory, as they come: a header that promises more than there is costs no
// more than what there is.
std::vector<uint8_t> ReadValues(ByteSource* in, int64_t size, const std::string& path) {
  std::vector<uint8_t> bytes;
  while (static_cast<int64_t>(bytes.size()) < size) {
    const size_t have = bytes.size();
    const size_t piece = static_cast<size_t>(std::min(kPiece, size - static_cast<int64_t>(have)));
    bytes.resize(have + piece);
    if (in->Read(bytes.data() + have, piece) != piece) {
      throw Fail(ExitCode::kBadData, path, ": ends before its ", size, " bytes of values");
    }
  }
  return bytes;
}

class IdxImages : public StoredImages {
 public:
  IdxImages(const std::string& images, const std::string& labels) : path_(images) {
    pixels_ = ReadIdx(OpenFile(images).get(), images, 4);
    const std::vector<int64_t>& e = pixels_.extents;
    if (e.size() < 3) {
      throw Fail(ExitCode::kBadData, images, ": has ", e.size(),
                 " extents, expected those of images: number, height, width");
    }
    if (e.size() == 4 && e[3] != 1 && e[3] != 3) {
      throw Fail(ExitCode::kBadData, images, ": images of ", e[3], " channels, expected 1 or 3");
    }
    const IdxArray classes = ReadIdx(OpenFile(labels).get(), labels, 1);
    if (classes.extents[0] != e[0]) {
      throw Fail(ExitCode::kBadData, labels, ": ", classes.extents[0], " labels, but ", e[0],
                 " images in ", images);
    }
    for (uint8_t label : classes.bytes) AddClass(label);
    NumberClasses();
  }

  std::string id(int64_t i) const override { return std::to_string(i); }
  std::string where(int64_t i) const override { return StrCat(path_, ": record ", i); }
  void Read(int64_t i, ImageBytes* bytes) const override {
    const std::vector<int64_t>& e = pixels_.extents;
    bytes->height = static_cast<int>(e[1]);
    bytes->width = static_cast<int>(e[2]);
    bytes->channels = e.size() == 4 ? static_cast<int>(e[3]) : 1;
    const int64_t n = int64_t{bytes->height} * bytes->width * bytes->channels;
    bytes->bytes.assign(pixels_.bytes.begin() + i * n, pixels_.bytes.begin() + (i + 1) * n);
  }

 private:
  const std::string path_;
  IdxArray pixels_;
};

}  // namespace

IdxArray ReadIdx(ByteSource* in, const std::string& path, int max_rank) {
  uint8_t magic[4] = {};
  if (in->Read(magic, 4) != 4 || magic[0] != 0 || magic[1] != 0) {
    throw Fail(ExitCode::kBadData, path, ": is no IDX file (its first two bytes are not zero)");
  }
  const int64_t width = ValueBytes(magic[2]);
  if (width == 0) {
    throw Fail(ExitCode::kBadData, path, ": IDX type ", int{magic[2]},
               ", expected 8 (unsigned bytes)");
  }
  if (magic[3] < 1 || magic[3] > max_rank) {
    throw Fail(ExitCode::kBadData, path, ": has ", int{magic[3]}, " extents, expected 1 to ",
               max_rank);
  }
  IdxArray array;
  int64_t size = width;
  for (int k = 0; k < magic[3]; ++k) {
    const int64_t extent = ReadBigEndian(in, path);
    if (k > 0 && extent == 0) throw Fail(ExitCode::kBadData, path, ": extent ", k, " is zero");
    array.extents.push_back(extent);
    if (extent != 0 && size > kMost / extent) {
      throw Fail(ExitCode::kBadData, path, ": its header tells of more than ", kMost, " bytes");
    }
    size *= extent;
  }
  if (in->remaining() >= 0 && in->remaining() != size) {
    throw Fail(ExitCode::kBadData, path, ": has ", in->remaining(), " bytes of values, its header ",
               size);
  }
  array.bytes = ReadValues(in, size, path);
  if (in->Get() >= 0) {
    throw Fail(ExitCode::kBadData, path, ": goes on after its ", size, " bytes of values");
  }
  if (width == 1) return array;
  std::vector<uint8_t> narrow;
  for (int64_t at = 0; at < size; at += width) {
    for (int64_t high = at; high < at + width - 1; ++high) {
      if (array.bytes[static_cast<size_t>(high)] == 0) continue;
      throw Fail(ExitCode::kBadData, path, ": value ", at / width, " is not between 0 and 255");
    }
    narrow.push_back(array.bytes[static_cast<size_t>(at + width - 1)]);
  }
  array.bytes = std::move(narrow);
  return array;
}

std::unique_ptr<StoredImages> OpenIdx(const std::string& images, const std::string& labels) {
  return std::make_unique<IdxImages>(images, labels);
}

}  // namespace mariana
