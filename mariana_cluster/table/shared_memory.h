// SharedMemory: a large stretch of memory that the processes of a node map together: a memfd, of
// which only what is committed takes memory. The whole stretch is mapped once, at a multiple of
// 2 MB, so nothing ever moves and pointers stay good while it fills.
//
// Huge pages: shmem ignores MADV_HUGEPAGE on most machines (shmem_enabled is `never`), but
// MADV_COLLAPSE (Linux 6.1) makes a 2 MB page of any 2 MB range that holds one page at least.
// Commit tries that for every range and falls back to small pages; huge_bytes() tells how far it
// came. A random access costs a TLB miss less on them: reads 3 to 4 times as fast,
// read-modify-write 5 times (tests/bench/table_bench).
//
// Threading: Commit may run in several threads and processes at once (committing twice is
// harmless); the bytes are the users' business.
#pragma once

#include <cstdint>
#include <string>

namespace mariana {

constexpr int64_t kHugePageBytes = 2 << 20;

class SharedMemory {
 public:
  SharedMemory() = default;
  // Reserves `bytes` (rounded up to 2 MB), none of it committed. `name` shows in /proc and in
  // errors. Error(kIo) when it cannot.
  static SharedMemory Create(const std::string& name, int64_t bytes);
  // Maps what another process created; takes the descriptor over.
  static SharedMemory Attach(int fd, const std::string& name);
  ~SharedMemory();
  SharedMemory(SharedMemory&& other) noexcept { *this = static_cast<SharedMemory&&>(other); }
  SharedMemory& operator=(SharedMemory&& other) noexcept;
  SharedMemory(const SharedMemory&) = delete;
  SharedMemory& operator=(const SharedMemory&) = delete;

  char* data() const { return data_; }
  int64_t bytes() const { return bytes_; }
  int fd() const { return fd_; }  // closed on exec; who hands it on duplicates it

  // Backs [offset, offset + bytes), widened to 2 MB, with zeroed memory; what is there stays.
  // Error(kIo) naming the size when there is no memory left.
  void Commit(int64_t offset, int64_t bytes) const;
  // Gives the memory behind [offset, offset + bytes) back; what is read there is zero.
  void Release(int64_t offset, int64_t bytes) const;

  // Bytes of this mapping that huge pages back at the moment, from /proc/self/smaps (this process
  // must have touched them).
  int64_t huge_bytes() const;

 private:
  void Map();

  std::string name_;
  int fd_ = -1;
  char* reserved_ = nullptr;  // address space, a little larger
  char* data_ = nullptr;
  int64_t bytes_ = 0;
};

}  // namespace mariana
