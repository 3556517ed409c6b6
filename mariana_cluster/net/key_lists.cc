#include "mariana_cluster/net/key_lists.h"

#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

// One step of a hash that mixes 8 bytes with two multiplications (as in wyhash, Wang Yi 2019).
uint64_t Mix(uint64_t a, uint64_t b) {
  const auto product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

constexpr uint64_t kMix[3] = {0xA0761D6478BD642Full, 0xE7037ED1A0B428DBull, 0x8EBC6AF09C88C6E3ull};

// f(KeyBytes<n>()): loops whose number of bytes is a constant.
template <int kBytes>
struct KeySize {
  static constexpr int value = kBytes;
};
template <class F>
void WithKeySize(int key_bytes, const F& f) {
  switch (key_bytes) {
    case 1: return f(KeySize<1>());
    case 2: return f(KeySize<2>());
    case 3: return f(KeySize<3>());
    case 4: return f(KeySize<4>());
    case 5: return f(KeySize<5>());
    case 6: return f(KeySize<6>());
    case 7: return f(KeySize<7>());
    default: return f(KeySize<8>());
  }
}

}  // namespace

uint64_t NumberOfList(int table, int key_bytes, std::string_view packed) {
  uint64_t a =
      Mix(packed.size() ^ kMix[0], static_cast<uint64_t>(table * 16 + key_bytes) ^ kMix[1]);
  uint64_t b = a ^ kMix[2];
  const char* p = packed.data();
  size_t left = packed.size();
  for (; left >= 32; left -= 32, p += 32) {
    uint64_t w[4];
    std::memcpy(w, p, sizeof(w));
    a = Mix(w[0] ^ kMix[1], w[1] ^ a);
    b = Mix(w[2] ^ kMix[2], w[3] ^ b);
  }
  for (; left > 0; left -= left < 8 ? left : 8, p += 8) {
    uint64_t w = 0;
    std::memcpy(&w, p, left < 8 ? left : 8);
    a = Mix(w ^ kMix[1], a ^ kMix[0]);
    if (left < 8) break;
  }
  return Mix(a ^ kMix[0], b ^ kMix[1]) | 1;
}

void PackKeys(const uint64_t* keys, int64_t n, int key_bytes, char* to) {
  WithKeySize(key_bytes, [&](auto size) {
    constexpr int kBytes = decltype(size)::value;
    for (int64_t i = 0; i < n; ++i) {
      const uint64_t bytes = __builtin_bswap64(keys[i]);
      __builtin_memcpy(to + i * kBytes, &bytes, kBytes);
    }
  });
}

void UnpackKeys(std::string_view packed, int key_bytes, std::vector<uint64_t>* keys) {
  keys->resize(packed.size() / static_cast<size_t>(key_bytes));
  WithKeySize(key_bytes, [&](auto size) {
    constexpr int kBytes = decltype(size)::value;
    const char* from = packed.data();
    for (size_t i = 0; i < keys->size(); ++i) {
      uint64_t bytes = 0;
      __builtin_memcpy(&bytes, from + i * kBytes, kBytes);
      (*keys)[i] = __builtin_bswap64(bytes);
    }
  });
}

KeyList* KeyLists::Find(uint64_t number) {
  const auto found = by_number_.find(number);
  if (found == by_number_.end()) return nullptr;
  lists_.splice(lists_.begin(), lists_, found->second);
  return &lists_.front();
}

KeyList* KeyLists::Add(uint64_t number, int64_t keys) {
  if (KeyList* there = Find(number)) {
    bytes_ += BytesFor(keys) - BytesFor(static_cast<int64_t>(there->keys.size()));
    there->rows.clear();
    return there;
  }
  bytes_ += BytesFor(keys);
  // The memory of a list that goes serves the new one.
  std::list<KeyList> spare;
  while (bytes_ > most_bytes_ && !lists_.empty()) {
    bytes_ -= BytesFor(static_cast<int64_t>(lists_.back().keys.size()));
    by_number_.erase(lists_.back().number);
    spare.splice(spare.begin(), lists_, std::prev(lists_.end()));
  }
  if (spare.empty()) spare.emplace_back();
  lists_.splice(lists_.begin(), spare, spare.begin());
  KeyList* list = &lists_.front();
  list->number = number;
  list->rows.clear();
  by_number_[number] = lists_.begin();
  return list;
}

void KeyLists::ForgetRows() {
  for (KeyList& list : lists_) list.rows.clear();
}

}  // namespace mariana
