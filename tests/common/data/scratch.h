// Scratch: a folder of a test's own, removed with what is in it. And the message of a thrown Error.
#pragma once

#include <stdlib.h>

#include <fstream>
#include <string>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {

class Scratch {
 public:
  Scratch() {
    const char* base = getenv("TEST_TMPDIR");
    path_ = std::string(base != nullptr ? base : "/tmp") + "/scratch.XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) throw Error(ExitCode::kIo, "no scratch folder");
  }
  ~Scratch() { RemoveTree(path_); }
  Scratch(const Scratch&) = delete;
  Scratch& operator=(const Scratch&) = delete;

  const std::string& path() const { return path_; }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  // Writes a file, returns its path.
  std::string Write(const std::string& name, const std::string& contents) const {
    std::ofstream(*this / name, std::ios::binary) << contents;
    return *this / name;
  }
  // `text` with the folder's own path cut out.
  std::string Strip(std::string text) const {
    for (size_t at; (at = text.find(path_ + "/")) != std::string::npos;) {
      text.erase(at, path_.size() + 1);
    }
    return text;
  }

 private:
  std::string path_;
};

// The message of the Error(kBadData) that `f` throws; "" when it throws none.
template <class F>
std::string BadData(F f) {
  try {
    f();
  } catch (const Error& e) {
    return e.code() == ExitCode::kBadData ? e.message() : "another code: " + e.message();
  }
  return "";
}

}  // namespace mariana
