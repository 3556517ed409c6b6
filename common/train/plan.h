// Plan: what a described machine would give for a job, with so many of its devices, this or that
// batch, topology and wire type: one emulation for each row. What `plan` prints.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/train/emulation.h"

namespace mariana {

// `plan:`
struct PlanSpec {
  std::vector<int64_t> devices, batch_sizes;  // empty: Plan chooses
  std::vector<int64_t> splits{1};
  std::vector<int64_t> input;  // of one sample; empty: the data says
  int64_t outputs = 0;         // 0: the data says
  void Describe(Fields* f);
};

struct PlanRow {
  int devices = 1, split = 1;
  int64_t batch_size = 0;
  Topology topology = Topology::kLinear;
  Wire wire = Wire::kF32;
  std::string does_not_fit;  // why; the rest is 0
  double samples_per_second = 0, step_seconds = 0, exposed_seconds = 0;
  double efficiency = 0;  // of what as many devices gave that need not exchange
  int64_t memory_bytes = 0;
  double per_dollar = 0, per_watt = 0;  // samples a second; 0: price or power is not known
};

struct PlanTable {
  std::string machine, unit;
  std::vector<PlanRow> rows;
  // Rows; -1 where none fits, or the figure is not known.
  int fastest = -1, most_per_dollar = -1, most_per_watt = -1;
};

// `workers` as for Emulate, its batch size the job's. `progress` is told of each row when it is
// done.
PlanTable Plan(const Machine& machine, const PlanSpec& spec, const DataParallelOptions& workers,
               const std::string& unit, const std::function<void(const PlanRow&)>& progress);

std::string PlanHeading(const PlanTable& table);
std::string FormatPlanRow(const PlanRow& row);
std::string FormatChoices(const PlanTable& table);
std::string PlanJson(const PlanTable& table);

}  // namespace mariana
