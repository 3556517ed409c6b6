// RecordSort: any number of records, given back in ascending order, in bounded memory: what does
// not fit goes to a temporary file in sorted runs, which are merged at the end.
// Thread-compatible.
#pragma once

#include <algorithm>
#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <utility>
#include <vector>

#include "common/data/rows/spill_file.h"

namespace mariana {

// Sorts 64-bit numbers, by counting their digits (radix sort); passes in which all digits are equal
// cost nothing. *scratch keeps its memory.
void SortRecords(std::vector<uint64_t>* records, std::vector<uint64_t>* scratch);

struct GroupedRecord {
  uint64_t group, record;
  bool operator<(const GroupedRecord& o) const {
    return group != o.group ? group < o.group : record < o.record;
  }
};
void SortRecords(std::vector<GroupedRecord>* records, std::vector<GroupedRecord>* scratch);

template <class T>
class RecordSort {
 public:
  // `memory`: bytes of records and scratch; `folder`: of the temporary file, should one be needed.
  RecordSort(int64_t memory, std::string folder)
      : most_(std::max<size_t>(static_cast<size_t>(memory) / (2 * sizeof(T)), kBlock)),
        folder_(std::move(folder)) {}

  int64_t size() const { return spilled_ + static_cast<int64_t>(records_.size()); }
  bool spilled() const { return !runs_.empty(); }
  // Error(kIo), Error(kCannotCreate): the temporary file.
  void Add(const T& record) {
    if (records_.size() == most_) Spill();
    records_.push_back(record);
    sorted_ = false;
  }
  void Add(const T* records, size_t n);
  // f(record) in ascending order; may be called again.
  template <class F>
  void ForEach(F f);
  // Removes up to `most` of the records, whichever are at hand.
  std::vector<T> TakeSome(size_t most);
  void Clear() {
    records_.clear();
    runs_.clear();
    file_.reset();
    spilled_ = 0;
  }

 private:
  static constexpr size_t kBlock = 8192;  // records that are read from the file at a time
  using Run = std::vector<SpillFile::Place>;

  // The records of a run, one block after the other.
  struct Cursor {
    const Run* run;
    size_t next_block = 0, at = 0;
    std::vector<T> block;
    bool Load(const SpillFile& file) {
      if (next_block == run->size()) return false;
      const SpillFile::Place& place = (*run)[next_block++];
      block.resize(place.bytes / sizeof(T));
      file.Read(place, block.data());
      at = 0;
      return true;
    }
  };

  void Sort() {
    if (!sorted_) SortRecords(&records_, &scratch_);
    sorted_ = true;
  }
  void Spill();

  const size_t most_;  // records in memory
  const std::string folder_;
  std::vector<T> records_, scratch_;
  bool sorted_ = true;
  std::unique_ptr<SpillFile> file_;
  std::vector<Run> runs_;
  int64_t spilled_ = 0;
};

template <class T>
void RecordSort<T>::Add(const T* records, size_t n) {
  while (n > 0) {
    if (records_.size() == most_) Spill();
    const size_t part = std::min(n, most_ - records_.size());
    records_.insert(records_.end(), records, records + part);
    records += part;
    n -= part;
    sorted_ = false;
  }
}

template <class T>
void RecordSort<T>::Spill() {
  if (!file_) file_ = std::make_unique<SpillFile>(folder_, "scores to be sorted");
  Sort();
  Run run;
  for (size_t i = 0; i < records_.size(); i += kBlock) {
    run.push_back(file_->Append(&records_[i], std::min(kBlock, records_.size() - i) * sizeof(T)));
  }
  spilled_ += static_cast<int64_t>(records_.size());
  runs_.push_back(std::move(run));
  records_.clear();
}

template <class T>
template <class F>
void RecordSort<T>::ForEach(F f) {
  Sort();
  std::vector<Cursor> cursors;
  for (const Run& run : runs_) cursors.push_back({&run, 0, 0, {}});
  struct Head {
    T record;
    Cursor* cursor;
    bool operator<(const Head& o) const { return o.record < record; }  // the least on top
  };
  std::priority_queue<Head> heads;
  const auto push = [&](Cursor* c) {
    if (c->at == c->block.size() && !c->Load(*file_)) return;
    heads.push({c->block[c->at], c});
    ++c->at;
  };
  for (Cursor& c : cursors) push(&c);
  for (const T& record : records_) {
    while (!heads.empty() && heads.top().record < record) {
      const Head head = heads.top();
      heads.pop();
      f(head.record);
      push(head.cursor);
    }
    f(record);
  }
  while (!heads.empty()) {
    const Head head = heads.top();
    heads.pop();
    f(head.record);
    push(head.cursor);
  }
}

template <class T>
std::vector<T> RecordSort<T>::TakeSome(size_t most) {
  if (records_.empty() && !runs_.empty()) {
    for (const SpillFile::Place& place : runs_.back()) {
      const size_t n = records_.size();
      records_.resize(n + place.bytes / sizeof(T));
      file_->Read(place, &records_[n]);
    }
    spilled_ -= static_cast<int64_t>(records_.size());
    runs_.pop_back();
  }
  const size_t n = std::min(most, records_.size());
  std::vector<T> taken(records_.end() - static_cast<ptrdiff_t>(n), records_.end());
  records_.resize(records_.size() - n);
  return taken;
}

}  // namespace mariana
