#include "common/config/paths.h"

#include <cstdlib>
#include <filesystem>

#include "common/config/scalars.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

std::string ExpandVariables(const std::string& text, std::string* expanded) {
  for (size_t i = 0; i < text.size();) {
    if (text.compare(i, 2, "$$") == 0) {
      *expanded += '$';
      i += 2;
    } else if (text.compare(i, 2, "${") == 0) {
      const size_t end = text.find('}', i);
      if (end == text.npos) return "\"${\" without its \"}\" (write $$ for a plain $)";
      const std::string name = text.substr(i + 2, end - i - 2);
      const char* value = name.empty() ? nullptr : std::getenv(name.c_str());
      if (!value) return "the variable ${" + name + "} is not set";
      *expanded += value;
      i = end + 1;
    } else {
      *expanded += text[i++];
    }
  }
  return "";
}

// Takes leading "." and ".." away, which is right since `folder` has no links in it; others stay,
// "link/.." need not be here.
fs::path Joined(fs::path folder, const fs::path& path) {
  if (path.is_absolute()) return path;
  auto part = path.begin();
  for (; part != path.end() && (*part == "." || *part == ".."); ++part) {
    if (*part == "..") folder = folder.parent_path();
  }
  for (; part != path.end(); ++part) folder /= *part;
  return folder;
}

}  // namespace

std::string ParsePath(const Node& node, const std::string& folder, PathKind kind,
                      std::string* value) {
  std::string text, expanded;
  std::string wrong = ParseText(node, &text);
  if (wrong.empty()) wrong = ExpandVariables(text, &expanded);
  return wrong.empty() ? ResolvePath(expanded, folder, kind, value) : wrong;
}

std::string ResolvePath(const std::string& path, const std::string& folder, PathKind kind,
                        std::string* value) {
  if (path.empty()) {
    value->clear();
    return "";
  }
  if (path.find('\0') != path.npos) return "a path cannot hold a zero byte";
  std::error_code error;
  const fs::path full =
      Joined(fs::weakly_canonical(fs::absolute(folder.empty() ? "." : folder, error), error), path);
  if (error) return "the folder " + folder + " is gone: " + error.message();
  const std::string hint = path[0] == '~' ? "; ~ does not expand, ${HOME} does" : "";
  *value = full.string();  // which may be `path`
  if (kind != PathKind::kInput || fs::exists(full, error)) return "";
  return "no such file or folder: " + *value + hint;
}

std::string EscapePath(const std::string& path) {
  std::string escaped;
  for (const char c : path) escaped += c == '$' ? "$$" : std::string(1, c);
  return escaped;
}

}  // namespace mariana
