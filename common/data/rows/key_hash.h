// Hashes of features: a field and a value -> the 64-bit key that every table knows the feature by.
// A key depends on the field's name and the value's text alone, not on the format that held them,
// the machine or the run, so that models outlive both. Thread-safe: pure functions.
//
// Source: wyhash 4 (Wang Yi, public domain): its way of mixing. Up to 8 bytes are mixed once, as
// MakeKey mixes what it gets again.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace mariana {

constexpr uint64_t kHashSecret[4] = {0x2d358dccaa6c78a5ull, 0x8bb84b93962eacc9ull,
                                     0x4b33a62ed433d4a3ull, 0x4d5a2da51de1aa47ull};

// Text may be read (not used) this far past its end: buffers of text are padded by it.
constexpr size_t kTextPadding = 64;

inline uint64_t Mix(uint64_t a, uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<uint64_t>(product) ^ static_cast<uint64_t>(product >> 64);
}

inline uint64_t Load64(const char* p) {
  uint64_t word;
  std::memcpy(&word, p, 8);
  return word;
}

constexpr uint64_t kByteMasks[9] = {0,
                                    0xFF,
                                    0xFFFF,
                                    0xFFFFFF,
                                    0xFFFFFFFF,
                                    0xFFFFFFFFFF,
                                    0xFFFFFFFFFFFF,
                                    0xFFFFFFFFFFFFFF,
                                    0xFFFFFFFFFFFFFFFF};

// The low `bytes` (0 to 8) bytes of a word.
inline uint64_t LowBytes(uint64_t word, size_t bytes) { return word & kByteMasks[bytes]; }

namespace key_hash {

inline uint64_t Finish(uint64_t a, uint64_t b, size_t n) {
  return Mix(kHashSecret[1] ^ n, Mix(a ^ kHashSecret[1], b ^ kHashSecret[0]));
}

// The hash of up to 8 bytes, already loaded (those beyond n zero).
inline uint64_t OfWord(uint64_t word, size_t n) {
  return Mix(word ^ kHashSecret[1], kHashSecret[0] + n);
}

inline uint64_t OfLong(const char* p, size_t n) {
  uint64_t seed = kHashSecret[2];
  const char* q = p;
  for (size_t left = n; left > 16; left -= 16, q += 16) {
    seed = Mix(Load64(q) ^ kHashSecret[1], Load64(q + 8) ^ seed);
  }
  return Finish(Load64(p + n - 16) ^ kHashSecret[3], Load64(p + n - 8) ^ seed, n);
}

}  // namespace key_hash

// The text must have kTextPadding readable bytes behind it.
inline uint64_t HashPadded(const char* p, size_t n) {
  if (n <= 8) return key_hash::OfWord(LowBytes(Load64(p), n), n);
  if (n <= 16) return key_hash::Finish(Load64(p), Load64(p + n - 8), n);
  return key_hash::OfLong(p, n);
}

// Any text; the same hash.
inline uint64_t HashText(std::string_view text) {
  if (text.size() > 8) return HashPadded(text.data(), text.size());
  char word[8] = {};
  std::copy(text.begin(), text.end(), word);
  return key_hash::OfWord(Load64(word), text.size());
}

// A whole number as a value (a bucket's index); never the hash of a text, but by chance.
inline uint64_t HashNumber(uint64_t number) {
  return key_hash::Finish(number, kHashSecret[3], uint64_t{1} << 62);
}

// What the keys of one field start from.
inline uint64_t FieldSeed(std::string_view name) { return HashText(name) ^ kHashSecret[2]; }

// Never 0.
inline uint64_t MakeKey(uint64_t field_seed, uint64_t value_hash) {
  const uint64_t key = Mix(value_hash ^ kHashSecret[3], field_seed);
  return key + (key < 1);
}

// The value of a cross, from those of its fields in order.
inline uint64_t CombineHashes(uint64_t a, uint64_t b) {
  return Mix(a ^ kHashSecret[0], b ^ kHashSecret[2]) + a;
}

}  // namespace mariana
