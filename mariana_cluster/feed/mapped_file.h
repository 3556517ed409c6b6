// MappedFile: a file's bytes, read by the system as they are touched and shared by all processes of
// the machine that map it. Thread-safe: const after construction.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace mariana {

class MappedFile {
 public:
  // Error(kBadData) when it cannot be opened or is not a file.
  explicit MappedFile(const std::string& path);
  ~MappedFile();
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;

  // A file that becomes shorter meanwhile ends the process (SIGBUS), as it does everybody who maps.
  std::string_view bytes() const { return {data_, size_}; }

 private:
  const char* data_ = nullptr;
  size_t size_ = 0;
};

}  // namespace mariana
