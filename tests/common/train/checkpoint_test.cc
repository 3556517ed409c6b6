#include "common/train/checkpoint.h"

#include <sys/mount.h>
#include <sys/resource.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <fstream>

#include "common/base/error.h"
#include "common/base/files.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

Checkpoint MakeCheckpoint(int64_t step, float value, int64_t elements = 64) {
  const std::vector<float> values(static_cast<size_t>(elements), value);
  Checkpoint c;
  c.step = step;
  c.model = {HostTensor::F32("hidden.weight", Shape({elements}), values.data())};
  c.model_metadata = {{"net", "layers: []"}};
  c.optimizer = {HostTensor::F32("momentum.hidden.weight", Shape({elements}), values.data())};
  c.state = {{"samples", step * 256}, {"learning_rate", 0.1 * value}};
  return c;
}

// The value it was made with; checks that all its parts are of one piece.
float ValueOf(const Checkpoint& c) {
  REQUIRE(c.model.size() == 1);
  const float value = c.model[0].f32()[0];
  const Checkpoint expected = MakeCheckpoint(c.step, value, c.model[0].shape.elements());
  CHECK(c.model[0].bytes == expected.model[0].bytes);
  CHECK(c.model_metadata == expected.model_metadata);
  CHECK(c.optimizer[0].bytes == expected.optimizer[0].bytes);
  CHECK(c.optimizer[0].name == "momentum.hidden.weight");
  CHECK(c.state == expected.state);
  return value;
}

Checkpoint Newest(const RunDirectory& run, std::string* line) {
  const std::optional<Checkpoint> checkpoint = LoadNewestCheckpoint(run, line);
  REQUIRE(checkpoint);
  return *checkpoint;
}

std::vector<std::string> HiddenNames(const RunDirectory& run) {
  std::vector<std::string> hidden;
  for (const auto& entry : fs::directory_iterator(run.checkpoints_path())) {
    const std::string name = entry.path().filename().string();
    if (name[0] == '.') hidden.push_back(name);
  }
  return hidden;
}

void FlipByte(const std::string& path, int64_t at) {
  std::string contents = ReadFile(path);
  contents[static_cast<size_t>(at)] ^= 1;
  WriteFileAtomic(path, contents);
}

TEST_CASE("A run directory is refused without --resume once it holds a run") {
  const ScratchFolder scratch;
  const std::string path = scratch / "runs/job";
  {
    RunDirectory run(path + "/", false);
    CHECK(run.path() == path);
    CHECK_FALSE(run.resumed());
    CHECK(fs::is_directory(run.log_path()));
    run.WriteConfig("name: job\n");
  }
  CHECK(RunDirectory::HoldsRun(path));
  CHECK_THROWS_WITH(RunDirectory(path, false), Catch::Contains("add --resume"));
  RunDirectory run(path, true);
  CHECK(run.resumed());
  CHECK(run.ReadConfig() == "name: job\n");
  CHECK_FALSE(run.finished());
  WriteFileAtomic(run.summary_path(), R"({"status": "stopped"})");
  CHECK_FALSE(run.finished());
  WriteFileAtomic(run.summary_path(), R"({"status": "done"})");
  CHECK(run.finished());
  WriteFileAtomic(run.summary_path(), R"({"status": )");
  CHECK_FALSE(run.finished());
}

TEST_CASE("--resume without a run starts one, and only one process holds a run") {
  const ScratchFolder scratch;
  std::string line;
  auto run = std::make_unique<RunDirectory>(scratch / "job", true);
  CHECK_FALSE(run->resumed());
  CHECK_FALSE(LoadNewestCheckpoint(*run, &line));
  CHECK_THAT(line, Catch::EndsWith("has no checkpoint yet: starting"));
  try {
    RunDirectory second(scratch / "job", true);
    FAIL("a second holder");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kCannotCreate);
    CHECK_THAT(e.message(), Catch::Contains(StrCat("in use by process ", getpid(), " on ")));
  }
  run.reset();
  CHECK_NOTHROW(RunDirectory(scratch / "job", true));
  WriteFileAtomic(scratch / "file", "");
  CHECK_THROWS_AS(RunDirectory(scratch / "file/job", false), Error);
}

TEST_CASE("Checkpoint names and steps") {
  CHECK(CheckpointName(1200) == "step-00001200");
  CHECK(CheckpointName(123456789012) == "step-123456789012");
  CHECK(ParseCheckpointName("step-123456789012") == 123456789012);
  for (const char* name : {"step-1200", "step--0001200", "step-00001200x", ".new-step-00001200",
                           "step-99999999999999999999999"}) {
    CHECK_FALSE(ParseCheckpointName(name));
  }
}

TEST_CASE("Saves keep the newest, the pinned and the best; links follow") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  SaveOptions options;
  options.keep_last = 2;
  for (int step = 100; step <= 600; step += 100) {
    options.best = step == 200;
    options.pinned = {300};
    SaveCheckpoint(run, MakeCheckpoint(step, static_cast<float>(step)), options);
    CHECK(run.LinkedStep("latest") == step);
  }
  CHECK(run.CheckpointSteps() == std::vector<int64_t>{200, 300, 500, 600});
  CHECK(run.LinkedStep("best") == 200);
  CHECK(fs::exists(run.path() + "/best/manifest.json"));
  CHECK(ValueOf(LoadCheckpoint(run, 300)) == 300);

  SECTION("a checkpoint of the same step is replaced") {
    SaveCheckpoint(run, MakeCheckpoint(600, 7), options);
    CHECK(ValueOf(LoadCheckpoint(run, 600)) == 7);
    CHECK(HiddenNames(run).empty());
  }
  SECTION("a save removes the future that it leaves, but not the best") {
    options.pinned.clear();
    SaveCheckpoint(run, MakeCheckpoint(150, 1), options);
    CHECK(run.CheckpointSteps() == std::vector<int64_t>{150, 200});
  }
}

TEST_CASE("The newest checkpoint that verifies is taken, and said") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  for (int step : {100, 200, 300}) SaveCheckpoint(run, MakeCheckpoint(step, 1.0f * step));
  const std::string newest = run.checkpoint_path(300);
  std::string line;
  CHECK(ValueOf(Newest(run, &line)) == 300);
  CHECK(line == "going on from " + newest);

  std::string why;
  SECTION("a flipped bit") {
    FlipByte(newest + "/optimizer.safetensors", 200);
    why = "optimizer.safetensors: its checksum differs";
  }
  SECTION("a file cut short") {
    fs::resize_file(newest + "/model.safetensors", 300);
    why = "model.safetensors: has 300 bytes, the manifest says";
  }
  SECTION("a missing file") {
    fs::remove(newest + "/state.json");
    why = "state.json: No such file";
  }
  SECTION("no manifest") {
    fs::remove(newest + "/manifest.json");
    why = "manifest.json: is missing";
  }
  SECTION("a manifest that is no JSON") {
    WriteFileAtomic(newest + "/manifest.json", "{");
    why = "manifest.json: is not JSON";
  }
  SECTION("a manifest of another form") {
    WriteFileAtomic(newest + "/manifest.json", "[1]");
    why = "manifest.json: is not of the form";
  }
  SECTION("a manifest of another step") {
    fs::remove_all(newest);
    fs::copy(run.checkpoint_path(100), newest);
    why = "manifest.json: is of step 100";
  }
  CHECK(ValueOf(Newest(run, &line)) == 200);
  CHECK_THAT(line, Catch::StartsWith("going on from " + run.checkpoint_path(200) +
                                     " (passed over " + newest) &&
                       Catch::Contains(why));
  CHECK_THROWS_AS(LoadCheckpoint(run, 300), Error);

  for (int step : {100, 200}) fs::remove(run.checkpoint_path(step) + "/manifest.json");
  try {
    LoadNewestCheckpoint(run, &line);
    FAIL("nothing is whole");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kBadData);
    CHECK_THAT(e.message(), Catch::Contains("none of its 3 checkpoints is whole"));
  }
}

// A kill between any two file operations leaves what is on disk at that moment: a copy of the
// folder then stands for the machine after the kill.
TEST_CASE("A save killed after any file operation leaves a run that goes on") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  SaveOptions options;
  options.keep_last = 1;
  const int64_t second_step = GENERATE(200, 100);  // another step, or the same one replaced
  SaveCheckpoint(run, MakeCheckpoint(100, 1), options);
  std::vector<std::string> operations;
  options.best = true;
  options.after_operation = [&](const std::string& operation) {
    const std::string copy = scratch / StrCat("killed-", operations.size());
    fs::copy(run.path(), copy, fs::copy_options::recursive | fs::copy_options::copy_symlinks);
    operations.push_back(operation);
  };
  SaveCheckpoint(run, MakeCheckpoint(second_step, 2), options);
  CHECK(operations.size() >= 12);

  bool second_seen = false;
  for (size_t i = 0; i < operations.size(); ++i) {
    INFO("killed after: " << operations[i]);
    RunDirectory killed(scratch / StrCat("killed-", i), true);
    std::string line;
    const float value = ValueOf(Newest(killed, &line));
    CHECK_THAT(line, !Catch::Contains("passed over"));
    CHECK((value == 2 || (value == 1 && !second_seen)));
    second_seen = value == 2;
    CHECK(HiddenNames(killed).empty());
    CHECK(fs::exists(killed.path() + "/latest/manifest.json"));
    SaveCheckpoint(killed, MakeCheckpoint(300, 3));  // and it goes on
    CHECK(ValueOf(Newest(killed, &line)) == 3);
    CHECK(killed.LinkedStep("latest") == 300);
  }
  CHECK(second_seen);
  CHECK(run.CheckpointSteps() == std::vector<int64_t>{second_step});
}

TEST_CASE("A save that fails after any file operation leaves the earlier ones and no rubbish") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  SaveCheckpoint(run, MakeCheckpoint(100, 1));
  const int64_t step = GENERATE(200, 100);
  bool failed = true;
  for (int fail_at = 0; failed; ++fail_at) {
    int operations = 0;
    bool renamed = false;
    SaveOptions options;
    options.after_operation = [&](const std::string& operation) {
      renamed = renamed || operation == "rename";
      if (operations++ == fail_at) throw Fail(ExitCode::kIo, "disk full");
    };
    failed = false;
    try {
      SaveCheckpoint(run, MakeCheckpoint(step, 2), options);
    } catch (const Error&) {
      failed = true;
    }
    INFO("failed at " << fail_at);
    std::string line;
    CHECK(ValueOf(LoadCheckpoint(run, 100)) == (renamed && step == 100 ? 2 : 1));
    CHECK(ValueOf(Newest(run, &line)) == (renamed ? 2 : 1));
    CHECK(fs::exists(run.path() + "/latest/manifest.json"));
    for (const std::string& hidden : HiddenNames(run)) CHECK(hidden.substr(0, 5) == ".old-");
    if (renamed) {  // back to where we began
      fs::remove_all(run.checkpoint_path(step));
      SaveCheckpoint(run, MakeCheckpoint(100, 1));
    }
  }
}

TEST_CASE("A file that cannot grow any more fails the save with 74") {
  const ScratchFolder scratch;
  RunDirectory run(scratch / "job", false);
  SaveCheckpoint(run, MakeCheckpoint(100, 1));
  rlimit before = {};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto old_handler = std::signal(SIGXFSZ, SIG_IGN);
  for (const rlim_t limit : {0, 1, 100, 500, 100'000, 400'000}) {
    const rlimit small = {limit, before.rlim_max};
    setrlimit(RLIMIT_FSIZE, &small);
    ExitCode code = ExitCode::kOk;
    try {
      SaveCheckpoint(run, MakeCheckpoint(200, 2, 100'000));
    } catch (const Error& e) {
      code = e.code();
    }
    setrlimit(RLIMIT_FSIZE, &before);
    CHECK(code == ExitCode::kIo);
    CHECK(HiddenNames(run).empty());
    CHECK(run.LinkedStep("latest") == 100);
    std::string line;
    CHECK(ValueOf(Newest(run, &line)) == 1);
  }
  std::signal(SIGXFSZ, old_handler);
}

TEST_CASE("A full disk fails the save before it, or in the middle of it, with 74") {
  const ScratchFolder scratch;
  fs::create_directory(scratch / "disk");
  if (mount("tmpfs", (scratch / "disk").c_str(), "tmpfs", 0, "size=2m") != 0) {
    WARN("SKIPPED: a small tmpfs cannot be mounted here");
    return;
  }
  {
    RunDirectory run(scratch / "disk/job", false);
    SaveCheckpoint(run, MakeCheckpoint(100, 1, 10'000));
    std::string line;
    CHECK_THROWS_WITH(SaveCheckpoint(run, MakeCheckpoint(200, 2, 1'000'000)),
                      Catch::Contains("disk full: it needs"));
    for (const char* when : {"create folder", "create model.safetensors", "write model.safetensors",
                             "write optimizer.safetensors", "write state.json"}) {
      const std::string filler = scratch / "disk/filler";
      SaveOptions options;
      options.after_operation = [&](const std::string& operation) {
        if (operation == when) std::ofstream(filler) << std::string(4 << 20, 'x');
      };
      CHECK_THROWS_WITH(SaveCheckpoint(run, MakeCheckpoint(200, 2, 10'000), options),
                        Catch::Contains("disk full"));
      fs::remove(filler);
      CHECK(HiddenNames(run).empty());
      CHECK(ValueOf(Newest(run, &line)) == 1);
    }
    SaveCheckpoint(run, MakeCheckpoint(200, 2, 10'000));
    CHECK(ValueOf(Newest(run, &line)) == 2);
  }
  umount((scratch / "disk").c_str());
}

TEST_CASE("A model is found in a run, a checkpoint folder or a file") {
  const ScratchFolder scratch;
  const std::string path = scratch / "job";
  {
    RunDirectory run(path, false);
    SaveOptions best;
    best.best = true;
    SaveCheckpoint(run, MakeCheckpoint(100, 1), best);
    SaveCheckpoint(run, MakeCheckpoint(200, 2));
  }
  const auto value = [](const std::string& p) { return LoadModel(p).tensors.at(0).f32()[0]; };
  CHECK(value(path) == 1);
  CHECK(value(path + "/latest") == 2);
  CHECK(value(path + "/checkpoints/step-00000200/model.safetensors") == 2);
  CHECK(LoadModel(path).metadata.at("net") == "layers: []");
  fs::remove(path + "/best");
  CHECK(value(path) == 2);
  fs::remove(path + "/latest");
  CHECK(value(path) == 2);
  FlipByte(path + "/checkpoints/step-00000200/model.safetensors", 250);
  CHECK(value(path) == 1);
  CHECK_THROWS_WITH(LoadModel(path + "/checkpoints/step-00000200"), Catch::Contains("checksum"));
  CHECK_THROWS_WITH(LoadModel(scratch.path()), Catch::Contains("not a run directory"));
  CHECK_THROWS_WITH(LoadModel(scratch / "absent"), Catch::Contains("no such model"));
}

}  // namespace
}  // namespace mariana
