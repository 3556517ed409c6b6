#include "common/data/images/tar_reader.h"

#include <algorithm>
#include <charconv>
#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kBlock = 512;
constexpr int64_t kLongestName = 1 << 16;  // of a GNU long name, of pax records

// Where fields lie in a header block.
struct Field {
  size_t begin, size;
};
constexpr Field kName{0, 100}, kSize{124, 12}, kChecksum{148, 8}, kType{156, 1}, kMagic{257, 5},
    kPrefix{345, 155};

std::string Text(const char* header, Field f) {
  return {header + f.begin, strnlen(header + f.begin, f.size)};
}

// Octal digits between blanks and zeros, or GNU's base 256; -1 for anything else.
int64_t Number(const char* header, Field f) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(header) + f.begin;
  int64_t value = 0;
  if (bytes[0] == 0x80) {
    for (size_t i = 1; i < f.size; ++i) {
      if (value > INT64_MAX >> 8) return -1;
      value = value << 8 | bytes[i];
    }
    return value;
  }
  size_t i = 0;
  while (i < f.size && bytes[i] == ' ') ++i;
  const size_t first = i;
  for (; i < f.size && bytes[i] >= '0' && bytes[i] <= '7'; ++i)
    value = value << 3 | (bytes[i] - '0');
  if (i == first) return -1;
  for (; i < f.size; ++i) {
    if (bytes[i] != ' ' && bytes[i] != 0) return -1;
  }
  return value;
}

// Old archives summed signed characters.
bool ChecksumFits(const char* header) {
  int64_t plain = 0, with_sign = 0;
  for (size_t i = 0; i < static_cast<size_t>(kBlock); ++i) {
    const bool own = i >= kChecksum.begin && i < kChecksum.begin + kChecksum.size;
    const char c = own ? ' ' : header[i];
    plain += static_cast<unsigned char>(c);
    with_sign += static_cast<signed char>(c);
  }
  const int64_t stored = Number(header, kChecksum);
  return stored == plain || stored == with_sign;
}

std::string NameOf(const char* header) {
  std::string name = Text(header, kName);
  if (std::memcmp(header + kMagic.begin, "ustar", kMagic.size) != 0) return name;
  // GNU's magic is "ustar  ": its prefix field means something else.
  if (header[kMagic.begin + kMagic.size] == ' ') return name;
  const std::string prefix = Text(header, kPrefix);
  return prefix.empty() ? name : prefix + "/" + name;
}

}  // namespace

TarReader::TarReader(std::string path, int64_t size, ReadAt read_at)
    : path_(std::move(path)), size_(size), read_at_(std::move(read_at)) {}

std::string TarReader::ReadText(int64_t offset, int64_t size) {
  if (size > kLongestName) {
    throw Fail(ExitCode::kBadData, path_, ": byte ", offset, ": a name of ", size, " bytes");
  }
  std::string text(static_cast<size_t>(size), '\0');
  if (read_at_(offset, text.data(), text.size()) != text.size()) {
    throw Fail(ExitCode::kBadData, path_, ": became shorter while it was read");
  }
  return text;
}

// Records "LENGTH KEY=VALUE\n", LENGTH of the whole record.
void TarReader::ParsePax(const std::string& records, int64_t offset, Extensions* extensions) const {
  const auto bad = [&](size_t at) {
    return Fail(ExitCode::kBadData, path_, ": byte ", offset + static_cast<int64_t>(at),
                ": broken pax record");
  };
  for (size_t at = 0; at < records.size();) {
    size_t length = 0;
    const char* end = records.data() + records.size();
    const auto [after, error] = std::from_chars(records.data() + at, end, length);
    if (error != std::errc() || after == end || *after != ' ' || length > records.size() - at) {
      throw bad(at);
    }
    const size_t key = static_cast<size_t>(after - records.data()) + 1;
    const size_t equals = records.find('=', key);
    if (key + 1 >= at + length || equals >= at + length - 1 || records[at + length - 1] != '\n') {
      throw bad(at);
    }
    const std::string name = records.substr(key, equals - key);
    const std::string value = records.substr(equals + 1, at + length - 1 - (equals + 1));
    if (name == "path") extensions->name = value;
    if (name == "size") {
      const auto [stop, wrong] =
          std::from_chars(value.data(), value.data() + value.size(), extensions->size);
      if (wrong != std::errc() || stop != value.data() + value.size() || extensions->size < 0) {
        throw bad(at);
      }
    }
    at += length;
  }
}

bool TarReader::Next(TarEntry* entry) {
  Extensions extensions;
  for (;;) {
    char header[kBlock];
    const int64_t at = next_;
    const auto fail = [&](const auto&... what) {
      return Fail(ExitCode::kBadData, path_, ": byte ", at, ": ", what...);
    };
    const size_t got = read_at_(at, header, kBlock);
    if (got == 0 || std::all_of(header, header + got, [](char c) { return c == 0; })) return false;
    if (got < static_cast<size_t>(kBlock)) throw fail("the archive is cut short");
    if (!ChecksumFits(header)) {
      const bool gzip = at == 0 && header[0] == '\x1f' && header[1] == '\x8b';
      throw fail("is no tar header", gzip ? " but gzip: unpack the shard" : "");
    }
    const char type = header[kType.begin];
    int64_t size = Number(header, kSize);
    const bool plain = type == '0' || type == '\0' || type == '7';
    if (plain && extensions.size >= 0) size = extensions.size;
    if (type >= '1' && type <= '6') size = 0;  // links, devices, folders, pipes
    const int64_t begin = at + kBlock;
    if (size < 0) throw fail("a header without a size");
    const std::string name = extensions.name.empty() ? NameOf(header) : extensions.name;
    if (size > size_ - begin) {
      throw fail("the archive is cut short: \"", name, "\" has ", size, " bytes, ",
                 std::max<int64_t>(size_ - begin, 0), " are there");
    }
    next_ = begin + (size + kBlock - 1) / kBlock * kBlock;
    switch (type) {
      case 'L':
        extensions.name = ReadText(begin, size);
        extensions.name.resize(strnlen(extensions.name.data(), extensions.name.size()));
        continue;
      case 'x': ParsePax(ReadText(begin, size), begin, &extensions); continue;
      case 'g':
      case 'K': continue;
      case 'S':
      case 'M': throw fail("\"", name, "\" is a sparse or split file, expected plain ones");
      default: break;
    }
    extensions = Extensions();
    if (!plain || name.empty() || name.back() == '/') continue;
    *entry = {name, begin, size};
    return true;
  }
}

}  // namespace mariana
