// Reading files of encoded images. Thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/data/images/image_source.h"

namespace mariana {

// An open file, closed with the object.
class InputFile {
 public:
  // Throws Error(kBadData) when it cannot be opened.
  explicit InputFile(const std::string& path);
  ~InputFile();
  InputFile(const InputFile&) = delete;
  InputFile& operator=(const InputFile&) = delete;

  const std::string& path() const { return path_; }
  int64_t size() const { return size_; }
  int64_t mtime_ns() const { return mtime_ns_; }
  // Up to n bytes from `offset` on; fewer only at the end. Throws Error(kIo).
  size_t ReadAt(int64_t offset, void* to, size_t n) const;
  // All of [offset, offset + size); Error(kBadData) naming `where` when the file ends before.
  void Read(int64_t offset, int64_t size, const std::string& where,
            std::vector<uint8_t>* bytes) const;

 private:
  std::string path_;
  int fd_;
  int64_t size_ = 0, mtime_ns_ = 0;
};

// A whole file as one encoded image.
void ReadImageFile(const std::string& path, ImageBytes* bytes);

}  // namespace mariana
