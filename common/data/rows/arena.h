// Arena: memory for what is kept for long and read in random order: in huge pages where the machine
// gives them, as each row from a page of 4 KiB costs a walk through the page tables first.
// Everything is freed with the arena. Thread-compatible.
#pragma once

#include <cstddef>
#include <vector>

namespace mariana {

class Arena {
 public:
  Arena() = default;
  ~Arena();
  Arena(const Arena&) = delete;
  Arena& operator=(const Arena&) = delete;

  // Aligned to 64 bytes. Error(kIo) when there is none.
  char* Allocate(size_t bytes);

 private:
  struct Region {
    void* mapped;
    size_t bytes;
  };
  std::vector<Region> regions_;
  char* next_ = nullptr;
  size_t left_ = 0;
};

}  // namespace mariana
