// Node: the parsed config as a tree of our own, aliases expanded and `<<` merged, every node with
// its place. yaml-cpp ends where this begins. Values; thread-compatible.
#pragma once

#include <string>
#include <vector>

namespace mariana {

// Where something was written. Lines and columns count from 1, columns in characters.
struct Place {
  int source = 0;  // 0: the config file; -i: the i-th included one; i: the i-th override (no lines)
  int line = 1, column = 1;
  int alias_line = 0, alias_column = 0;  // the alias that brought it here; 0: none
};

struct Node {
  enum class Kind { kNull, kScalar, kList, kMap };

  Kind kind = Kind::kNull;
  Place place;
  std::string text;               // of a scalar
  bool quoted = false;            // a quoted or block scalar: text, whatever it looks like
  std::vector<Node> items;        // of a list or map
  std::vector<std::string> keys;  // of a map: keys[i] names items[i]; no key twice
  std::vector<Place> key_places;

  // The value of `key` in a map, or null.
  const Node* Find(const std::string& key) const;
  Node* Find(const std::string& key);
};

inline const Node* Node::Find(const std::string& key) const {
  for (size_t i = 0; i < keys.size(); ++i) {
    if (keys[i] == key) return &items[i];
  }
  return nullptr;
}

inline Node* Node::Find(const std::string& key) {
  return const_cast<Node*>(static_cast<const Node*>(this)->Find(key));
}

// "train" + "epochs" -> "train.epochs"; "" + "train" -> "train".
inline std::string JoinKeys(const std::string& path, const std::string& key) {
  return path.empty() ? key : path + "." + key;
}

}  // namespace mariana
