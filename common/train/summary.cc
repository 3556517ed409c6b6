#include "common/train/summary.h"

#include <glog/logging.h>
#include <gnu/libc-version.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <new>
#include <nlohmann/json.hpp>
#include <thread>

#include "common/base/files.h"
#include "common/train/version.h"

namespace mariana {
namespace {

using Json = nlohmann::ordered_json;

// "Intel(R) Xeon(R) ...", or the architecture where /proc does not say.
std::string CpuName(const utsname& system) {
  std::ifstream cpuinfo("/proc/cpuinfo");
  for (std::string line; std::getline(cpuinfo, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return system.machine;
}

Json Machine() {
  utsname system = {};
  uname(&system);
  return {{"host", system.nodename},
          {"cpu", CpuName(system)},
          {"cores", std::thread::hardware_concurrency()},
          {"memory_bytes", int64_t{sysconf(_SC_PHYS_PAGES)} * sysconf(_SC_PAGE_SIZE)},
          {"kernel", system.release}};
}

Json Versions(const Summary& summary) {
  Json versions = {
      {"compiler", __VERSION__},
      {"libc", gnu_get_libc_version()},
      {"nlohmann_json", StrCat(NLOHMANN_JSON_VERSION_MAJOR, ".", NLOHMANN_JSON_VERSION_MINOR, ".",
                               NLOHMANN_JSON_VERSION_PATCH)}};
  for (const auto& [library, version] : summary.versions) versions[library] = version;
  return versions;
}

}  // namespace

const char* StatusName(ExitCode code) {
  switch (code) {
    case ExitCode::kOk: return "done";
    case ExitCode::kStopped: return "stopped";
    case ExitCode::kDiverged: return "diverged";
    default: return "failed";
  }
}

// Not getrusage: its ru_maxrss survives exec, so it tells of the parent, too.
int64_t PeakMemoryBytes() {
  std::ifstream status("/proc/self/status");
  for (std::string key; status >> key;) {
    int64_t kilobytes = 0;
    if (key == "VmHWM:" && status >> kilobytes) return kilobytes * 1024;
  }
  return 0;
}

std::string RenderSummary(const Summary& s) {
  Json best = s.best;
  if (!s.best.empty()) best["step"] = s.best_step;
  Json json = {{"program", s.program},
               {"verb", s.verb},
               {"status", StatusName(s.exit_code)},
               {"exit_code", static_cast<int>(s.exit_code)},
               {"config_hash", s.config_hash},
               {"version", kVersion},
               {"steps", s.steps},
               {"samples", s.samples},
               {"samples_per_second", s.samples_per_second},
               {"wall_seconds", s.wall_seconds},
               {"peak_memory_bytes", std::max(s.peak_memory_bytes, PeakMemoryBytes())},
               {"stage_seconds", s.stage_seconds},
               {"final", s.final},
               {"best", best},
               {"machine", Machine()},
               {"versions", Versions(s)}};
  if (!s.error.empty()) json["error"] = s.error;
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

void WriteSummary(const std::string& path, const Summary& summary) {
  WriteFileAtomic(path, RenderSummary(summary));
}

void RunWithSummary(const std::string& path, Summary* summary, Clock* clock,
                    const std::function<void()>& body) {
  const double begin = clock->NowSeconds();
  const auto failed = [&](ExitCode code, const std::string& error) {
    if (summary->keep) return;
    summary->exit_code = code;
    summary->error = error;
    summary->wall_seconds = clock->NowSeconds() - begin;
    try {
      WriteSummary(path, *summary);
    } catch (const Error& e) {  // the first failure is the one to tell
      LOG(WARNING) << e.message();
    }
  };
  try {
    body();
  } catch (const Error& e) {
    failed(e.code(), e.message());
    throw;
  } catch (const std::bad_alloc&) {
    failed(ExitCode::kInternal, "out of memory");
    throw;
  } catch (const std::exception& e) {
    failed(ExitCode::kInternal, e.what());
    throw;
  }
  if (summary->keep) return;
  summary->wall_seconds = clock->NowSeconds() - begin;
  WriteSummary(path, *summary);
}

}  // namespace mariana
