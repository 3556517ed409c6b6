#include "common/config/includes.h"

#include <algorithm>
#include <filesystem>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/paths.h"
#include "common/config/yaml_tree.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

constexpr char kInclude[] = "include";
constexpr size_t kMostFiles = 64;

class Includer {
 public:
  Includer(const std::string& folder, Mistakes* mistakes)
      : folders_{folder}, mistakes_(mistakes) {}

  void Resolve(const std::string& path, Node* node);
  std::vector<std::string> TakeFolders() { return std::move(folders_); }

 private:
  void Include(const std::string& path, const Node& file, Node* into);
  // "" or what is wrong.
  std::string Read(const Node& file, std::string* name, std::string* text) const;
  void Merge(Node from, Node* into) const;

  std::vector<std::string> folders_;
  std::vector<std::string> open_;  // files that are being included, outermost first
  Mistakes* mistakes_;
};

void Includer::Resolve(const std::string& path, Node* node) {
  for (size_t i = 0; i < node->items.size(); ++i) {
    const bool map = node->kind == Node::Kind::kMap;
    Resolve(JoinKeys(path, map ? node->keys[i] : std::to_string(i)), &node->items[i]);
  }
  if (node->kind != Node::Kind::kMap) return;
  const auto found = std::find(node->keys.begin(), node->keys.end(), kInclude);
  if (found == node->keys.end()) return;
  const auto i = found - node->keys.begin();
  const Node file = std::move(node->items[static_cast<size_t>(i)]);
  node->keys.erase(found);
  node->key_places.erase(node->key_places.begin() + i);
  node->items.erase(node->items.begin() + i);
  Include(JoinKeys(path, kInclude), file, node);
}

void Includer::Include(const std::string& path, const Node& file, Node* into) {
  std::string name, text;
  const std::string wrong = Read(file, &name, &text);
  if (!wrong.empty()) {
    mistakes_->Add(file.place, path, wrong);
    return;
  }
  folders_.push_back(fs::path(name).parent_path().string());
  std::optional<Node> root = ParseYaml(text, mistakes_->AddInclude(name), mistakes_);
  if (!root || root->kind == Node::Kind::kNull) return;
  if (root->kind != Node::Kind::kMap) {
    mistakes_->Add(root->place, "", "an included file holds \"key: value\" lines");
    return;
  }
  open_.push_back(name);
  Resolve(path.substr(0, path.size() - std::min(path.size(), sizeof(kInclude))), &*root);
  open_.pop_back();
  Merge(std::move(*root), into);
}

std::string Includer::Read(const Node& file, std::string* name, std::string* text) const {
  const int source = file.place.source;
  const std::string folder = source > 0 ? "" : folders_[static_cast<size_t>(-source)];
  std::string wrong = ParsePath(file, folder, PathKind::kInput, name);
  if (!wrong.empty()) return wrong;
  if (name->empty()) return "must name a file";
  if (!fs::is_regular_file(*name)) return *name + " is not a file";
  if (std::find(open_.begin(), open_.end(), *name) != open_.end()) {
    return *name + " includes itself";
  }
  if (folders_.size() > kMostFiles) return StrCat("more than ", kMostFiles, " files are included");
  try {
    *text = ReadFile(*name);
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

// Keys "x-..." hold the file's own anchors.
void Includer::Merge(Node from, Node* into) const {
  for (size_t i = 0; i < from.items.size(); ++i) {
    if (from.keys[i].compare(0, 2, "x-") == 0 || into->Find(from.keys[i])) continue;
    into->keys.push_back(from.keys[i]);
    into->key_places.push_back(from.key_places[i]);
    into->items.push_back(std::move(from.items[i]));
  }
}

}  // namespace

std::vector<std::string> ResolveIncludes(const std::string& folder, Node* root,
                                         Mistakes* mistakes) {
  Includer includer(folder, mistakes);
  includer.Resolve("", root);
  return includer.TakeFolders();
}

}  // namespace mariana
