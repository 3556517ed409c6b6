// UnknownKeys: keys of the config that nothing describes, and what was probably meant. Suggestions
// need every described key, so they are made at the end. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/config/mistakes.h"

namespace mariana {

class UnknownKeys {
 public:
  // `override_paths[i]` is the path that override i + 1 sets.
  explicit UnknownKeys(std::vector<std::string> override_paths)
      : override_paths_(std::move(override_paths)) {}

  // `keys` are those described for `section` (of variant `type`, or ""); `node` holds what was
  // written there, or is null. Keys "x-..." at the top of the file hold anchors and are skipped.
  void Compare(const std::string& section, const std::string& type,
               const std::vector<std::string>& keys, const Node* node);
  void Report(Mistakes* mistakes) const;

 private:
  struct Unknown {
    Place place;
    std::string section, key, type;
    std::string path;                // as it is shown; of an override: all of its path
    std::vector<std::string> known;  // in its section
  };
  void NoteOverrides(const Node& node, const Unknown& unknown);
  std::string WhatIsMeant(const Unknown& unknown) const;
  std::string NearestPath(const Unknown& unknown) const;
  std::string SectionsWith(const std::string& key) const;

  std::vector<std::string> override_paths_;
  std::vector<Unknown> unknown_;
  struct Known {
    std::string section, key, type;
  };
  std::vector<Known> known_;
};

}  // namespace mariana
