// The distinct keys of a batch: what a table is asked for, each once. Thread-safe: no state but the
// caller's.
#pragma once

#include <cstdint>
#include <vector>

namespace mariana {

// distinct = first[0, n_first), then the keys of keys[0, n), each & mask, that did not come before,
// in the order of first appearance; index[i] = where keys[i] & mask stands in it. Keys must be well
// mixed in their first bits (RowBatch's are): these choose the place in an open-addressing table of
// 4 bytes a place, which stays in the first caches with batches of some 10,000 features. `first`
// must be different and masked. `scratch` keeps its memory from batch to batch.
void FindDistinct(const uint64_t* first, int64_t n_first, const uint64_t* keys, int64_t n,
                  uint64_t mask, std::vector<uint64_t>* distinct, uint32_t* index,
                  std::vector<uint64_t>* scratch);

}  // namespace mariana
