#include "common/data/rows/row_files.h"

#include <fcntl.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstring>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/rows/csv_line.h"
#include "common/data/rows/zstd_source.h"

namespace mariana {
namespace {

constexpr char kStdin[] = "/dev/stdin";

bool IsStdin(const std::string& path) {
  return path == "-" || (path.size() >= 2 && path.compare(path.size() - 2, 2, "/-") == 0);
}

Packing PackingOf(int fd) {
  unsigned char m[4] = {};
  if (pread(fd, m, 4, 0) < 2) return Packing::kPlain;
  if (m[0] == 0x1f && m[1] == 0x8b) return Packing::kGzip;
  const bool zstd = m[0] == 0x28 && m[1] == 0xb5 && m[2] == 0x2f && m[3] == 0xfd;
  return zstd ? Packing::kZstd : Packing::kPlain;
}

RowFile Examine(const std::string& path) {
  RowFile file;
  file.path = path;
  const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  struct stat info;
  if (fd < 0 || fstat(fd, &info) != 0) {
    const int error = errno;
    if (fd >= 0) close(fd);
    throw Fail(ExitCode::kBadData, path, ": cannot open: ", strerror(error));
  }
  if (S_ISREG(info.st_mode)) {
    file.packing = PackingOf(fd);
    file.size = info.st_size;
  } else {
    file.packing = Packing::kStream;
  }
  close(fd);
  if (S_ISDIR(info.st_mode)) {
    throw Fail(ExitCode::kBadData, path, ": is a folder; give files, like ", path, "/*.gz");
  }
  return file;
}

std::vector<std::string> Expand(const std::string& pattern) {
  glob_t found;
  const int status = glob(pattern.c_str(), GLOB_BRACE, nullptr, &found);
  std::vector<std::string> paths;
  if (status == 0) paths.assign(found.gl_pathv, found.gl_pathv + found.gl_pathc);
  globfree(&found);
  if (status == GLOB_NOMATCH) throw Fail(ExitCode::kBadData, pattern, ": no such file");
  if (status != 0) throw Fail(ExitCode::kBadData, pattern, ": cannot list the files");
  return paths;
}

std::string FirstLine(ByteSource* source, int64_t limit) {
  std::string line;
  for (int c; (c = source->Get()) >= 0 && c != '\n';) {
    line.push_back(static_cast<char>(c));
    if (static_cast<int64_t>(line.size()) > limit) return "";
  }
  if (!line.empty() && line.back() == '\r') line.pop_back();
  if (line.compare(0, 3, "\xEF\xBB\xBF") == 0) line.erase(0, 3);
  return line;
}

// Every column that the spec names, with what names it.
std::vector<std::pair<std::string, std::string>> NamedColumns(const RowSpec& spec) {
  std::vector<std::pair<std::string, std::string>> named;
  const auto add = [&](const std::string& column, const std::string& by) {
    if (!column.empty()) named.emplace_back(column, by);
  };
  add(spec.format == RowFormat::kCriteo ? "" : spec.label, "label");
  add(spec.weight, "weight");
  add(spec.group, "group");
  add(spec.id, "id");
  if (spec.held_out.kind == HeldOutKind::kAfter) add(spec.held_out.column, "held_out.column");
  for (const RowFieldSpec& f : EffectiveFields(spec)) add(f.column, "field \"" + f.name + "\"");
  return named;
}

void CheckColumns(const RowSpec& spec, const RowFile& file) {
  std::string mistakes;
  for (const auto& [column, by] : NamedColumns(spec)) {
    const auto times = std::count(file.columns.begin(), file.columns.end(), column);
    if (times == 1) continue;
    const std::string near = times == 0 ? DidYouMean(column, file.columns) : "";
    mistakes += StrCat(mistakes.empty() ? "" : "\n", file.path, ": ", by, ": column \"", column,
                       times == 0 ? "\" is not there" : "\" is there twice",
                       near.empty() ? "" : "; did you mean \"" + near + "\"?");
  }
  if (!mistakes.empty()) throw Error(ExitCode::kUsage, mistakes);
}

}  // namespace

RowFiles::RowFiles(const std::vector<std::string>& patterns, const RowSpec& spec) {
  for (const std::string& pattern : patterns) Add(pattern);
  const bool table = spec.format == RowFormat::kCriteo || spec.format == RowFormat::kCsv;
  for (RowFile& file : files_) {
    file.whole =
        file.packing != Packing::kPlain || (spec.format == RowFormat::kCsv && spec.multiline);
    file.begin = total_bytes_;
    total_bytes_ += file.size;
    if (table) {
      ReadColumns(spec, &file);
      CheckColumns(spec, file);
    }
  }
  if (spec.held_out.kind == HeldOutKind::kLast) HoldOutLast(spec.held_out.fraction);
}

void RowFiles::Add(const std::string& pattern) {
  if (IsStdin(pattern)) {
    RowFile file;
    file.path = "-";
    file.packing = Packing::kStream;
    files_.push_back(file);
    return;
  }
  for (const std::string& path : Expand(pattern)) files_.push_back(Examine(path));
}

void RowFiles::ReadColumns(const RowSpec& spec, RowFile* file) const {
  if (spec.format == RowFormat::kCriteo) {
    file->columns = CriteoColumns();
  } else if (!spec.header || file->packing == Packing::kStream) {
    file->columns = spec.columns;
    if (!file->columns.empty()) return;
    throw Fail(ExitCode::kUsage, file->path,
               ": the header of a stream cannot be read beforehand; name its columns in `columns`");
  } else {
    const auto source = Open(static_cast<int>(file - files_.data()));
    file->columns =
        SplitCsvLine(FirstLine(source.get(), spec.line_limit), SingleByte(spec.delimiter));
  }
}

// A file that cannot be entered in the middle goes where its middle is.
void RowFiles::HoldOutLast(double fraction) {
  const auto from = static_cast<int64_t>(static_cast<double>(total_bytes_) * (1 - fraction));
  bool some = false, all = true;
  for (RowFile& file : files_) {
    if (file.packing == Packing::kStream) {
      throw Fail(ExitCode::kUsage, file.path,
                 ": held_out: last needs files whose length is known; use random or after");
    }
    if (file.whole) {
      file.held_out_from = file.begin + file.size / 2 >= from ? 0 : INT64_MAX;
    } else if (from < file.begin + file.size) {
      file.held_out_from = std::max<int64_t>(from - file.begin, 0);
    }
    some |= file.held_out_from != INT64_MAX;
    all &= file.held_out_from == 0;
  }
  if (!some || all) {
    throw Fail(ExitCode::kUsage, files_.front().path,
               ": held_out: last cannot cut compressed or multiline files; give more of them, or "
               "use random or after");
  }
}

std::vector<RowShard> RowFiles::Shards(int count) const {
  std::vector<RowShard> shards(static_cast<size_t>(count));
  const auto at = [&](int s) {
    return static_cast<int64_t>(static_cast<__int128>(total_bytes_) * s / count);
  };
  int s = 0;
  for (int i = 0; i < size(); ++i) {
    const RowFile& file = (*this)[i];
    while (s + 1 < count && at(s + 1) <= file.begin) ++s;
    if (file.whole) {
      shards[static_cast<size_t>(s)].push_back({i, 0, INT64_MAX});
      continue;
    }
    for (int k = s; k < count && at(k) < file.begin + file.size; ++k) {
      const int64_t begin = std::max(at(k), file.begin) - file.begin;
      const int64_t end = std::min(at(k + 1), file.begin + file.size) - file.begin;
      if (begin < end) shards[static_cast<size_t>(k)].push_back({i, begin, end});
    }
  }
  return shards;
}

std::unique_ptr<ByteSource> RowFiles::Open(int file) const {
  const RowFile& f = (*this)[file];
  if (f.path == "-") return OpenFile(kStdin, -1);
  if (f.packing == Packing::kZstd) return OpenZstd(f.path);
  return OpenFile(f.path, -1);
}

std::unique_ptr<ByteSource> RowFiles::OpenAt(int file, int64_t offset) const {
  return OpenFile((*this)[file].path, offset);
}

int64_t RowFiles::LineAt(int file, int64_t offset) const {
  const auto source = OpenAt(file, 0);
  std::string buffer(1 << 20, '\0');
  int64_t line = 1;
  for (int64_t left = offset; left > 0;) {
    const size_t want = static_cast<size_t>(std::min<int64_t>(left, int64_t{1} << 20));
    const size_t got = source->Read(buffer.data(), want);
    if (got == 0) break;
    line += std::count(buffer.begin(), buffer.begin() + static_cast<std::ptrdiff_t>(got), '\n');
    left -= static_cast<int64_t>(got);
  }
  return line;
}

}  // namespace mariana
