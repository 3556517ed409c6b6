#include "common/train/metrics.h"

#include <glog/logging.h>

#include <cerrno>
#include <chrono>
#include <cmath>
#include <cstring>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <optional>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

using Json = nlohmann::ordered_json;

constexpr const char* kFixedKeys[] = {"step", "epoch", "samples", "seconds"};

bool IsFixedKey(const std::string& key) {
  for (const char* fixed : kFixedKeys) {
    if (key == fixed) return true;
  }
  return false;
}

double WallTime() {
  const auto now = std::chrono::system_clock::now().time_since_epoch();
  return std::chrono::duration<double>(now).count();
}

std::string PrintRow(const MetricsRow& row) {
  Json line = {
      {"step", row.step}, {"epoch", row.epoch}, {"samples", row.samples}, {"seconds", row.seconds}};
  for (const auto& [name, value] : row.values) {
    CHECK(!IsFixedKey(name)) << name;
    line[name] = value;  // dumped as null when it is not finite
  }
  return line.dump() + "\n";
}

std::optional<MetricsRow> ParseRow(const std::string& line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  for (const char* key : kFixedKeys) {
    if (!json.contains(key) || !json[key].is_number()) return std::nullopt;
  }
  MetricsRow row{json["step"], json["epoch"], json["samples"], json["seconds"], {}};
  for (const auto& [name, value] : json.items()) {
    if (IsFixedKey(name)) continue;
    row.values.emplace_back(name, value.is_number() ? value.get<double>() : std::nan(""));
  }
  return row;
}

// Calls `line` with each whole line of the file, newline included; a missing file has none.
template <class Function>
void ForEachLine(const std::string& path, const Function& line) {
  if (!std::filesystem::exists(path)) return;
  const std::string contents = ReadFile(path);
  for (size_t begin = 0, end; (end = contents.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    line(contents.substr(begin, end + 1 - begin));
  }
}

void CutBack(const std::string& path, int64_t last_step) {
  std::string kept;
  if (last_step > 0) {
    ForEachLine(path, [&](const std::string& line) {
      const auto row = ParseRow(line);
      if (row && row->step <= last_step) kept += line;
    });
  }
  WriteFileAtomic(path, kept);
}

}  // namespace

MetricsLog::MetricsLog(const RunDirectory& run, int64_t last_step) : path_(run.metrics_path()) {
  CutBack(path_, last_step);
  events_ =
      std::make_unique<EventsWriter>(run.path(), WallTime(), last_step > 0 ? last_step + 1 : 0);
  file_ = std::fopen(path_.c_str(), "abe");
  if (file_ == nullptr) {
    throw Fail(ExitCode::kCannotCreate, "cannot open ", path_, ": ", std::strerror(errno));
  }
}

MetricsLog::~MetricsLog() {
  if (file_ != nullptr) std::fclose(file_);
}

void MetricsLog::Write(const MetricsRow& row) {
  const std::string line = PrintRow(row);
  if (std::fwrite(line.data(), 1, line.size(), file_) != line.size() || std::fflush(file_) != 0) {
    throw Fail(ExitCode::kIo, "cannot write ", path_, ": ", std::strerror(errno));
  }
  events_->Write(WallTime(), row.step, row.values);
}

std::vector<MetricsRow> ReadMetrics(const std::string& path) {
  std::vector<MetricsRow> rows;
  ForEachLine(path, [&](const std::string& line) {
    if (auto row = ParseRow(line)) rows.push_back(std::move(*row));
  });
  return rows;
}

}  // namespace mariana
