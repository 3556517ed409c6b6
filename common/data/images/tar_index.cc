#include "common/data/images/tar_index.h"

#include <glog/logging.h>

#include <algorithm>
#include <cctype>
#include <cstring>
#include <filesystem>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/data/images/image_file.h"
#include "common/data/images/stored_images.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

constexpr char kMagic[] = "mariana tar index 1\n";
constexpr int64_t kLongestLabel = 64;

std::string Trimmed(std::string text) {
  while (!text.empty() && std::isspace(static_cast<unsigned char>(text.back())) != 0) {
    text.pop_back();
  }
  size_t first = 0;
  while (first < text.size() && std::isspace(static_cast<unsigned char>(text[first])) != 0) ++first;
  return text.substr(first);
}

// The file is this, then its CRC32C.
class Encoder {
 public:
  void Number(int64_t v) { bytes_.append(reinterpret_cast<const char*>(&v), sizeof(v)); }
  void Text(const std::string& text) {
    Number(static_cast<int64_t>(text.size()));
    bytes_ += text;
  }
  std::string Finish() {
    const uint32_t crc = Crc32c(bytes_.data(), bytes_.size());
    return bytes_.append(reinterpret_cast<const char*>(&crc), sizeof(crc));
  }

 private:
  std::string bytes_ = kMagic;
};

class Decoder {
 public:
  explicit Decoder(std::string_view bytes) : left_(bytes) {}
  bool ok() const { return ok_; }
  bool at_end() const { return left_.empty(); }
  std::string_view Take(size_t n) {
    if (n > left_.size()) ok_ = false;
    if (!ok_) return {};
    const std::string_view taken = left_.substr(0, n);
    left_.remove_prefix(n);
    return taken;
  }
  int64_t Number() {
    int64_t v = 0;
    const std::string_view bytes = Take(sizeof(v));
    if (ok_) std::memcpy(&v, bytes.data(), sizeof(v));
    return v;
  }
  std::string Text() { return std::string(Take(static_cast<size_t>(Number()))); }

 private:
  std::string_view left_;
  bool ok_ = true;
};

}  // namespace

TarIndex ScanTar(const std::string& path, int64_t size, const TarReader::ReadAt& read_at) {
  TarIndex index;
  TarReader tar(path, size, read_at);
  TarEntry entry;
  try {
    while (tar.Next(&entry)) {
      const size_t slash = entry.name.rfind('/');
      const size_t base = slash == std::string::npos ? 0 : slash + 1;
      const size_t dot = entry.name.find('.', base);
      if (dot == std::string::npos || dot == base) continue;  // hidden, or without extension
      const std::string key = entry.name.substr(0, dot);
      const std::string extension = ExtensionOf("x" + entry.name.substr(dot));
      if (entry.name.find('.', dot + 1) != std::string::npos) continue;  // KEY.seg.png
      if (index.samples.empty() || index.samples.back().key != key) {
        index.samples.push_back({key, 0, 0, "", ""});
      }
      TarSample& sample = index.samples.back();
      if (extension == "cls" || extension == "target") {
        std::string text(static_cast<size_t>(std::min(entry.size, kLongestLabel)), '\0');
        text.resize(read_at(entry.offset, text.data(), text.size()));
        (extension == "cls" ? sample.label : sample.target) = Trimmed(text);
      } else if (IsImageExtension(extension) && sample.size == 0) {
        sample.offset = entry.offset;
        sample.size = entry.size;
      }
    }
  } catch (const Error& e) {
    if (e.code() != ExitCode::kBadData) throw;
    index.problem = e.message();
    // Its sample may have lost files that lay behind the break.
    if (!index.samples.empty()) index.samples.pop_back();
  }
  return index;
}

std::string EncodeTarIndex(const TarIndex& index, int64_t size, int64_t mtime_ns) {
  Encoder out;
  out.Number(size);
  out.Number(mtime_ns);
  out.Text(index.problem);
  out.Number(static_cast<int64_t>(index.samples.size()));
  for (const TarSample& s : index.samples) {
    out.Text(s.key);
    out.Number(s.offset);
    out.Number(s.size);
    out.Text(s.label);
    out.Text(s.target);
  }
  return out.Finish();
}

bool DecodeTarIndex(std::string_view bytes, int64_t size, int64_t mtime_ns, TarIndex* index) {
  uint32_t crc = 0;
  if (bytes.size() < sizeof(crc)) return false;
  std::memcpy(&crc, bytes.data() + bytes.size() - sizeof(crc), sizeof(crc));
  bytes.remove_suffix(sizeof(crc));
  if (Crc32c(bytes.data(), bytes.size()) != crc) return false;
  Decoder in(bytes);
  if (in.Take(std::strlen(kMagic)) != kMagic) return false;
  if (in.Number() != size || in.Number() != mtime_ns) return false;
  TarIndex read;
  read.problem = in.Text();
  for (int64_t n = in.Number(); n > 0 && in.ok(); --n) {
    TarSample s;
    s.key = in.Text();
    s.offset = in.Number();
    s.size = in.Number();
    s.label = in.Text();
    s.target = in.Text();
    read.samples.push_back(std::move(s));
  }
  if (!in.ok() || !in.at_end()) return false;
  *index = std::move(read);
  return true;
}

TarIndex LoadTarIndex(const std::string& path, const std::string& folder) {
  const InputFile file(path);
  const std::string stored =
      (folder.empty() ? path : (fs::path(folder) / fs::path(path).filename()).string()) + ".index";
  TarIndex index;
  if (fs::exists(stored) &&
      DecodeTarIndex(ReadFile(stored), file.size(), file.mtime_ns(), &index)) {
    return index;
  }
  index = ScanTar(path, file.size(),
                  [&](int64_t offset, void* to, size_t n) { return file.ReadAt(offset, to, n); });
  try {
    if (!folder.empty()) MakeDirectories(folder);
    WriteFileAtomic(stored, EncodeTarIndex(index, file.size(), file.mtime_ns()));
  } catch (const Error& e) {  // a folder that others own: scanned again next time
    LOG(INFO) << "no index kept: " << e.message();
  }
  return index;
}

}  // namespace mariana
