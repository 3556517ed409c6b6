// TarReader: the plain files of a tar archive: ustar, GNU long names and base-256 sizes, pax paths
// and sizes (POSIX.1-2001; GNU tar manual, "Basic Tar Format"). Reads headers alone and steps over
// contents.
//
// Threading: an object belongs to one thread.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace mariana {

struct TarEntry {
  std::string name;
  int64_t offset = 0;  // of its contents
  int64_t size = 0;
};

class TarReader {
 public:
  // Up to n bytes from `offset` on; fewer only at the end.
  using ReadAt = std::function<size_t(int64_t offset, void* to, size_t n)>;
  // `size`: of the archive. `path` is for messages. ReadAt must be usable as long as the reader.
  TarReader(std::string path, int64_t size, ReadAt read_at);

  // The next plain file; false at the end of the archive. Throws Error(kBadData), with the byte,
  // on what is no tar header and on contents that the archive does not hold in full.
  bool Next(TarEntry* entry);

 private:
  struct Extensions {  // of the next entry
    std::string name;
    int64_t size = -1;
  };
  std::string ReadText(int64_t offset, int64_t size);
  void ParsePax(const std::string& records, int64_t at, Extensions* extensions) const;

  const std::string path_;
  const int64_t size_;
  const ReadAt read_at_;
  int64_t next_ = 0;  // offset of the next header
};

}  // namespace mariana
