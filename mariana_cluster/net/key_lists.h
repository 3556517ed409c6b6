// KeyLists: the lists of keys that clients have sent to a server, by number, so that a push, or the
// pull of a batch that comes again, sends the number alone. Bounded: the list used longest ago goes
// when there is no room; its client hears kListUnknown then and sends the list again.
//
// A list's number is a hash of its table, length and keys (NumberOfList): equal lists of all
// clients are one, and a server that was started again knows none, wherever they came from.
//
// Thread-compatible.
#pragma once

#include <cstdint>
#include <list>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace mariana {

struct KeyList {
  uint64_t number = 0;
  int table = 0;
  std::vector<uint64_t> keys;
  std::vector<char*> rows;  // where they are; empty: not looked up, or rows may have moved
  bool all_found = false;   // every key has its row
};

// Never 0. `packed`: keys as they travel.
uint64_t NumberOfList(int table, int key_bytes, std::string_view packed);

// Keys as they travel and back: the first key_bytes of each.
void PackKeys(const uint64_t* keys, int64_t n, int key_bytes, char* to);
void UnpackKeys(std::string_view packed, int key_bytes, std::vector<uint64_t>* keys);

class KeyLists {
 public:
  explicit KeyLists(int64_t most_bytes) : most_bytes_(most_bytes) {}

  // Null: unknown. Stays good until the next Add.
  KeyList* Find(uint64_t number);
  // An empty list of this number, with keys to be filled in by the caller before the next Add; what
  // does not fit beside it goes.
  KeyList* Add(uint64_t number, int64_t keys);
  // Rows may have moved: they are looked up again.
  void ForgetRows();

  int64_t lists() const { return static_cast<int64_t>(lists_.size()); }
  int64_t bytes() const { return bytes_; }

 private:
  static int64_t BytesFor(int64_t keys) { return keys * 16 + 256; }

  const int64_t most_bytes_;
  int64_t bytes_ = 0;
  std::list<KeyList> lists_;  // the one used last first
  std::unordered_map<uint64_t, std::list<KeyList>::iterator> by_number_;
};

}  // namespace mariana
