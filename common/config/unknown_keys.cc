#include "common/config/unknown_keys.h"

#include <algorithm>
#include <iterator>

#include "common/base/error.h"
#include "common/config/config.h"

namespace mariana {
namespace {

bool Has(const std::vector<std::string>& words, const std::string& word) {
  return std::find(words.begin(), words.end(), word) != words.end();
}

std::string LastKey(const std::string& path) { return path.substr(path.rfind('.') + 1); }

// "net.layers.0" -> "net.layers"
std::string WithoutIndex(const std::string& path) {
  const bool indexed = LastKey(path).find_first_not_of("0123456789") == std::string::npos;
  return indexed ? path.substr(0, path.rfind('.')) : path;
}

}  // namespace

void UnknownKeys::Compare(const std::string& section, const std::string& type,
                          const std::vector<std::string>& keys, const Node* node) {
  for (const std::string& key : keys) known_.push_back({section, key, type});
  if (!node) return;
  for (size_t i = 0; i < node->keys.size(); ++i) {
    const std::string& key = node->keys[i];
    const Place& place = node->key_places[i];
    const bool holds_anchors = section.empty() && place.source == 0 && key.compare(0, 2, "x-") == 0;
    if (Has(keys, key) || holds_anchors) continue;
    const Unknown unknown{place, section, key, type, JoinKeys(section, key), keys};
    if (place.source <= 0) unknown_.push_back(unknown);
    NoteOverrides(node->items[i], unknown);
  }
}

// Every override that set something at or below an unknown key.
void UnknownKeys::NoteOverrides(const Node& node, const Unknown& unknown) {
  if (node.place.source > 0) {
    Unknown by_override = unknown;
    by_override.place = node.place;
    const std::string& path = override_paths_[static_cast<size_t>(node.place.source) - 1];
    if (path.compare(0, unknown.path.size(), unknown.path) == 0) by_override.path = path;
    const bool noted = std::any_of(unknown_.begin(), unknown_.end(), [&](const Unknown& u) {
      return u.place.source == by_override.place.source && u.path == by_override.path;
    });
    if (!noted) unknown_.push_back(by_override);
  }
  for (const Node& item : node.items) NoteOverrides(item, unknown);
}

void UnknownKeys::Report(Mistakes* mistakes) const {
  for (const Unknown& u : unknown_) {
    mistakes->Add(
        u.place, u.path,
        StrCat("unknown key", u.type.empty() ? "" : " for type " + u.type, WhatIsMeant(u)));
  }
}

std::string UnknownKeys::WhatIsMeant(const Unknown& u) const {
  if (u.place.source > 0) {
    const std::string near = NearestPath(u);
    return near.empty() ? "; known are " + Listed(u.known) : "; did you mean \"" + near + "\"?";
  }
  const std::string near = DidYouMean(u.key, u.known);
  const std::string elsewhere = SectionsWith(u.key);
  if (near.empty() && elsewhere.empty()) return "; known are " + Listed(u.known);
  std::string meant;
  if (!near.empty()) meant = "; did you mean \"" + near + "\"?";
  if (near.empty()) return "; it belongs " + elsewhere;
  return elsewhere.empty() ? meant : meant + " (\"" + u.key + "\" belongs " + elsewhere + ")";
}

// For an override: a key beside the wrong one, a path as long as its own, or its last key anywhere.
std::string UnknownKeys::NearestPath(const Unknown& u) const {
  const std::string near = DidYouMean(u.key, u.known);
  if (!near.empty()) {
    return JoinKeys(u.section, near) + u.path.substr(JoinKeys(u.section, u.key).size());
  }
  if (!u.type.empty()) return "";  // other elements may be of other types
  std::vector<std::string> paths, as_deep;
  for (const Known& known : known_) paths.push_back(JoinKeys(known.section, known.key));
  const auto depth = [](const std::string& p) { return std::count(p.begin(), p.end(), '.'); };
  std::copy_if(paths.begin(), paths.end(), std::back_inserter(as_deep),
               [&](const std::string& p) { return depth(p) == depth(u.path); });
  std::string whole = DidYouMean(u.path, as_deep);
  if (!whole.empty()) return whole;
  const auto same_end = std::find_if(paths.begin(), paths.end(), [&](const std::string& p) {
    return LastKey(p) == LastKey(u.path);
  });
  return same_end == paths.end() ? "" : *same_end;
}

// "under train or to type linear", or "".
std::string UnknownKeys::SectionsWith(const std::string& key) const {
  std::vector<std::string> sections;
  for (const Known& known : known_) {
    if (known.key != key) continue;
    std::string section = "under " + WithoutIndex(known.section);
    if (known.section.empty()) section = "at the top";
    if (!known.type.empty()) section = "to type " + known.type;
    if (!Has(sections, section)) sections.push_back(section);
  }
  std::string all;
  for (size_t i = 0; i < std::min<size_t>(sections.size(), 2); ++i) {
    all += (i ? " or " : "") + sections[i];
  }
  return all;
}

}  // namespace mariana
