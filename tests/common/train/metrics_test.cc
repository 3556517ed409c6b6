#include "common/train/metrics.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <nlohmann/json.hpp>
#include <stdexcept>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/summary.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

MetricsRow Row(int64_t step) {
  const auto s = static_cast<double>(step);
  return {step, s / 100, step * 256, s * 0.5, {{"train/loss", 1 / s}, {"test/accuracy", 0.5}}};
}

std::vector<int64_t> Steps(const RunDirectory& run) {
  std::vector<int64_t> steps;
  for (const MetricsRow& row : ReadMetrics(run.metrics_path())) steps.push_back(row.step);
  return steps;
}

std::vector<std::string> EventFiles(const RunDirectory& run) {
  std::vector<std::string> files;
  for (const auto& entry : fs::directory_iterator(run.path())) {
    const std::string name = entry.path().filename().string();
    if (name.rfind("events.out.tfevents.", 0) == 0) files.push_back(entry.path().string());
  }
  return files;
}

TEST_CASE("A row is one line of JSON, keys in order") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  MetricsLog log(run, 0);
  log.Write({7, 0.25, 1792, 1.5, {{"b/loss", 0.1}, {"a", std::nan("")}}});
  CHECK(ReadFile(run.metrics_path()) ==
        "{\"step\":7,\"epoch\":0.25,\"samples\":1792,\"seconds\":1.5,\"b/loss\":0.1,\"a\":null}\n");
  const std::vector<MetricsRow> rows = ReadMetrics(run.metrics_path());
  REQUIRE(rows.size() == 1);
  CHECK(rows[0].samples == 1792);
  REQUIRE(rows[0].values.size() == 2);
  CHECK(rows[0].values[0] == std::pair<std::string, double>("b/loss", 0.1));
  CHECK(std::isnan(rows[0].values[1].second));
  CHECK(ReadMetrics(scratch / "absent").empty());
}

TEST_CASE("On resume the rows after the checkpoint, and a torn one, are cut off") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  {
    MetricsLog log(run, 0);
    for (int64_t step : {10, 20, 30, 40}) log.Write(Row(step));
  }
  WriteFileAtomic(run.metrics_path(), ReadFile(run.metrics_path()) + "{\"step\":15,\"epo");
  CHECK(Steps(run) == std::vector<int64_t>{10, 20, 30, 40});
  {
    MetricsLog log(run, 20);
    CHECK(Steps(run) == std::vector<int64_t>{10, 20});
    log.Write(Row(25));
  }
  CHECK(Steps(run) == std::vector<int64_t>{10, 20, 25});
  CHECK(EventFiles(run).size() == 2);
  MetricsLog log(run, 0);  // no checkpoint: anew
  CHECK(Steps(run).empty());
}

// Checked once against tensorboard's own reader.
TEST_CASE("TensorBoard records have the bytes of TFRecord and Event") {
  CHECK(TfRecord("abc") ==
        std::string("\x03\0\0\0\0\0\0\0", 8) + "\xb0\x99\x49\x0e" + "abc" + "\x6e\x57\xf1\x21");
  const std::string wall("\x09\0\0\0\0\0\0\xf8\x3f", 9);  // 1.5
  CHECK(FileVersionEvent(1.5) == wall + std::string("\x10\0\x1a\x0d", 4) + "brain.Event:2");
  CHECK(SessionStartEvent(1.5, 300) == wall + "\x10\xac\x02" + "\x3a\x02\x08\x01");
  CHECK(ScalarsEvent(1.5, 1, {{"loss", 0.5}, {"lr", 2}}) ==
        wall + "\x10\x01" + "\x2a\x18" + "\x0a\x0b\x0a\x04loss\x15" + std::string("\0\0\0\x3f", 4) +
            "\x0a\x09\x0a\x02lr\x15" + std::string("\0\0\0\x40", 4));
}

TEST_CASE("An events file says from which step on it replaces earlier ones") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  { MetricsLog log(run, 20); }
  const std::vector<std::string> files = EventFiles(run);
  REQUIRE(files.size() == 1);
  const std::string contents = ReadFile(files[0]);
  const size_t first = 8 + 4 + FileVersionEvent(0).size() + 4;
  const std::string start = contents.substr(first + 12, contents.size() - first - 16);
  CHECK(start.substr(9) == SessionStartEvent(0, 21).substr(9));  // all but the time
}

nlohmann::json ReadSummary(const std::string& path) {
  return nlohmann::json::parse(ReadFile(path));
}

TEST_CASE("summary.json has every field that scripts count on") {
  const ScratchFolder scratch;
  Summary s;
  s.program = "mariana_dnn";
  s.verb = "train";
  s.config_hash = "0123456789abcdef";
  s.steps = 10;
  s.stage_seconds = {{"forward", 1.5}};
  s.final = {{"loss", 1.1}};
  s.best = {{"loss", 1.0}};
  s.best_step = 8;
  s.versions = {{"onednn", "3.5"}};
  WriteSummary(scratch / "summary.json", s);
  const nlohmann::json json = ReadSummary(scratch / "summary.json");
  for (const char* key :
       {"program", "verb", "status", "exit_code", "config_hash", "version", "steps", "samples",
        "samples_per_second", "wall_seconds", "peak_memory_bytes", "stage_seconds", "final", "best",
        "machine", "versions"}) {
    INFO(key);
    CHECK(json.contains(key));
  }
  CHECK(json["status"] == "done");
  CHECK(json["exit_code"] == 0);
  CHECK(json["best"] == nlohmann::json({{"loss", 1.0}, {"step", 8}}));
  CHECK(json["peak_memory_bytes"] > 1 << 20);
  CHECK(json["versions"]["onednn"] == "3.5");
  CHECK_FALSE(json.contains("error"));
}

TEST_CASE("A run that fails leaves a summary with its error, and the error goes on") {
  const ScratchFolder scratch;
  const std::string path = scratch / "summary.json";
  const std::unique_ptr<Clock> clock = Clock::MakeVirtual();
  const ClockThread me(clock.get(), "test");
  Summary s;
  CHECK_THROWS_AS(RunWithSummary(path, &s, clock.get(),
                                 [&] {
                                   s.steps = 3;
                                   clock->SleepFor(2'500'000'000);
                                   throw Fail(ExitCode::kDiverged, "step 3: loss is NaN");
                                 }),
                  Error);
  CHECK(ReadSummary(path)["status"] == "diverged");
  CHECK(ReadSummary(path)["exit_code"] == 76);
  CHECK(ReadSummary(path)["error"] == "step 3: loss is NaN");
  CHECK(ReadSummary(path)["steps"] == 3);
  CHECK(ReadSummary(path)["wall_seconds"] == 2.5);
  CHECK_THROWS_AS(
      RunWithSummary(path, &s, clock.get(), [] { throw std::runtime_error("unforeseen"); }),
      std::runtime_error);
  CHECK(ReadSummary(path)["status"] == "failed");
  CHECK(ReadSummary(path)["exit_code"] == 70);
  Summary stopped;
  RunWithSummary(path, &stopped, clock.get(), [&] { stopped.exit_code = ExitCode::kStopped; });
  CHECK(ReadSummary(path)["status"] == "stopped");
}

}  // namespace
}  // namespace mariana
