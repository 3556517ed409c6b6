// Script files (scp): where each utterance's value lies.
#include <sys/stat.h>

#include <algorithm>
#include <charconv>
#include <unordered_map>

#include "common/base/error.h"
#include "common/data/kaldi.h"

namespace mariana {
namespace {

constexpr size_t kMaxLine = 1 << 16;  // bytes
constexpr size_t kSeekBuffer = 1 << 13;
// Kaldi lets a row range run so many rows past the end (segments rounded up).
constexpr int32_t kRangeOverhang = 3;

bool Exists(const std::string& path) {
  struct stat info;
  return stat(path.c_str(), &info) == 0;
}

std::string FolderOf(const std::string& path) {
  const size_t slash = path.rfind('/');
  return slash == std::string::npos ? "" : path.substr(0, slash + 1);
}

// Remembers where each relative path was found: an scp names few arks many times.
class PathFinder {
 public:
  explicit PathFinder(const std::string& scp) : folder_(FolderOf(scp)) {}
  const std::string& Find(const std::string& path) {
    auto [it, added] = found_.try_emplace(path, path);
    if (added && !path.empty() && path[0] != '/' && !folder_.empty() && !Exists(path) &&
        Exists(folder_ + path)) {
      it->second = folder_ + path;
    }
    return it->second;
  }

 private:
  std::string folder_;
  std::unordered_map<std::string, std::string> found_;
};

std::string Trim(const std::string& s) {
  const size_t first = s.find_first_not_of(" \t\r\n");
  return first == std::string::npos ? ""
                                    : s.substr(first, s.find_last_not_of(" \t\r\n") - first + 1);
}

// One line without its newline; false at the end.
bool ReadLine(ByteSource* in, std::string* line) {
  line->clear();
  if (in->Peek() < 0) return false;
  int c;
  while ((c = in->Get()) >= 0 && c != '\n') {
    if (line->size() >= kMaxLine) {
      throw Fail(ExitCode::kBadData, "a line longer than ", kMaxLine, " bytes");
    }
    line->push_back(static_cast<char>(c));
  }
  return true;
}

template <class T>
bool ParseWhole(const std::string& text, T* value) {
  const char* end = text.data() + text.size();
  const auto result = std::from_chars(text.data(), end, *value);
  return result.ec == std::errc() && result.ptr == end && !text.empty() && *value >= 0;
}

// "first:last" -> rows; "," would start a range of columns.
bool ParseRange(const std::string& range, ScpEntry* entry) {
  const size_t colon = range.find(':');
  return colon != std::string::npos && ParseWhole(range.substr(0, colon), &entry->first_row) &&
         ParseWhole(range.substr(colon + 1), &entry->last_row) &&
         entry->first_row <= entry->last_row;
}

// `place`, after the key: path[:offset][range], or a command.
void ParsePlace(std::string place, bool allow_pipes, PathFinder* finder, ScpEntry* entry) {
  const auto bad = [](const std::string& what) { return Error(ExitCode::kBadData, what); };
  if (place.back() == '|') {
    if (!allow_pipes) throw bad("is a command (ends in '|'); set allow_pipes to run commands");
    entry->is_command = true;
    entry->path = Trim(place.substr(0, place.size() - 1));
    if (entry->path.empty()) throw bad("an empty command");
    return;
  }
  const size_t open = place.rfind('[');
  if (place.back() == ']' && open != std::string::npos) {
    const std::string range = place.substr(open + 1, place.size() - open - 2);
    if (!ParseRange(range, entry)) {
      throw bad(StrCat("range [", range, "] is not [first:last] of rows"));
    }
    place.resize(open);
  }
  const size_t colon = place.rfind(':');
  if (colon != std::string::npos && ParseWhole(place.substr(colon + 1), &entry->offset)) {
    place.resize(colon);
  }
  if (place.empty()) throw bad("no path before the offset or range");
  entry->path = finder->Find(place);
}

ScpEntry ParseScpLine(const std::string& line, bool allow_pipes, PathFinder* finder) {
  const size_t space = line.find_first_of(" \t");
  ScpEntry entry;
  entry.key = line.substr(0, space);
  const std::string place = space == std::string::npos ? "" : Trim(line.substr(space));
  try {
    if (place.empty()) throw Error(ExitCode::kBadData, "no path after the key");
    ParsePlace(place, allow_pipes, finder, &entry);
  } catch (const Error& e) {
    throw Fail(ExitCode::kBadData, "utterance \"", entry.key, "\": ", e.message());
  }
  return entry;
}

// Reads entry's value; failures name file and utterance.
template <class Read>
auto ReadEntry(const ScpEntry& entry, Read read) {
  try {
    const auto in = OpenEntry(entry);
    auto value = read(in.get());
    // A command tells only at its end whether it failed.
    while (entry.is_command && in->Get() >= 0) {
    }
    return value;
  } catch (const Error& e) {
    std::string what = e.message();
    const std::string place = entry.path + ": ";  // where opening it already said so
    if (what.compare(0, place.size(), place) == 0) what = what.substr(place.size());
    throw Fail(ExitCode::kBadData, entry.path, ": utterance \"", entry.key, "\": ", what);
  }
}

// The last row of entry's range (exclusive) in a matrix of `rows`.
int32_t RangeEnd(const ScpEntry& entry, int32_t rows) {
  if (entry.last_row < 0) return rows;
  if (entry.first_row >= rows || entry.last_row >= rows + kRangeOverhang) {
    throw Fail(ExitCode::kBadData, "range [", entry.first_row, ":", entry.last_row,
               "] of a matrix of ", rows, " rows");
  }
  return std::min(entry.last_row + 1, rows);
}

template <class T>
MatrixOf<T> ReadMatrixEntry(const ScpEntry& entry) {
  return ReadEntry(entry, [&](ByteSource* in) {
    MatrixOf<T> m = ReadMatrixValue<T>(in);
    const int32_t end = RangeEnd(entry, m.rows);
    m.data.resize(int64_t{end} * m.cols);
    m.data.erase(m.data.begin(), m.data.begin() + int64_t{entry.first_row} * m.cols);
    m.rows = end - entry.first_row;
    return m;
  });
}

}  // namespace

std::vector<ScpEntry> ParseScp(ByteSource* in, const std::string& name, bool allow_pipes) {
  std::vector<ScpEntry> entries;
  PathFinder finder(name);
  std::string line;
  int number = 0;
  try {
    while (++number, ReadLine(in, &line)) {
      const std::string text = Trim(line);
      if (text.empty()) continue;
      entries.push_back(ParseScpLine(text, allow_pipes, &finder));
      entries.back().line = number;
      entries.back().rspecifier_file = name;
    }
  } catch (const Error& e) {
    throw Fail(ExitCode::kBadData, name, ":", number, ": ", e.message());
  }
  return entries;
}

std::vector<ScpEntry> ReadScp(const std::string& path, bool allow_pipes) {
  return ParseScp(OpenFile(path).get(), path, allow_pipes);
}

std::vector<std::pair<std::string, std::string>> ReadTable(const std::string& path) {
  std::vector<std::pair<std::string, std::string>> rows;
  const auto in = OpenFile(path);
  std::string line;
  for (int number = 1; ReadLine(in.get(), &line); ++number) {
    const std::string text = Trim(line);
    if (text.empty()) continue;
    const size_t space = text.find_first_of(" \t");
    if (space == std::string::npos) {
      throw Fail(ExitCode::kBadData, path, ":", number, ": \"", text, "\" has no value after it");
    }
    rows.emplace_back(text.substr(0, space), Trim(text.substr(space)));
  }
  return rows;
}

std::unique_ptr<ByteSource> OpenEntry(const ScpEntry& entry) {
  if (entry.is_command) return OpenCommand(entry.path);
  return OpenFile(entry.path, entry.offset, kSeekBuffer);
}

Matrix ReadMatrix(const ScpEntry& entry) { return ReadMatrixEntry<float>(entry); }

MatrixOf<double> ReadDoubleMatrix(const ScpEntry& entry) { return ReadMatrixEntry<double>(entry); }

MatrixSize ReadMatrixSize(const ScpEntry& entry) {
  return ReadEntry(entry, [&](ByteSource* in) {
    MatrixSize size = ReadMatrixSizeValue(in);
    size.rows = RangeEnd(entry, size.rows) - entry.first_row;
    return size;
  });
}

std::vector<int32_t> ReadIntVector(const ScpEntry& entry) {
  return ReadEntry(entry, ReadIntVectorValue);
}

std::vector<float> ReadFloatVector(const ScpEntry& entry) {
  return ReadEntry(entry, ReadFloatVectorValue);
}

}  // namespace mariana
