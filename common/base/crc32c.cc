#include <array>
#include <cstring>

#include "common/base/files.h"

#ifdef __SSE4_2__
#include <nmmintrin.h>
#endif

namespace mariana {

#ifdef __SSE4_2__

uint32_t Crc32c(const void* data, size_t bytes, uint32_t crc) {
  const char* p = static_cast<const char*>(data);
  uint64_t c = ~crc;
  for (; bytes >= 8; p += 8, bytes -= 8) {
    uint64_t word;
    std::memcpy(&word, p, 8);
    c = _mm_crc32_u64(c, word);
  }
  for (; bytes > 0; ++p, --bytes) {
    c = _mm_crc32_u8(static_cast<uint32_t>(c), static_cast<unsigned char>(*p));
  }
  return ~static_cast<uint32_t>(c);
}

#else

namespace {

// tables[k][b]: the checksum of byte b followed by k zero bytes (reflected polynomial), so that
// eight look-ups advance eight bytes.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

constexpr Tables MakeTables() {
  Tables tables{};
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t c = b;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ (c & 1 ? 0x82F63B78u : 0u);
    tables[0][b] = c;
  }
  for (size_t k = 1; k < 8; ++k) {
    for (size_t b = 0; b < 256; ++b) {
      const uint32_t c = tables[k - 1][b];
      tables[k][b] = (c >> 8) ^ tables[0][c & 0xFF];
    }
  }
  return tables;
}

constexpr Tables kTables = MakeTables();

}  // namespace

uint32_t Crc32c(const void* data, size_t bytes, uint32_t crc) {
  const unsigned char* p = static_cast<const unsigned char*>(data);
  uint32_t c = ~crc;
  for (; bytes >= 8; p += 8, bytes -= 8) {
    uint32_t next = 0;
    for (size_t i = 0; i < 8; ++i) {
      const uint32_t mixed = p[i] ^ (i < 4 ? (c >> (8 * i)) & 0xFF : 0);
      next ^= kTables[7 - i][mixed];
    }
    c = next;
  }
  for (; bytes > 0; ++p, --bytes) c = (c >> 8) ^ kTables[0][(c ^ *p) & 0xFF];
  return ~c;
}

#endif

}  // namespace mariana
