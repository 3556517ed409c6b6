#include "mariana_cluster/model/distinct_keys.h"

#include <glog/logging.h>

#include <algorithm>
#include <limits>

namespace mariana {
namespace {

// The keys so far, by their first bits: slots hold places in seen[], 0 for none.
struct KeySet {
  uint32_t* slots;
  uint64_t* seen;  // from 1 on
  int shift;

  // For a key that is not at its home: its place, or `next` when it is new.
  [[gnu::noinline]] uint32_t FindBehind(uint64_t key, uint32_t next) const {
    const uint64_t last = ~uint64_t{0} >> shift;
    uint64_t at = key >> shift;
    while (slots[at] != 0 && seen[slots[at]] != key) at = (at + 1) & last;
    if (slots[at] != 0) return slots[at];
    slots[at] = next;
    seen[next] = key;
    return next;
  }

  // Adds keys[0, n) & mask to `count` keys; returns how many there are then. No branch depends on
  // whether a key is new, which nothing foresees; only on another key at its home.
  uint32_t Add(const uint64_t* keys, int64_t n, uint64_t mask, uint32_t count, uint32_t* index) {
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t key = keys[i] & mask;
      const uint64_t home = key >> shift;
      const uint32_t there = slots[home];
      const uint32_t fresh = there == 0 ? 1 : 0;
      const uint64_t difference = (seen[there] ^ key) & (uint64_t{fresh} - 1);
      uint32_t place = there | ((0 - fresh) & (count + 1));
      if (__builtin_expect(difference != 0, 0)) {
        place = FindBehind(key, count + 1);
        count += place > count ? 1 : 0;
      } else {
        slots[home] = place;
        seen[count + 1] = key;
        count += fresh;
      }
      index[i] = place - 1;
    }
    return count;
  }
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
  KeySet set = {reinterpret_cast<uint32_t*>(scratch->data()), seen, 64 - bits};
  uint32_t count = 0;
  for (int64_t i = 0; i < n_first; ++i) {
    uint32_t unused;
    count = set.Add(first + i, 1, mask, count, &unused);
  }
  count = set.Add(keys, n, mask, count, index);
  distinct->assign(seen + 1, seen + 1 + count);
}

}  // namespace mariana
