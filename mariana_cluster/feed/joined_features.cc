#include "mariana_cluster/feed/joined_features.h"

#include <glog/logging.h>

#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/data/rows/key_hash.h"
#include "common/train/safetensors.h"

namespace mariana {
namespace {

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

// Python's text of the value of a key in the header of an .npy file; "" where there is none.
std::string HeaderValue(const std::string& header, const std::string& key) {
  const size_t at = header.find("'" + key + "':");
  if (at == std::string::npos) return "";
  size_t begin = header.find_first_not_of(' ', at + key.size() + 3);
  if (begin == std::string::npos) return "";
  const size_t end = header.find(header[begin] == '(' ? ')' : ',', begin);
  return end == std::string::npos ? "" : header.substr(begin, end - begin);
}

// "(3, 7" -> 3 7.
std::vector<int64_t> Dims(const std::string& tuple) {
  std::vector<int64_t> dims;
  for (size_t i = 0; i < tuple.size(); ++i) {
    if (std::isdigit(static_cast<unsigned char>(tuple[i])) == 0) continue;
    const size_t end = std::min(tuple.find_first_not_of("0123456789", i), tuple.size());
    dims.push_back(end - i > 15 ? -1 : std::stoll(tuple.substr(i, end - i)));
    i = end;
  }
  return dims;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    if (!lines.back().empty() && lines.back().back() == '\r') lines.back().pop_back();
    begin = end + 1;
  }
  return lines;
}

}  // namespace

JoinedFeatures::JoinedFeatures(const std::string& path) : path_(path), file_(path) {
  if (EndsWith(path, ".safetensors")) {
    ReadSafetensors();
  } else if (EndsWith(path, ".npy")) {
    ReadNpy();
  } else {
    throw Fail(ExitCode::kUsage, path, ": joined features are .safetensors or .npy files");
  }
}

void JoinedFeatures::ReadSafetensors() {
  const std::string_view bytes = file_.bytes();
  const SafetensorsFile file = SafetensorsFile::FromMemory(bytes, path_);
  if (file.tensors().size() != 1) {
    throw Fail(ExitCode::kBadData, path_, ": has ", file.tensors().size(),
               " tensors; expected one, [ids, columns]");
  }
  const SafetensorsFile::Entry& tensor = file.tensors()[0];
  if (tensor.dtype != Dtype::kF32 || tensor.stored != SafetensorsFile::Stored::kAsRead) {
    throw Fail(ExitCode::kBadData, path_, ": tensor \"", tensor.name, "\" is not float32");
  }
  const size_t begin = sizeof(uint64_t) + Load64(bytes.data()) + static_cast<size_t>(tensor.offset);
  SetShape(tensor.shape.dims(), bytes.substr(begin));
  auto ids = file.metadata().find("ids");
  if (ids == file.metadata().end()) ids = file.metadata().find("images");
  const auto list = ids == file.metadata().end()
                        ? nlohmann::json()
                        : nlohmann::json::parse(ids->second, nullptr, false);
  std::vector<std::string> names;
  bool texts = list.is_array();
  for (size_t i = 0; texts && i < list.size(); ++i) {
    texts = list[i].is_string();
    if (texts) names.push_back(list[i].get<std::string>());
  }
  if (!texts) {
    throw Fail(ExitCode::kBadData, path_, ": the metadata \"ids\" must be a JSON list of texts");
  }
  Index(names);
}

// numpy's formats 1.0 to 3.0 (numpy.lib.format).
void JoinedFeatures::ReadNpy() {
  const std::string_view bytes = file_.bytes();
  const bool magic = bytes.size() >= 12 && bytes.substr(0, 6) == "\x93NUMPY";
  const auto byte = [&](size_t i) { return static_cast<size_t>(static_cast<uint8_t>(bytes[i])); };
  size_t begin = 0, length = 0;
  if (magic && bytes[6] == 1) {
    begin = 10;
    length = byte(8) | byte(9) << 8;
  } else if (magic && (bytes[6] == 2 || bytes[6] == 3)) {
    begin = 12;
    length = byte(8) | byte(9) << 8 | byte(10) << 16 | byte(11) << 24;
  }
  if (begin == 0 || length > bytes.size() - begin) {
    throw Fail(ExitCode::kBadData, path_, ": is no .npy file, or cut short");
  }
  const std::string header(bytes.substr(begin, length));
  if (HeaderValue(header, "descr") != "'<f4'" || HeaderValue(header, "fortran_order") != "False") {
    throw Fail(ExitCode::kBadData, path_,
               ": must be float32 in C order; save numpy.ascontiguousarray(x, '<f4')");
  }
  SetShape(Dims(HeaderValue(header, "shape")), bytes.substr(begin + length));
  Index(Lines(ReadFile(path_.substr(0, path_.size() - 4) + ".txt")));
}

void JoinedFeatures::SetShape(const std::vector<int64_t>& dims, std::string_view bytes) {
  const auto most = static_cast<int64_t>(bytes.size() / sizeof(float));
  int64_t values = dims.empty() ? -1 : 1;
  for (const int64_t d : dims) {
    values = values < 0 || d < 1 || d > most / values ? -1 : values * d;
  }
  if (values < 0) {
    throw Fail(ExitCode::kBadData, path_, ": must be a matrix [ids, columns], and is empty, cut ",
               "short or of another shape");
  }
  rows_ = dims[0];
  columns_ = values / rows_;
  matrix_ = bytes.data();
}

void JoinedFeatures::Index(const std::vector<std::string>& ids) {
  if (static_cast<int64_t>(ids.size()) != rows_) {
    throw Fail(ExitCode::kBadData, path_, ": has ", rows_, " rows and ", ids.size(), " ids");
  }
  int bits = 1;
  while ((int64_t{1} << bits) < 2 * rows_) ++bits;
  shift_ = 64 - bits;
  slots_.assign(size_t{1} << bits, {0, -1});
  for (size_t i = 0; i < ids.size(); ++i) {
    const uint64_t id = HashText(ids[i]);
    if (Find(id) >= 0)
      throw Fail(ExitCode::kBadData, path_, ": id \"", ids[i], "\" is there twice");
    size_t s = id >> shift_;
    while (slots_[s].row >= 0) s = (s + 1) & (slots_.size() - 1);
    slots_[s] = {id, static_cast<int64_t>(i)};
  }
}

int64_t JoinedFeatures::Find(uint64_t id) const {
  size_t s = id >> shift_;
  while (slots_[s].row >= 0 && slots_[s].id != id) s = (s + 1) & (slots_.size() - 1);
  return slots_[s].row;
}

void JoinedFeatures::AppendTo(RowBatch* batch) const {
  const auto rows = static_cast<size_t>(batch->rows),
             own = static_cast<size_t>(batch->dense_columns);
  const auto more = static_cast<size_t>(columns_), columns = own + more;
  CHECK_EQ(batch->id.size(), rows);
  batch->dense.resize(rows * columns);
  float* dense = batch->dense.data();
  int64_t missing = 0;
  for (size_t r = rows; r-- > 0;) {  // from the end: rows move up
    float* to = dense + r * columns;
    std::memmove(to, dense + r * own, own * sizeof(float));
    const int64_t found = Find(batch->id[r]);
    if (found < 0) {
      ++missing;
      std::memset(to + own, 0, more * sizeof(float));
      continue;
    }
    const char* from = matrix_ + static_cast<size_t>(found) * more * sizeof(float);
    std::memcpy(to + own, from, more * sizeof(float));
    float zero = 0;
    for (size_t c = 0; c < more; ++c) zero += to[own + c] * 0;
    if (zero != 0 || std::isnan(zero)) {
      throw Fail(ExitCode::kBadData, path_, ": row ", found,
                 " (from 0) has a value that is NaN or ", "infinite");
    }
  }
  batch->dense_columns = static_cast<int64_t>(columns);
  joined_ += batch->rows;
  missing_ += missing;
}

}  // namespace mariana
