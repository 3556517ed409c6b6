// The table of a job's processes, one line each, from two answers of JobTrace::Status a moment
// apart.
//
// Free functions; pure.
#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

namespace mariana {

// Adds to each process what it did per second since `before` (an earlier status of the same job, or
// null): "samples_per_second", "keys_per_second", "bytes_per_second", "shares" (stage -> share of
// the time) and, of the steps since, "staleness_median" and "staleness_p99", at most so many.
void AddRates(const nlohmann::json& before, nlohmann::json* now);

struct TableStyle {
  int columns = 100;
  bool colour = false;
  int lines = 1 << 20;  // at most
};
// `status`: with rates. Lines without their ends, none wider than the columns.
std::vector<std::string> RenderStatus(const nlohmann::json& status, const TableStyle& style);

}  // namespace mariana
