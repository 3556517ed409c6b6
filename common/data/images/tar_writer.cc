#include "common/data/images/tar_writer.h"

#include <algorithm>
#include <cstdio>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr size_t kBlock = 512;
constexpr size_t kNameBytes = 100;

// "LENGTH path=NAME\n", LENGTH counting itself.
std::string PaxPath(const std::string& name) {
  const std::string rest = " path=" + name + "\n";
  size_t length = rest.size() + 1;
  while (std::to_string(length).size() + rest.size() != length) ++length;
  return std::to_string(length) + rest;
}

}  // namespace

void TarWriter::Header(const std::string& name, size_t size, char type) {
  char h[kBlock] = {};
  std::copy_n(name.data(), std::min(name.size(), kNameBytes), h);
  const auto octal = [&](size_t at, size_t digits, size_t value) {
    std::snprintf(h + at, digits + 1, "%0*zo", static_cast<int>(digits), value);
  };
  octal(100, 7, 0644);  // mode
  octal(108, 7, 0);     // owner
  octal(116, 7, 0);     // group
  octal(124, 11, size);
  octal(136, 11, 0);  // time
  std::fill_n(h + 148, 8, ' ');
  h[156] = type;
  std::copy_n("ustar", 6, h + 257);
  std::copy_n("00", 2, h + 263);
  size_t sum = 0;
  for (char c : h) sum += static_cast<unsigned char>(c);
  octal(148, 6, sum);
  file_.Append(h, sizeof(h));
}

void TarWriter::Contents(std::string_view contents) {
  static constexpr char kZeros[kBlock] = {};
  file_.Append(contents.data(), contents.size());
  file_.Append(kZeros, (kBlock - contents.size() % kBlock) % kBlock);
}

void TarWriter::Add(const std::string& name, std::string_view contents) {
  if (contents.size() >= size_t{1} << 33) {
    throw Fail(ExitCode::kBadData, name, ": ", contents.size(), " bytes are too many for a tar");
  }
  if (name.size() > kNameBytes) {
    const std::string record = PaxPath(name);
    Header("PaxHeader", record.size(), 'x');
    Contents(record);
  }
  Header(name, contents.size(), '0');
  Contents(contents);
}

void TarWriter::Finish() {
  static constexpr char kZeros[2 * kBlock] = {};
  file_.Append(kZeros, sizeof(kZeros));
  file_.Finish();
}

}  // namespace mariana
