#include "common/data/byte_source.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "common/base/error.h"

namespace mariana {
namespace {

class FileSource : public ByteSource {
 public:
  FileSource(std::string path, int fd, int64_t offset, int64_t size, size_t buffer_bytes)
      : ByteSource(buffer_bytes, offset, size), path_(std::move(path)), fd_(fd) {}
  ~FileSource() override { close(fd_); }

 private:
  size_t Fill(char* to, size_t n) override {
    ssize_t got;
    do {
      got = read(fd_, to, n);
    } while (got < 0 && errno == EINTR);
    if (got < 0) throw Fail(ExitCode::kBadData, path_, ": cannot read: ", strerror(errno));
    return static_cast<size_t>(got);
  }

  std::string path_;
  int fd_;
};

class GzipSource : public ByteSource {
 public:
  GzipSource(std::string path, int fd, size_t buffer_bytes)
      : ByteSource(buffer_bytes, 0, -1), path_(std::move(path)), file_(gzdopen(fd, "rb")) {
    if (file_ == nullptr) {
      close(fd);
      throw Fail(ExitCode::kBadData, path_, ": cannot start to decompress");
    }
  }
  ~GzipSource() override { gzclose_r(file_); }

 private:
  int64_t stored() const override { return gzoffset(file_); }
  size_t Fill(char* to, size_t n) override {
    const unsigned chunk = static_cast<unsigned>(std::min<size_t>(n, 1 << 20));
    const int got = gzread(file_, to, chunk);
    int code = Z_OK;
    const char* what = gzerror(file_, &code);
    // A file cut short gives what is there, then Z_BUF_ERROR.
    if (got < 0 || (got == 0 && code != Z_OK && code != Z_STREAM_END)) {
      throw Fail(ExitCode::kBadData, path_,
                 ": broken gzip file: ", code == Z_BUF_ERROR ? "it ends too early" : what);
    }
    return static_cast<size_t>(got);
  }

  std::string path_;
  gzFile file_;
};

class CommandSource : public ByteSource {
 public:
  explicit CommandSource(const std::string& command)
      : ByteSource(1 << 16, 0, -1), command_(command), pipe_(popen(command.c_str(), "re")) {
    if (pipe_ == nullptr) throw Fail(ExitCode::kBadData, Name(), " cannot start");
  }
  ~CommandSource() override {
    if (pipe_ != nullptr) pclose(pipe_);
  }

 private:
  std::string Name() const { return StrCat("command \"", command_, "\""); }

  size_t Fill(char* to, size_t n) override {
    if (pipe_ == nullptr) return 0;
    const size_t got = fread(to, 1, n, pipe_);
    if (got == 0) {
      const int status = pclose(pipe_);
      pipe_ = nullptr;
      if (status != 0) {
        throw Fail(ExitCode::kBadData, Name(),
                   WIFSIGNALED(status) ? " was killed by signal " : " failed with exit status ",
                   WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
      }
    }
    return got;
  }

  std::string command_;
  FILE* pipe_;
};

class MemorySource : public ByteSource {
 public:
  explicit MemorySource(std::string_view bytes)
      : ByteSource(std::min<size_t>(bytes.size() + 1, 4096), 0, static_cast<int64_t>(bytes.size())),
        left_(bytes) {}

 private:
  size_t Fill(char* to, size_t n) override {
    n = std::min(n, left_.size());
    std::copy_n(left_.data(), n, to);
    left_.remove_prefix(n);
    return n;
  }
  std::string_view left_;
};

bool StartsWithGzipMagic(int fd) {
  unsigned char magic[2];
  return pread(fd, magic, 2, 0) == 2 && magic[0] == 0x1f && magic[1] == 0x8b;
}

}  // namespace

bool ByteSource::Refill() {
  begin_ = 0;
  end_ = Fill(buffer_.data(), buffer_.size());
  filled_ += static_cast<int64_t>(end_);
  return end_ > 0;
}

size_t ByteSource::Read(void* to, size_t n) {
  char* out = static_cast<char*>(to);
  size_t done = std::min(n, end_ - begin_);
  std::copy_n(buffer_.data() + begin_, done, out);
  begin_ += done;
  while (done < n) {
    if (n - done >= buffer_.size()) {  // large reads go around the buffer
      const size_t got = Fill(out + done, n - done);
      if (got == 0) break;
      filled_ += static_cast<int64_t>(got);
      done += got;
    } else {
      if (!Refill()) break;
      const size_t part = std::min(n - done, end_);
      std::copy_n(buffer_.data(), part, out + done);
      begin_ = part;
      done += part;
    }
  }
  return done;
}

std::string ByteSource::ReadAll(size_t limit) {
  std::string all;
  while (Peek() >= 0) {
    if (end_ - begin_ > limit - all.size()) {
      throw Fail(ExitCode::kBadData, "more than ", limit, " bytes");
    }
    all.append(buffer_, begin_, end_ - begin_);
    begin_ = end_;
  }
  return all;
}

std::unique_ptr<ByteSource> OpenFile(const std::string& path, int64_t offset, size_t buffer_bytes) {
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    throw Fail(ExitCode::kBadData, path, ": cannot open: ", strerror(error));
  }
  if (S_ISDIR(info.st_mode)) {
    close(fd);
    throw Fail(ExitCode::kBadData, path, ": is a folder, expected a file");
  }
  if (offset < 0 && StartsWithGzipMagic(fd)) {
    return std::make_unique<GzipSource>(path, fd, buffer_bytes);
  }
  const int64_t start = std::max<int64_t>(offset, 0);
  if (S_ISREG(info.st_mode) && start > info.st_size) {
    close(fd);
    throw Fail(ExitCode::kBadData, path, ": offset ", start, " is past the end of the file (",
               info.st_size, " bytes)");
  }
  if (start > 0 && lseek(fd, start, SEEK_SET) < 0) {
    close(fd);
    throw Fail(ExitCode::kBadData, path, ": cannot seek to ", start, ": ", strerror(errno));
  }
  return std::make_unique<FileSource>(path, fd, start, S_ISREG(info.st_mode) ? info.st_size : -1,
                                      buffer_bytes);
}

std::unique_ptr<ByteSource> OpenCommand(const std::string& command) {
  return std::make_unique<CommandSource>(command);
}

std::unique_ptr<ByteSource> OpenMemory(std::string_view bytes) {
  return std::make_unique<MemorySource>(bytes);
}

}  // namespace mariana
