#include "common/config/overrides.h"

#include <charconv>
#include <vector>

#include "common/base/error.h"
#include "common/config/scalars.h"
#include "common/config/yaml_tree.h"

namespace mariana {
namespace {

// "a.b.c" -> a, b, c; nothing if a part is empty.
std::vector<std::string> Split(const std::string& path) {
  std::vector<std::string> parts;
  for (size_t start = 0; start <= path.size();) {
    const size_t end = std::min(path.find('.', start), path.size());
    if (end == start) return {};
    parts.push_back(path.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

void SetPlaces(Node* node, const Place& place) {
  node->place = place;
  for (Place& key_place : node->key_places) key_place = place;
  for (Node& item : node->items) SetPlaces(&item, place);
}

// The child that `part` names, made where a section lacks it. Null after a mistake.
Node* Child(Node* node, const std::string& part, const std::string& path, const Place& place,
            Mistakes* mistakes) {
  if (node->kind == Node::Kind::kList) {
    size_t i = 0;
    const char* end = part.data() + part.size();
    const auto read = std::from_chars(part.data(), end, i);
    if (read.ec == std::errc() && read.ptr == end && i < node->items.size()) {
      return &node->items[i];
    }
    mistakes->Add(place, path,
                  node->items.empty()
                      ? "an empty list has no element " + part
                      : StrCat("a list of ", node->items.size(), ", whose elements are 0 to ",
                               node->items.size() - 1, ", has no ", part));
    return nullptr;
  }
  if (node->kind == Node::Kind::kScalar) {
    mistakes->Add(place, path, StrCat("is ", Shown(*node), ", which has no ", part, " within"));
    return nullptr;
  }
  if (node->kind == Node::Kind::kNull) {
    if (part.find_first_not_of("0123456789") == part.npos) {
      mistakes->Add(place, path,
                    StrCat("the file gives no list here that has an element ", part,
                           "; give the whole list"));
      return nullptr;
    }
    node->kind = Node::Kind::kMap;
    node->place = place;
  }
  if (Node* found = node->Find(part)) return found;
  node->keys.push_back(part);
  node->key_places.push_back(place);
  node->items.emplace_back();
  node->items.back().place = place;
  return &node->items.back();
}

}  // namespace

std::string OverridePath(const std::string& text) { return text.substr(0, text.find('=')); }

void ApplyOverride(const std::string& text, int source, Node* root, Mistakes* mistakes) {
  Place place;
  place.source = source;
  const std::vector<std::string> parts = Split(OverridePath(text));
  const size_t equals = text.find('=');
  if (equals == text.npos || parts.empty() || parts.size() > 64) {
    mistakes->Add(place, "", "expected key.path=value");
    return;
  }
  const std::string written = text.substr(equals + 1);
  std::optional<Node> value = ParseYaml(written, source, mistakes);
  if (!value) return;
  if (written.empty()) {
    value->kind = Node::Kind::kScalar;
    value->quoted = true;
  }
  SetPlaces(&*value, place);
  Node changed = *root;  // a mistake on the way leaves no half-made sections
  Node* node = &changed;
  std::string path;
  for (const std::string& part : parts) {
    node = Child(node, part, path, place, mistakes);
    if (!node) return;
    path = JoinKeys(path, part);
  }
  *node = std::move(*value);
  *root = std::move(changed);
}

}  // namespace mariana
