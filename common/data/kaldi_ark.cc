// Archives (ark): keys and values one after another.
#include <glog/logging.h>

#include <utility>

#include "common/base/error.h"
#include "common/data/kaldi.h"

namespace mariana {
namespace {

constexpr size_t kMaxKey = 4096;  // bytes

bool EndsWith(const std::string& s, const std::string& end) {
  return s.size() >= end.size() && s.compare(s.size() - end.size(), end.size(), end) == 0;
}

}  // namespace

ArkReader::ArkReader(const std::string& path) : ArkReader(OpenFile(path), path) {}

ArkReader::ArkReader(std::unique_ptr<ByteSource> in, std::string name)
    : in_(std::move(in)), name_(std::move(name)) {}

bool ArkReader::NextKey() {
  const std::string last = std::exchange(key_, "");
  int c;
  while ((c = in_->Peek()) == '\n' || c == ' ' || c == '\t' || c == '\r') in_->Get();
  if (c < 0) return false;
  while ((c = in_->Peek()) > ' ' && c != 127 && key_.size() < kMaxKey) {
    key_.push_back(static_cast<char>(in_->Get()));
  }
  if (c < 0 && !key_.empty()) {
    throw Fail(ExitCode::kBadData, name_, ": utterance \"", key_, "\": truncated after the key");
  }
  if (key_.empty() || (c != ' ' && c != '\t' && c != '\n' && c != '\r')) {
    throw Fail(ExitCode::kBadData, name_, ": no archive",
               last.empty() ? StrCat(": it does not start with a key")
                            : StrCat(": no key follows utterance \"", last, "\""));
  }
  if (c == ' ' || c == '\t') in_->Get();  // an empty text vector has none
  offset_ = in_->position();
  text_ = in_->Peek() != 0;
  return true;
}

bool ArkReader::SkipLine() {
  if (!text_) return false;
  int c;
  do {
    c = in_->Get();
  } while (c >= 0 && c != '\n');
  return true;
}

// Runs `read` on the value; failures name file and utterance.
template <class Read>
auto ArkReader::Named(Read read) {
  try {
    return read(in_.get());
  } catch (const Error& e) {
    throw Fail(ExitCode::kBadData, name_, ": utterance \"", key_, "\": ", e.message());
  }
}

Matrix ArkReader::ReadMatrix() { return Named(ReadMatrixValue<float>); }
std::vector<int32_t> ArkReader::ReadIntVector() { return Named(ReadIntVectorValue); }
std::vector<float> ArkReader::ReadFloatVector() { return Named(ReadFloatVectorValue); }

ArkWriter::ArkWriter(const std::string& ark_path, const std::string& scp_path)
    : ark_path_(ark_path), ark_(ark_path) {
  if (!scp_path.empty()) scp_ = std::make_unique<FileWriter>(scp_path);
}

void ArkWriter::StartValue(const std::string& key) {
  CHECK(!key.empty() && key.find_first_of(" \t\r\n") == std::string::npos) << key;
  ark_.Append(key.data(), key.size());
  ark_.Append(" ", 1);
  if (scp_ != nullptr) {
    const std::string line = StrCat(key, " ", ark_path_, ":", ark_.bytes(), "\n");
    scp_->Append(line.data(), line.size());
  }
  ark_.Append("\0B", 2);
}

namespace {
void AppendSizedInt(int32_t value, FileWriter* out) {
  out->Append("\4", 1);
  out->Append(&value, sizeof(value));
}
}  // namespace

void ArkWriter::Write(const std::string& key, const Matrix& value) {
  Write(key, value.data.data(), value.rows, value.cols);
}

void ArkWriter::Write(const std::string& key, const float* data, int32_t rows, int32_t cols) {
  StartValue(key);
  ark_.Append("FM ", 3);
  AppendSizedInt(rows, &ark_);
  AppendSizedInt(cols, &ark_);
  ark_.Append(data, sizeof(float) * static_cast<size_t>(rows) * cols);
}

void ArkWriter::Write(const std::string& key, const std::vector<int32_t>& value) {
  StartValue(key);
  AppendSizedInt(static_cast<int32_t>(value.size()), &ark_);
  for (int32_t v : value) AppendSizedInt(v, &ark_);
}

void ArkWriter::Finish() {
  ark_.Finish();
  if (scp_ != nullptr) scp_->Finish();
}

void ForEachIntVector(const std::string& path, bool allow_pipes,
                      const std::function<void(const ScpEntry&, std::vector<int32_t>)>& visit,
                      const std::function<void(const std::string&, const std::string&)>& problem) {
  if (EndsWith(path, ".scp")) {
    for (const ScpEntry& entry : ReadScp(path, allow_pipes)) {
      std::vector<int32_t> value;
      try {
        value = ReadIntVector(entry);
      } catch (const Error& e) {
        problem(entry.key, e.message());
        continue;
      }
      visit(entry, std::move(value));
    }
    return;
  }
  ArkReader ark(path);
  ScpEntry entry;
  std::vector<int32_t> value;
  bool broken = false;  // the last value
  for (;;) {
    entry.key.clear();
    try {
      if (broken && !ark.SkipLine()) return;
      if (!ark.NextKey()) return;
      entry.key = ark.key();
      entry.offset = ark.offset();
      if (ark.seekable()) entry.path = path;
      value = ark.ReadIntVector();
      broken = false;
    } catch (const Error& e) {
      problem(entry.key, e.message());
      if (entry.key.empty()) return;  // where the next one starts is not known
      broken = true;
      continue;
    }
    visit(entry, std::move(value));
  }
}

std::unordered_map<std::string, std::vector<int32_t>> ReadAlignments(const std::string& path,
                                                                     bool allow_pipes) {
  std::unordered_map<std::string, std::vector<int32_t>> all;
  ForEachIntVector(
      path, allow_pipes,
      [&](const ScpEntry& entry, std::vector<int32_t> value) {
        if (!all.emplace(entry.key, std::move(value)).second) {
          throw Fail(ExitCode::kBadData, path, ": utterance \"", entry.key, "\": comes twice");
        }
      },
      [](const std::string&, const std::string& what) { throw Error(ExitCode::kBadData, what); });
  return all;
}

}  // namespace mariana
