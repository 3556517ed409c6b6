#include "common/train/emulated_run.h"

#include <cstdio>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/exchange_bound.h"

namespace mariana {
namespace {

constexpr char kEmulated[] = "emulated:";

Topology TopologyOf(const Machine& machine, const ParallelSpec& parallel, std::string* why) {
  if (const auto named = NamedTopology(parallel, why)) return *named;
  return FastestTopology(machine, static_cast<int>(parallel.devices), why);
}

std::string EmulationJson(const Emulation& all, const Emulation& one, double bound_seconds,
                          const std::string& topology) {
  nlohmann::ordered_json links = nlohmann::ordered_json::array();
  for (const LinkUse& link : all.links) {
    links.push_back({{"link", link.name}, {"bytes_per_step", link.bytes}, {"share", link.share}});
  }
  const auto figures = [](const Emulation& e) {
    return nlohmann::ordered_json{{"devices", e.devices},
                                  {"batch_size", e.batch_size},
                                  {"samples_per_second", e.samples_per_second()},
                                  {"step_seconds", e.step_seconds},
                                  {"compute_seconds", e.compute_seconds},
                                  {"exposed_seconds", e.exposed_seconds()},
                                  {"memory_bytes", e.memory_bytes}};
  };
  nlohmann::ordered_json json = figures(all);
  json["topology"] = topology;
  json["speedup"] = all.samples_per_second() / one.samples_per_second();
  json["bound_seconds"] = bound_seconds;
  json["bound_speedup"] =
      static_cast<double>(all.batch_size) / bound_seconds / one.samples_per_second();
  json["one_device"] = figures(one);
  json["links"] = links;
  return json.dump(1) + "\n";
}

}  // namespace

bool IsEmulated(const CommandLine& cl) { return cl.device.rfind(kEmulated, 0) == 0; }

int EmulateTraining(const CommandLine& cl, const std::string& run_path,
                    const EffectiveConfig& config, const EmulatedJob& job) {
  const Machine machine = ReadMachine(cl.device.substr(sizeof(kEmulated) - 1));
  CheckDevices(machine, job.parallel.devices);
  std::string why;
  EmulationOptions options;
  options.machine = &machine;
  options.devices = static_cast<int>(job.parallel.devices);
  options.workers = job.workers;
  options.workers.topology = TopologyOf(machine, job.parallel, &why);
  options.trace = true;
  return RunInDirectory(cl, run_path, config, [&](const RunDirectory& run, Summary* summary) {
    run.WriteConfig(config.yaml);
    const Emulation all = Emulate(options);
    EmulationOptions alone = options;
    alone.devices = 1;
    alone.workers.split = {};
    alone.workers.batch_size = (all.batch_size + all.devices - 1) / all.devices;
    alone.trace = false;
    const Emulation one = all.devices == 1 ? all : Emulate(alone);
    const bool bounded =
        all.devices > 1 && options.workers.split.workers == 1 && options.workers.block.steps == 0;
    const double bound = bounded ? StepBound(options, all) : all.step_seconds;
    summary->samples_per_second = all.samples_per_second();
    std::printf("%stopology             %s\n", FormatEmulation(machine, all, one, job.unit).c_str(),
                why.c_str());
    const std::string trace = run.path() + "/trace.json";
    WriteFileAtomic(trace, all.chrome_trace);
    WriteFileAtomic(run.path() + "/emulation.json",
                    EmulationJson(all, one, bound, Name(options.workers.topology)));
    std::printf("every stream and link: %s (chrome://tracing, ui.perfetto.dev)\n", trace.c_str());
    return 0;
  });
}

int RunPlan(const CommandLine& cl, const EmulatedJob& job) {
  if (cl.machine.empty()) {
    throw Fail(ExitCode::kUsage,
               "plan needs --machine=FILE, a file like those of configs/machines");
  }
  const Machine machine = ReadMachine(cl.machine);
  PlanTable heading;
  heading.unit = job.unit;
  std::printf("%s (emulated)\n%s", machine.name.c_str(), PlanHeading(heading).c_str());
  const PlanTable table = Plan(machine, job.plan, job.workers, job.unit, [](const PlanRow& row) {
    std::fputs(FormatPlanRow(row).c_str(), stdout);
    std::fflush(stdout);
  });
  std::printf("%s", FormatChoices(table).c_str());
  if (!cl.json.empty()) WriteFileAtomic(cl.json, PlanJson(table));
  return 0;
}

}  // namespace mariana
