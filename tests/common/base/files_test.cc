// Files: reading, durable writing, full disks, checksums.
#include "common/base/files.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>

#include "common/base/error.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

// A folder of its own, removed at the end.
class Folder {
 public:
  Folder() {
    const char* base = std::getenv("TEST_TMPDIR");
    std::string name = std::string(base ? base : "/tmp") + "/files_test.XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = name;
  }
  ~Folder() { fs::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }
  size_t entries() const {
    return static_cast<size_t>(
        std::distance(fs::directory_iterator(path_), fs::directory_iterator()));
  }

 private:
  std::string path_;
};

Error Caught(const std::function<void()>& body) {
  try {
    body();
  } catch (const Error& error) {
    return error;
  }
  return Error(ExitCode::kOk, "nothing was thrown");
}

TEST_CASE("Crc32c gives the vectors of RFC 3720") {
  CHECK(Crc32c("123456789", 9) == 0xE3069283u);
  CHECK(Crc32c("", 0) == 0u);
  std::string bytes(32, '\0');
  CHECK(Crc32c(bytes.data(), 32) == 0x8A9136AAu);
  for (char& c : bytes) c = '\xFF';
  CHECK(Crc32c(bytes.data(), 32) == 0x62A8AB43u);
  for (int i = 0; i < 32; ++i) bytes[i] = static_cast<char>(i);
  CHECK(Crc32c(bytes.data(), 32) == 0x46DD794Eu);
  for (int i = 0; i < 32; ++i) bytes[i] = static_cast<char>(31 - i);
  CHECK(Crc32c(bytes.data(), 32) == 0x113FDB5Cu);
}

TEST_CASE("Crc32c in pieces is Crc32c of the whole, wherever it is cut") {
  std::string bytes;
  for (int i = 0; i < 61; ++i) bytes += static_cast<char>(i * 37);
  const uint32_t whole = Crc32c(bytes.data(), bytes.size());
  for (size_t cut = 0; cut <= bytes.size(); ++cut) {
    const uint32_t head = Crc32c(bytes.data(), cut);
    CHECK(Crc32c(bytes.data() + cut, bytes.size() - cut, head) == whole);
  }
}

TEST_CASE("what is written atomically is read back whole") {
  const Folder folder;
  std::string contents = "line\n";
  contents += '\0';
  contents += std::string(3 << 20, 'x');
  for (const std::string& text : {std::string(), contents, std::string("shorter")}) {
    WriteFileAtomic(folder / "a", text);
    CHECK(ReadFile(folder / "a") == text);
    CHECK(folder.entries() == 1);  // no temporary file stays
  }
}

TEST_CASE("an atomic write passes over temporary files that another process left") {
  const Folder folder;
  std::ofstream(StrCat(folder / "a", ".tmp.", getpid(), ".0")) << "old";
  WriteFileAtomic(folder / "a", "new");
  CHECK(ReadFile(folder / "a") == "new");
  CHECK(ReadFile(StrCat(folder / "a", ".tmp.", getpid(), ".0")) == "old");
}

TEST_CASE("ReadFile reads what has no size") {
  CHECK(ReadFile("/proc/self/status").find("Name:") == 0);
  CHECK(ReadFile("/dev/null").empty());
}

TEST_CASE("a file that cannot be read is bad data, named") {
  const Folder folder;
  const Error missing = Caught([&] { ReadFile(folder / "missing"); });
  CHECK(missing.code() == ExitCode::kBadData);
  CHECK(missing.message() == "cannot read " + folder / "missing" + ": No such file or directory");
  const Error is_folder = Caught([&] { ReadFile(folder.path()); });
  CHECK(is_folder.code() == ExitCode::kBadData);
  CHECK(is_folder.message() == "cannot read " + folder.path() + ": Is a directory");
}

TEST_CASE("an output that cannot be created is named") {
  const Folder folder;
  const std::string path = folder / "no/such/folder";
  const Error atomic = Caught([&] { WriteFileAtomic(path, "x"); });
  const Error pieces = Caught([&] { FileWriter writer(path); });
  for (const Error& error : {atomic, pieces}) {
    CHECK(error.code() == ExitCode::kCannotCreate);
    CHECK(error.message() == "cannot create " + path + ": No such file or directory");
  }
  fs::create_directory(folder / "taken");
  CHECK(Caught([&] { WriteFileAtomic(folder / "taken", "x"); }).code() == ExitCode::kCannotCreate);
  CHECK(folder.entries() == 1);
}

TEST_CASE("folders are made with their parents and removed with their contents") {
  const Folder folder;
  MakeDirectories(folder / "a/b/c");
  MakeDirectories(folder / "a/b/c/");
  FsyncDirectory(folder / "a/b");
  WriteFileAtomic(folder / "a/b/c/file", "x");
  const Error error = Caught([&] { MakeDirectories(folder / "a/b/c/file/d"); });
  CHECK(error.code() == ExitCode::kCannotCreate);
  CHECK_THAT(error.message(), Catch::Contains(folder / "a/b/c/file/d"));
  RemoveTree(folder / "a");
  RemoveTree(folder / "a");
  CHECK(folder.entries() == 0);
  CHECK(Caught([&] { FsyncDirectory(folder / "a"); }).code() == ExitCode::kIo);
}

TEST_CASE("free space is that of the file system a path will be on") {
  const Folder folder;
  CHECK(FreeBytes(folder.path()) > 0);
  CHECK(FreeBytes(folder / "not/yet/there") > 0);
  CHECK(FreeBytes("not-here-either") > 0);
  CHECK(FreeBytes("/proc") == 0);
}

TEST_CASE("a file writer checksums and counts what it writes") {
  const Folder folder;
  std::string contents;
  {
    FileWriter writer(folder / "a");
    for (const size_t bytes : {size_t{0}, size_t{5}, size_t{1} << 20, size_t{200'000},
                               size_t{100'000}, size_t{1} << 18}) {
      const std::string piece(bytes, static_cast<char>('a' + bytes % 26));
      writer.Append(piece.data(), bytes);
      contents += piece;
    }
    writer.Finish();
    CHECK(writer.bytes() == static_cast<int64_t>(contents.size()));
    CHECK(writer.crc32c() == Crc32c(contents.data(), contents.size()));
  }
  CHECK(ReadFile(folder / "a") == contents);
}

TEST_CASE("a file writer that did not finish leaves nothing") {
  const Folder folder;
  { FileWriter(folder / "a").Append("x", 1); }
  CHECK(folder.entries() == 0);
}

TEST_CASE("a full device says so, and is not removed") {
  const Error error = Caught([] {
    FileWriter writer("/dev/full");
    writer.Append("x", 1);
    writer.Finish();
  });
  CHECK(error.code() == ExitCode::kIo);
  CHECK(error.message() == "cannot write /dev/full: disk full");
  const std::string large(1 << 20, 'x');
  CHECK(Caught([&] { FileWriter("/dev/full").Append(large.data(), large.size()); }).message() ==
        error.message());
  CHECK(fs::exists("/dev/full"));
}

TEST_CASE("a write past the file size limit fails and leaves no temporary file") {
  const Folder folder;
  WriteFileAtomic(folder / "a", "old");
  rlimit before;
  REQUIRE(getrlimit(RLIMIT_FSIZE, &before) == 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  REQUIRE(setrlimit(RLIMIT_FSIZE, &small) == 0);
  const Error error = Caught([&] { WriteFileAtomic(folder / "a", std::string(8192, 'x')); });
  setrlimit(RLIMIT_FSIZE, &before);
  signal(SIGXFSZ, handler);
  CHECK(error.code() == ExitCode::kIo);
  CHECK(error.message() == "cannot write " + folder / "a" + ": File too large");
  CHECK(ReadFile(folder / "a") == "old");
  CHECK(folder.entries() == 1);
}

TEST_CASE("an atomic write to a full file system keeps the old file") {
  const Folder folder;
  if (mount("tmpfs", folder.path().c_str(), "tmpfs", 0, "size=64k") != 0) {
    WARN("no right to mount a tmpfs: not checked here");
    return;
  }
  WriteFileAtomic(folder / "a", "old");
  const Error error = Caught([&] { WriteFileAtomic(folder / "a", std::string(1 << 20, 'x')); });
  const std::string kept = ReadFile(folder / "a");
  const size_t entries = folder.entries();
  const int64_t free = FreeBytes(folder.path());
  umount(folder.path().c_str());
  CHECK(error.code() == ExitCode::kIo);
  CHECK(error.message() == "cannot write " + folder / "a" + ": disk full");
  CHECK(kept == "old");
  CHECK(entries == 1);
  CHECK(free > 0);
  CHECK(free <= 64 << 10);
}

}  // namespace
}  // namespace mariana
