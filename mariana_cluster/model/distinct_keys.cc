#include "mariana_cluster/model/distinct_keys.h"

#include <glog/logging.h>

#include <limits>

namespace mariana {
namespace {

// The table holds places in seen[], 0 for none; seen[0] is not used.
class KeySet {
 public:
  KeySet(int shift, uint32_t* slots, uint64_t* seen) : shift_(shift), slots_(slots), seen_(seen) {}

  // Where `key` stands, from 1. Without branches where the key is found or free at its home: half
  // of all keys are new, which no branch predictor foresees.
  uint32_t Add(uint64_t key) {
    uint64_t at = key >> shift_;
    const uint32_t there = slots_[at];
    const bool fresh = there == 0;
    if (__builtin_expect(!fresh && seen_[there] != key, 0)) return AddBehind(at, key);
    const uint32_t place = fresh ? count_ + 1 : there;
    slots_[at] = place;
    seen_[count_ + 1] = key;
    count_ += fresh ? 1 : 0;
    return place;
  }
  uint32_t count() const { return count_; }

 private:
  [[gnu::noinline]] uint32_t AddBehind(uint64_t at, uint64_t key) {
    const uint64_t last = ~uint64_t{0} >> shift_;
    while (slots_[at] != 0 && seen_[slots_[at]] != key) at = (at + 1) & last;
    if (slots_[at] == 0) {
      slots_[at] = ++count_;
      seen_[count_] = key;
    }
    return slots_[at];
  }

  const int shift_;
  uint32_t* const slots_;
  uint64_t* const seen_;
  uint32_t count_ = 0;
};

}  // namespace

void FindDistinct(const uint64_t* first, int64_t n_first, const uint64_t* keys, int64_t n,
                  uint64_t mask, std::vector<uint64_t>* distinct, uint32_t* index,
                  std::vector<uint64_t>* scratch) {
  const int64_t most = n + n_first;
  CHECK_LT(most, std::numeric_limits<int32_t>::max());
  int bits = 4;
  while ((int64_t{1} << bits) < most + most / 4) ++bits;  // at most 4 of 5 places are taken
  const size_t slots = size_t{1} << bits;
  const size_t words = slots / 2 + static_cast<size_t>(most) + 2;
  if (scratch->size() < words) scratch->resize(words);
  std::fill_n(scratch->data(), slots / 2, 0);
  uint64_t* seen = scratch->data() + slots / 2;
  KeySet set(64 - bits, reinterpret_cast<uint32_t*>(scratch->data()), seen);
  for (int64_t i = 0; i < n_first; ++i) set.Add(first[i]);
  for (int64_t i = 0; i < n; ++i) index[i] = set.Add(keys[i] & mask) - 1;
  distinct->assign(seen + 1, seen + 1 + set.count());
}

}  // namespace mariana
