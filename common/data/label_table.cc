#include "common/data/label_table.h"

#include <glog/logging.h>

#include "common/base/error.h"

namespace mariana {

LabelTable::LabelTable(
    const std::string& path, const Options& options,
    const std::function<void(const std::string& key, const std::string& what)>& problem)
    : path_(path) {
  const auto add = [&](const ScpEntry& entry, const std::vector<int32_t>& value) {
    const auto bad = [&](const auto&... what) {
      problem(entry.key, StrCat(path, ": utterance \"", entry.key, "\": ", what...));
    };
    for (size_t t = 0; t < value.size(); ++t) {
      if (value[t] >= 0 && (options.num_labels == 0 || value[t] < options.num_labels)) continue;
      return options.num_labels == 0 ? bad("label ", value[t], " of frame ", t, " is negative")
                                     : bad("label ", value[t], " of frame ", t, " is outside 0 to ",
                                           options.num_labels - 1);
    }
    const auto [it, added] = index_.emplace(entry.key, size());
    if (!added) return bad("labels come twice");
    Item item{&it->first, static_cast<int32_t>(value.size()), static_cast<int64_t>(pool_.size())};
    const int64_t held = static_cast<int64_t>(pool_.size() + value.size());
    if (entry.path.empty() || held <= options.in_memory) {
      pool_.insert(pool_.end(), value.begin(), value.end());
    } else {
      item.begin = -1 - static_cast<int64_t>(elsewhere_.size());
      elsewhere_.push_back(entry);
    }
    items_.push_back(item);
  };
  ForEachIntVector(path, options.allow_pipes, add, problem);
}

int LabelTable::Find(const std::string& key) const {
  const auto it = index_.find(key);
  return it == index_.end() ? -1 : it->second;
}

std::vector<int32_t> LabelTable::Read(int i) const {
  const Item& item = items_[i];
  if (item.begin >= 0) {
    return {pool_.begin() + item.begin, pool_.begin() + item.begin + item.length};
  }
  const ScpEntry& entry = elsewhere_[-1 - item.begin];
  std::vector<int32_t> value = mariana::ReadIntVector(entry);
  if (static_cast<int32_t>(value.size()) != item.length) {
    throw Fail(ExitCode::kBadData, entry.path, ": utterance \"", entry.key, "\": ", value.size(),
               " labels, ", item.length, " when it was opened");
  }
  return value;
}

}  // namespace mariana
