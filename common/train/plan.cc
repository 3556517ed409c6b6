#include "common/train/plan.h"

#include <algorithm>
#include <cstdio>
#include <map>
#include <nlohmann/json.hpp>

#include "common/base/error.h"

namespace mariana {
namespace {

// 1, 2, 4, ..., all.
std::vector<int64_t> DeviceCounts(const Machine& machine) {
  std::vector<int64_t> counts;
  for (int64_t n = 1; n < machine.total_devices(); n *= 2) counts.push_back(n);
  counts.push_back(machine.total_devices());
  return counts;
}

std::vector<Topology> TopologiesOf(const Machine& machine, int devices) {
  if (devices <= 2) return {Topology::kLinear};
  if (devices <= machine.devices) return {Topology::kLinear, Topology::kRing};
  return {Topology::kLinear, Topology::kRing, Topology::kTwoLevel};
}

std::vector<Wire> WiresOf(int devices) {
  if (devices == 1) return {Wire::kF32};
  return {Wire::kF32, Wire::kBf16};
}

// Devices that do not exchange, by their batch. Empty where it does not fit.
class Alone {
 public:
  explicit Alone(const EmulationOptions& options) : options_(options) {
    options_.devices = 1;
    options_.workers.split = {};
  }
  std::optional<Emulation> Run(int64_t batch_size) {
    const auto known = known_.find(batch_size);
    if (known != known_.end()) return known->second;
    options_.workers.batch_size = batch_size;
    std::optional<Emulation> result;
    try {
      result = Emulate(options_);
    } catch (const Error& e) {
      if (e.code() != ExitCode::kIo) throw;
    }
    return known_[batch_size] = result;
  }

 private:
  EmulationOptions options_;
  std::map<int64_t, std::optional<Emulation>> known_;
};

void Measure(const Machine& machine, EmulationOptions options, Alone* alone, PlanRow* row) {
  options.devices = row->devices;
  options.workers.split.workers = row->split;
  options.workers.batch_size = row->batch_size;
  options.workers.topology = row->topology;
  options.workers.collect_wire = options.workers.distribute_wire = row->wire;
  Emulation e;
  try {
    e = Emulate(options);
  } catch (const Error& error) {
    if (error.code() != ExitCode::kIo) throw;
    row->does_not_fit = error.message();
    return;
  }
  row->samples_per_second = e.samples_per_second();
  row->step_seconds = e.step_seconds;
  row->exposed_seconds = e.exposed_seconds();
  row->memory_bytes = e.memory_bytes;
  const int64_t share = (row->batch_size + row->devices - 1) / row->devices;
  if (const auto one = alone->Run(share)) {
    row->efficiency = e.samples_per_second() / (row->devices * one->samples_per_second());
  }
  const double price = machine.PriceOf(row->devices), watts = machine.WattsOf(row->devices);
  if (price > 0) row->per_dollar = row->samples_per_second / price;
  if (watts > 0) row->per_watt = row->samples_per_second / watts;
}

// Everything to try with so many devices and workers to a model.
std::vector<PlanRow> Choices(const Machine& machine, int devices, int split,
                             const std::vector<int64_t>& batches) {
  std::vector<PlanRow> rows;
  PlanRow row;
  row.devices = devices;
  row.split = split;
  for (const int64_t size : batches) {
    row.batch_size = size;
    for (const Topology topology : TopologiesOf(machine, devices / split)) {
      row.topology = topology;
      for (const Wire wire : WiresOf(devices / split)) {
        row.wire = wire;
        rows.push_back(row);
      }
    }
  }
  return rows;
}

int Best(const std::vector<PlanRow>& rows, double PlanRow::*figure) {
  int best = -1;
  for (size_t i = 0; i < rows.size(); ++i) {
    const double least = best < 0 ? 0 : rows[static_cast<size_t>(best)].*figure;
    if (rows[i].*figure > least) best = static_cast<int>(i);
  }
  return best;
}

std::string Gigabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.2f", static_cast<double>(bytes) * 1e-9);
  return text;
}

}  // namespace

void PlanSpec::Describe(Fields* f) {
  f->IntList("devices", &devices, "Numbers of devices to try; default: 1, 2, 4, ..., all.",
             Rule().Min(1));
  f->IntList("splits", &splits,
             "Numbers of workers that share a model to try, of those that divide the devices "
             "(mariana_cnn); default: 1.",
             Rule().Min(1).Max(64));
  f->IntList("batch_sizes", &batch_sizes,
             "Samples a step over all devices to try; default: train.batch_size, twice and four "
             "times that.",
             Rule().Min(1));
  f->IntList("input", &input,
             "Shape of one sample, for a plan (or an emulated run) without the data.",
             Rule().Min(1));
  f->Int("outputs", &outputs, "Outputs of the net, likewise.", Rule().Min(0));
  f->Require(input.empty() == (outputs == 0), "outputs", "and `input` go together");
}

PlanTable Plan(const Machine& machine, const PlanSpec& spec, const DataParallelOptions& workers,
               const std::string& unit, const std::function<void(const PlanRow&)>& progress) {
  PlanTable table;
  table.machine = machine.name;
  table.unit = unit;
  EmulationOptions options;
  options.machine = &machine;
  options.workers = workers;
  options.warm_up = 1;
  options.steps = 2;
  Alone alone(options);
  const int64_t batch = workers.batch_size;
  const auto batches = spec.batch_sizes.empty() ? std::vector<int64_t>{batch, 2 * batch, 4 * batch}
                                                : spec.batch_sizes;
  for (const int64_t n : spec.devices.empty() ? DeviceCounts(machine) : spec.devices) {
    for (const int64_t split : spec.splits) {
      if (n % split != 0) continue;
      for (PlanRow row : Choices(machine, static_cast<int>(n), static_cast<int>(split), batches)) {
        Measure(machine, options, &alone, &row);
        progress(row);
        table.rows.push_back(row);
      }
    }
  }
  table.fastest = Best(table.rows, &PlanRow::samples_per_second);
  table.most_per_dollar = Best(table.rows, &PlanRow::per_dollar);
  table.most_per_watt = Best(table.rows, &PlanRow::per_watt);
  return table;
}

std::string PlanHeading(const PlanTable& table) {
  char text[200];
  std::snprintf(text, sizeof text, "%7s %5s %9s %-9s %-4s %12s %9s %9s %6s %8s %10s %9s\n",
                "devices", "split", "batch", "topology", "wire", (table.unit + "/s").c_str(),
                "ms/step", "exposed", "eff.", "GB", "per $1000", "per kW");
  return text;
}

std::string FormatPlanRow(const PlanRow& r) {
  char text[200];
  const char* topology = r.devices == r.split ? "-" : Name(r.topology);
  const char* wire = r.devices == r.split ? "-" : Name(r.wire);
  int n = std::snprintf(text, sizeof text, "%7d %5d %9lld %-9s %-4s ", r.devices, r.split,
                        static_cast<long long>(r.batch_size), topology, wire);
  if (!r.does_not_fit.empty()) return std::string(text) + "does not fit: " + r.does_not_fit + "\n";
  const std::string begin(text, static_cast<size_t>(n));
  n = std::snprintf(text, sizeof text, "%12.0f %9.2f %9.2f ", r.samples_per_second,
                    r.step_seconds * 1e3, r.exposed_seconds * 1e3);
  const std::string middle(text, static_cast<size_t>(n));
  const auto optional = [&](const char* format, const char* none, double value, double scale) {
    if (value <= 0) return std::string(none);
    std::snprintf(text, sizeof text, format, value * scale);
    return std::string(text);
  };
  return begin + middle + optional("%5.1f%%", "     -", r.efficiency, 100) + " " +
         optional("%8.2f", "       -", static_cast<double>(r.memory_bytes), 1e-9) + " " +
         optional("%10.1f", "         -", r.per_dollar, 1000) + " " +
         optional("%9.1f", "        -", r.per_watt, 1000) + "\n";
}

std::string FormatChoices(const PlanTable& table) {
  std::string text;
  const auto choice = [&](const char* what, int i) {
    if (i < 0) return;
    const PlanRow& r = table.rows[static_cast<size_t>(i)];
    text += StrCat(what, ": parallel.devices=", r.devices, " train.batch_size=", r.batch_size);
    if (r.split > 1) text += StrCat(" parallel.split=", r.split);
    if (r.devices > r.split)
      text += StrCat(", topology ", Name(r.topology), ", wire ", Name(r.wire));
    text += StrCat(": ", static_cast<int64_t>(r.samples_per_second), " ", table.unit, " a second, ",
                   Gigabytes(r.memory_bytes), " GB a device\n");
  };
  choice("best, the fastest", table.fastest);
  choice("most for the money", table.most_per_dollar);
  choice("most for the power", table.most_per_watt);
  if (table.fastest < 0) text += "nothing fits: a smaller batch, or train.accumulate\n";
  return text;
}

std::string PlanJson(const PlanTable& table) {
  nlohmann::ordered_json rows = nlohmann::ordered_json::array();
  for (const PlanRow& r : table.rows) {
    nlohmann::ordered_json row{{"devices", r.devices},       {"split", r.split},
                               {"batch_size", r.batch_size}, {"topology", Name(r.topology)},
                               {"wire", Name(r.wire)},       {"fits", r.does_not_fit.empty()}};
    if (r.does_not_fit.empty()) {
      row["samples_per_second"] = r.samples_per_second;
      row["step_seconds"] = r.step_seconds;
      row["exposed_seconds"] = r.exposed_seconds;
      row["efficiency"] = r.efficiency;
      row["memory_bytes"] = r.memory_bytes;
      row["samples_per_second_per_dollar"] = r.per_dollar;
      row["samples_per_second_per_watt"] = r.per_watt;
    } else {
      row["error"] = r.does_not_fit;
    }
    rows.push_back(std::move(row));
  }
  const nlohmann::ordered_json all{{"machine", table.machine},
                                   {"unit", table.unit},
                                   {"rows", rows},
                                   {"fastest", table.fastest},
                                   {"most_per_dollar", table.most_per_dollar},
                                   {"most_per_watt", table.most_per_watt}};
  return all.dump(1) + "\n";
}

}  // namespace mariana
