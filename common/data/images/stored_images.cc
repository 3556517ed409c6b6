#include "common/data/images/stored_images.h"

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <unordered_map>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/config.h"

namespace mariana {
namespace {

constexpr size_t kNamed = 20;

}  // namespace

void SetProblems::Add(const std::string& line) {
  ++bad_;
  if (first_.size() < kNamed) first_.push_back(line);
}

std::vector<std::string> SetProblems::Lines() const {
  std::vector<std::string> lines = first_;
  const int64_t more = bad_ - static_cast<int64_t>(first_.size());
  if (more > 0) lines.push_back(StrCat("and ", more, " more bad records"));
  lines.insert(lines.end(), warnings_.begin(), warnings_.end());
  return lines;
}

void SetProblems::Check(const std::string& set, int64_t good, double max_bad_fraction) const {
  const int64_t all = good + bad_;
  if (all == 0) throw Fail(ExitCode::kBadData, set, ": holds no images");
  if (good > 0 && static_cast<double>(bad_) <= max_bad_fraction * static_cast<double>(all)) return;
  std::string message;
  for (const std::string& line : Lines()) message += line + "\n";
  throw Fail(ExitCode::kBadData, message, set, ": ", bad_, " of ", all,
             " records are bad, max_bad_fraction allows ", max_bad_fraction,
             "; the first: ", first_[0]);
}

void StoredImages::NameClasses(std::vector<std::string> names) {
  classes_ = std::move(names);
  named_ = true;
}

void StoredImages::NumberClasses() {
  int32_t most = -1;
  for (int32_t label : labels_) most = std::max(most, label);
  classes_.clear();
  for (int32_t c = 0; c <= most; ++c) classes_.push_back(std::to_string(c));
}

void StoredImages::UseClasses(const std::vector<std::string>& names, const std::string& whose) {
  if (!targets_.empty()) return;
  std::vector<int32_t> to(classes_.size(), -1);
  if (named_) {
    std::unordered_map<std::string, int32_t> index;
    for (size_t c = 0; c < names.size(); ++c) index.emplace(names[c], static_cast<int32_t>(c));
    for (size_t c = 0; c < classes_.size(); ++c) {
      const auto it = index.find(classes_[c]);
      if (it != index.end()) to[c] = it->second;
    }
  } else {
    for (size_t c = 0; c < std::min(classes_.size(), names.size()); ++c) {
      to[c] = static_cast<int32_t>(c);
    }
  }
  for (int64_t i = 0; i < size(); ++i) {
    int32_t& label = labels_[static_cast<size_t>(i)];
    const int32_t now = to[static_cast<size_t>(label)];
    if (now < 0 && !named_) {
      throw Fail(ExitCode::kBadData, where(i), ": label ", label, " is outside 0 to ",
                 names.size() - 1, ", the classes of ", whose);
    }
    if (now < 0) {
      const std::string& name = classes_[static_cast<size_t>(label)];
      const std::string near = DidYouMean(name, names);
      throw Fail(ExitCode::kBadData, where(i), ": class \"", name, "\" is not one of the ",
                 names.size(), " of ", whose,
                 near.empty() ? std::string() : StrCat("; did you mean \"", near, "\"?"));
    }
    label = now;
  }
  NameClasses(names);
}

int32_t ParseClass(const std::string& text) {
  int32_t value = -1;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, value);
  if (error != std::errc() || at != end || text[0] == '-') return -1;
  return value < StoredImages::kMaxClasses ? value : -1;
}

bool ParseTarget(const std::string& text, float* value) {
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, *value);
  return error == std::errc() && at == end && std::isfinite(*value);
}

std::string ExtensionOf(const std::string& path) {
  const size_t slash = path.rfind('/'), dot = path.rfind('.');
  if (dot == std::string::npos || (slash != std::string::npos && dot < slash)) return "";
  std::string extension = path.substr(dot + 1);
  for (char& c : extension) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return extension;
}

bool IsImageExtension(const std::string& extension) {
  static constexpr const char* kKnown[] = {"jpg",  "jpeg", "jpe",  "jfif", "png", "bmp",
                                           "webp", "tif",  "tiff", "ppm",  "pgm", "pbm"};
  return std::any_of(std::begin(kKnown), std::end(kKnown),
                     [&](const char* known) { return extension == known; });
}

std::string ImageFormat(const uint8_t* bytes, size_t size) {
  const auto starts = [&](const char* magic, size_t n, size_t at = 0) {
    return size >= at + n && std::memcmp(bytes + at, magic, n) == 0;
  };
  if (starts("\xFF\xD8\xFF", 3)) return "jpg";
  if (starts("\x89PNG\r\n\x1A\n", 8)) return "png";
  if (starts("RIFF", 4) && starts("WEBP", 4, 8)) return "webp";
  if (starts("II*", 4) || (starts("MM", 3) && starts("*", 1, 3))) return "tif";
  if (starts("BM", 2) && size > 54) return "bmp";
  if (starts("P4", 2) || starts("P5", 2) || starts("P6", 2)) return "ppm";
  return "";
}

std::vector<std::string> ReadLines(const std::string& path) {
  const std::string text = ReadFile(path);
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    lines.push_back(text.substr(at, end - at));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    at = end + 1;
  }
  while (!lines.empty() && lines.back().empty()) lines.pop_back();
  return lines;
}

}  // namespace mariana
