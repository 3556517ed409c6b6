// Mistakes: everything wrong with a config, collected and thrown together, in file order, then in
// the order of the overrides. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/config/node.h"

namespace mariana {

class Mistakes {
 public:
  // `overrides` as the user gave them, for "override "train.epcohs=5": ...".
  Mistakes(const std::string& file, std::vector<std::string> overrides)
      : files_{file}, overrides_(std::move(overrides)) {}

  // The source of places in a file that the config includes.
  int AddInclude(const std::string& name);
  // `path` is the dotted path of the key, or "" where there is none.
  void Add(const Place& place, const std::string& path, const std::string& what);
  size_t size() const { return mistakes_.size(); }
  // Throws Error(kUsage), a line per mistake, if there is any.
  void Throw() const;

  // "speech.yaml:12" or "override".
  std::string OriginOf(const Place& place) const;

 private:
  const std::string& FileOf(const Place& place) const {
    return files_[static_cast<size_t>(-place.source)];
  }
  struct Mistake {
    Place place;
    std::string text;
  };
  std::vector<std::string> files_;
  std::vector<std::string> overrides_;
  std::vector<Mistake> mistakes_;
};

// On one line: control characters as escapes, and no longer than `limit` bytes.
std::string OneLine(const std::string& text, size_t limit);

// "a, b, c", and "..." after a dozen.
std::string Listed(const std::vector<std::string>& words);

}  // namespace mariana
