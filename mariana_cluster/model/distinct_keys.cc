#include "mariana_cluster/model/distinct_keys.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>

namespace mariana {
namespace {

// The keys so far, by their first bits: slots hold places in seen[], 0 for none.
class KeySet {
 public:
  KeySet(uint32_t* slots, uint64_t* seen, int shift) : slots_(slots), seen_(seen), shift_(shift) {}

  // Adds keys[0, n) & mask to `count` keys; returns how many there are then.
  uint32_t Add(const uint64_t* keys, int64_t n, uint64_t mask, uint32_t count, uint32_t* index) {
    for (int64_t i = 0;; ++i) {
      i = AddAtHome(keys, i, n, mask, &count, index);
      if (i == n) return count;
      const uint32_t place = FindBehind(keys[i] & mask, count + 1);
      count += place > count ? 1 : 0;
      index[i] = place - 1;
    }
  }

 private:
  // From key i on, up to the first whose home another key has. No branch depends on whether a key
  // is new, which nothing foresees.
  int64_t AddAtHome(const uint64_t* keys, int64_t i, int64_t n, uint64_t mask, uint32_t* added,
                    uint32_t* index) {
    uint32_t count = *added;
    for (; i < n; ++i) {
      const uint64_t key = keys[i] & mask;
      const uint64_t home = key >> shift_;
      const uint32_t there = slots_[home];
      uint32_t fresh = there == 0 ? 1 : 0;
      asm("" : "+r"(fresh));  // a number to the compiler, which would make a branch of it
      if (((seen_[there] ^ key) & (uint64_t{fresh} - 1)) != 0) break;
      const uint32_t place = there | ((0 - fresh) & (count + 1));
      slots_[home] = place;
      seen_[count + 1] = key;
      count += fresh;
      index[i] = place - 1;
    }
    *added = count;
    return i;
  }

  // For a key that is not at its home: its place, or `next` when it is new.
  uint32_t FindBehind(uint64_t key, uint32_t next) {
    const uint64_t last = ~uint64_t{0} >> shift_;
    uint64_t at = key >> shift_;
    while (slots_[at] != 0 && seen_[slots_[at]] != key) at = (at + 1) & last;
    if (slots_[at] != 0) return slots_[at];
    slots_[at] = next;
    seen_[next] = key;
    return next;
  }

  uint32_t* const slots_;
  uint64_t* const seen_;  // from 1 on
  const int shift_;
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
  KeySet set(reinterpret_cast<uint32_t*>(scratch->data()), seen, 64 - bits);
  uint32_t count = 0;
  for (int64_t i = 0; i < n_first; ++i) {
    uint32_t unused;
    count = set.Add(first + i, 1, mask, count, &unused);
  }
  count = set.Add(keys, n, mask, count, index);
  distinct->assign(seen + 1, seen + 1 + count);
}

}  // namespace mariana
