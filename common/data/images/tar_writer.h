// TarWriter: a tar archive of plain files, the same bytes for the same files: ustar, with pax
// records for long names. Used by one thread.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "common/base/files.h"

namespace mariana {

class TarWriter {
 public:
  explicit TarWriter(const std::string& path) : file_(path) {}
  void Add(const std::string& name, std::string_view contents);
  void Finish();  // without it the archive is removed
  int64_t bytes() const { return file_.bytes(); }

 private:
  void Header(const std::string& name, size_t size, char type);
  void Contents(std::string_view contents);

  FileWriter file_;
};

}  // namespace mariana
