// LabelTable: the integer vectors of a set of alignments by utterance. In memory up to a limit;
// past it only their places in the archive are kept, and they are read again when asked for.
// Thread-safe: const after construction.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <unordered_map>
#include <vector>

#include "common/data/kaldi.h"

namespace mariana {

class LabelTable {
 public:
  struct Options {
    bool allow_pipes = false;
    int32_t num_labels = 0;                // labels are in [0, num_labels); 0: any from 0
    int64_t in_memory = int64_t{1} << 26;  // labels held, 4 bytes each
  };
  // Utterances with broken, repeated or out-of-range labels are reported and left out. The key is
  // empty where the archive is broken between utterances.
  LabelTable(const std::string& path, const Options& options,
             const std::function<void(const std::string& key, const std::string& what)>& problem);

  const std::string& path() const { return path_; }
  int size() const { return static_cast<int>(items_.size()); }
  const std::string& key(int i) const { return *items_[i].key; }
  int32_t length(int i) const { return items_[i].length; }
  int Find(const std::string& key) const;  // -1: not there
  std::vector<int32_t> Read(int i) const;

 private:
  struct Item {
    const std::string* key;  // in index_
    int32_t length;
    int64_t begin;  // in pool_, or in elsewhere_ when negative: -1 - position
  };

  std::string path_;
  std::vector<int32_t> pool_;
  std::vector<ScpEntry> elsewhere_;
  std::vector<Item> items_;
  std::unordered_map<std::string, int> index_;  // keys never move
};

}  // namespace mariana
