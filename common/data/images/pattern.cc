#include <fnmatch.h>

#include <algorithm>
#include <charconv>
#include <filesystem>

#include "common/base/error.h"
#include "common/data/images/open_images.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

constexpr size_t kMostFiles = 1000000;

// "000..009": the numbers, as wide as the first; false for anything else.
bool Count(const std::string& text, std::vector<std::string>* out) {
  const size_t dots = text.find("..");
  if (dots == std::string::npos || dots == 0 || dots + 2 == text.size()) return false;
  int64_t first = 0, last = 0;
  const char* data = text.data();
  const auto a = std::from_chars(data, data + dots, first);
  const auto b = std::from_chars(data + dots + 2, data + text.size(), last);
  if (a.ec != std::errc() || a.ptr != data + dots || b.ec != std::errc() ||
      b.ptr != data + text.size() || first < 0 || last < first ||
      last - first >= static_cast<int64_t>(kMostFiles)) {
    return false;
  }
  for (int64_t n = first; n <= last; ++n) {
    std::string number = std::to_string(n);
    if (number.size() < dots) number.insert(0, dots - number.size(), '0');
    out->push_back(number);
  }
  return true;
}

std::vector<std::string> SplitAtCommas(const std::string& text) {
  std::vector<std::string> parts{""};
  for (char c : text) {
    if (c == ',') {
      parts.emplace_back();
    } else {
      parts.back() += c;
    }
  }
  return parts;
}

std::vector<std::string> ExpandBraces(const std::string& pattern) {
  const size_t open = pattern.find('{');
  if (open == std::string::npos) return {pattern};
  const size_t close = pattern.find('}', open);
  if (close == std::string::npos) {
    throw Fail(ExitCode::kBadData, pattern, ": \"{\" without \"}\" (expected {000..009} or {a,b})");
  }
  const std::string inside = pattern.substr(open + 1, close - open - 1);
  std::vector<std::string> choices, all;
  if (!Count(inside, &choices)) choices = SplitAtCommas(inside);
  for (const std::string& tail : ExpandBraces(pattern.substr(close + 1))) {
    if (all.size() * choices.size() > kMostFiles) break;
    for (const std::string& choice : choices) {
      all.push_back(StrCat(pattern.substr(0, open), choice, tail));
    }
  }
  if (all.size() > kMostFiles) {
    throw Fail(ExitCode::kBadData, pattern, ": names more than ", kMostFiles, " files");
  }
  return all;
}

bool HasWildcard(const std::string& text) { return text.find_first_of("*?[") != std::string::npos; }

// Wildcards are for names of files, not of folders.
std::vector<std::string> Match(const std::string& pattern) {
  const fs::path path(pattern);
  if (HasWildcard(path.parent_path().string())) {
    throw Fail(ExitCode::kBadData, pattern, ": * and ? may stand in the file's name only");
  }
  std::vector<std::string> found;
  std::error_code error;
  const fs::path folder = path.has_parent_path() ? path.parent_path() : fs::path(".");
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    const std::string name = it->path().filename().string();
    if (fnmatch(path.filename().c_str(), name.c_str(), FNM_PERIOD) == 0) {
      found.push_back((path.parent_path() / name).string());
    }
  }
  if (error) throw Fail(ExitCode::kBadData, folder.string(), ": cannot list: ", error.message());
  return found;
}

}  // namespace

std::vector<std::string> ExpandPattern(const std::string& pattern) {
  std::vector<std::string> files;
  for (const std::string& one : ExpandBraces(pattern)) {
    const std::vector<std::string> found = HasWildcard(one) ? Match(one) : std::vector{one};
    if (found.empty()) throw Fail(ExitCode::kBadData, one, ": matches no file");
    if (!fs::exists(found[0])) throw Fail(ExitCode::kBadData, one, ": no such file");
    files.insert(files.end(), found.begin(), found.end());
  }
  std::sort(files.begin(), files.end());
  files.erase(std::unique(files.begin(), files.end()), files.end());
  return files;
}

}  // namespace mariana
