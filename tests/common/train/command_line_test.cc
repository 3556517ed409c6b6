#include "common/train/command_line.h"

#include <fcntl.h>
#include <glog/logging.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <stdexcept>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/run_log.h"
#include "common/train/signals.h"
#include "common/train/version.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

ProgramInfo Program(const std::function<int(const CommandLine&)>& run) {
  return {"mariana_test",
          "Tests a command line.",
          {{"train", "train a model", run, true, "", true},
           {"inspect", "look into a file", run, false, "FILE"}}};
}

CommandLine Parse(const std::vector<std::string>& words) {
  return ParseCommandLine(Program(nullptr), words);
}

std::string WhyRefused(const std::vector<std::string>& words) {
  try {
    Parse(words);
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kUsage);
    return e.message();
  }
  return "";
}

struct Ended {
  int code;  // exit code, or 128 + signal
  std::string out, err;
};

// RunProgram in a process of its own, as main would.
Ended Run(std::vector<std::string> words, const std::function<int(const CommandLine&)>& run) {
  const ScratchFolder scratch;
  const pid_t child = fork();
  if (child == 0) {
    dup2(open((scratch / "out").c_str(), O_WRONLY | O_CREAT, 0600), STDOUT_FILENO);
    dup2(open((scratch / "err").c_str(), O_WRONLY | O_CREAT, 0600), STDERR_FILENO);
    words.insert(words.begin(), "mariana_test");
    std::vector<char*> argv;
    for (std::string& word : words) argv.push_back(word.data());
    const int code = RunProgram(Program(run), static_cast<int>(argv.size()), argv.data());
    std::fflush(nullptr);
    _exit(code);
  }
  int status = 0;
  REQUIRE(waitpid(child, &status, 0) == child);
  return {WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status),
          ReadFile(scratch / "out"), ReadFile(scratch / "err")};
}

std::string LastLine(const std::string& text) {
  const size_t end = text.find_last_not_of('\n');
  if (end == std::string::npos) return "";
  const size_t begin = text.rfind('\n', end);
  return text.substr(begin + 1, end - begin);
}

TEST_CASE("A program has the flags that it names beside those of all") {
  CHECK(WhyRefused({"--nodes=2"}).find("unknown flag --nodes") == 0);
  ProgramInfo info = Program(nullptr);
  info.flags = {"nodes", "seconds"};
  const CommandLine line =
      ParseCommandLine(info, {"--config=a.yaml", "--nodes=2", "--seconds", "0.5"});
  CHECK(line.nodes == 2);
  CHECK(line.seconds == 0.5);
  CHECK(Parse({"--config=a.yaml"}).nodes == 1);
}

TEST_CASE("Verb, flags, overrides and arguments are told apart") {
  const CommandLine line = Parse({"--config=a.yaml", "train.epochs=5", "--resume", "--run-dir", "r",
                                  "--device=emulated:box.yaml", "net.layers[0].width=4",
                                  "--progress=none", "--v=2", "-check"});
  CHECK(line.verb == "train");
  CHECK(line.config == "a.yaml");
  CHECK(line.run_dir == "r");
  CHECK(line.device == "emulated:box.yaml");
  CHECK((line.resume && line.check && !line.print_config));
  CHECK(line.progress == ProgressMode::kNone);
  CHECK(line.verbosity == 2);
  CHECK(line.overrides == std::vector<std::string>{"train.epochs=5", "net.layers[0].width=4"});
  CHECK(line.arguments.empty());

  const CommandLine inspect = Parse({"inspect", "a/b=c.ark", "--noresume", "--", "--odd-name"});
  CHECK(inspect.verb == "inspect");
  CHECK(inspect.arguments == std::vector<std::string>{"a/b=c.ark", "--odd-name"});
  CHECK_FALSE(inspect.resume);  // and nothing is left of the line before
}

TEST_CASE("A wrong command line is refused in one line that says what would be right") {
  const std::vector<std::pair<std::vector<std::string>, std::string>> cases = {
      {{}, "train needs --config=FILE"},
      {{"--confg=a"}, "unknown flag --confg; did you mean --config?"},
      {{"--helpfull"}, "unknown flag --helpfull"},
      {{"--logtostderr"}, "unknown flag --logtostderr"},
      {{"trian", "--config=a"}, "unknown verb 'trian'; did you mean train?"},
      {{"--config"}, "--config needs a value"},
      {{"--noconfig", "x"}, "--config needs a value"},
      {{"--config=a", "--resume=perhaps"}, "--resume=perhaps: not a bool"},
      {{"--config=a", "--device=gpu"}, "--device=gpu: must be auto, cpu, cuda or emulated:FILE"},
      {{"--config=a", "--progress=plains"}, "did you mean plain?"},
      {{"train", "a.yaml", "--config=a"}, "train takes no argument 'a.yaml'"},
      {{"--config=a", "a=1", "inspect"}, "the verb comes first"}};
  for (const auto& [words, why] : cases) {
    CHECK_THAT(WhyRefused(words), Catch::Contains(why));
  }
}

TEST_CASE("--help and --version answer on stdout with 0, a mistake on stderr with 64") {
  const auto never = [](const CommandLine&) { return 1; };
  const Ended help = Run({"train", "--help"}, never);
  CHECK(help.code == 0);
  CHECK(help.err.empty());
  for (const char* part : {"usage: mariana_test", "inspect FILE", "--run_dir=DIR", "75 stopped"}) {
    CHECK_THAT(help.out, Catch::Contains(part));
  }
  CHECK(Run({"--version"}, never).out == StrCat("mariana_test ", kVersion, "\n"));
  const Ended wrong = Run({"--colour"}, never);
  CHECK(wrong.code == 64);
  CHECK(wrong.out.empty());
  CHECK_THAT(wrong.err, Catch::StartsWith("mariana_test: error: unknown flag --colour"));
}

TEST_CASE("What ends a verb becomes the exit code and the last line") {
  const auto ends = [](const std::function<int()>& how) {
    return Run({"inspect", "x"}, [how](const CommandLine&) { return how(); });
  };
  CHECK(ends([] { return 75; }).code == 75);
  const Ended data = ends([]() -> int { throw Fail(ExitCode::kBadData, "a.ark: truncated"); });
  CHECK(data.code == 65);
  CHECK(data.err == "mariana_test: error: a.ark: truncated\n");
  const Ended two = ends([]() -> int { throw Fail(ExitCode::kUsage, "a: 1\nb: 2\n"); });
  CHECK(two.err == "mariana_test: error: a: 1\nmariana_test: error: b: 2\n");
  const Ended memory = ends([]() -> int { throw std::bad_alloc(); });
  CHECK(memory.code == 70);
  CHECK(memory.err == "mariana_test: internal error: out of memory\n");
  CHECK(ends([]() -> int { throw std::logic_error("oh"); }).code == 70);

  const Ended bug = ends([] {
    LOG(INFO) << "not on stderr";
    LOG(WARNING) << "take care";
    LOG(FATAL) << "two\nlines";  // as a failed CHECK does
    return 0;
  });
  CHECK(bug.code == 70);
  CHECK_THAT(bug.err, Catch::Contains("take care") && !Catch::Contains("not on stderr"));
  CHECK_THAT(LastLine(bug.err), Catch::StartsWith("mariana_test: internal error: two lines (") &&
                                    Catch::Contains("command_line_test.cc:"));
}

TEST_CASE("Output that does not fit is an I/O error") {
  const Ended full = Run({"inspect", "x"}, [](const CommandLine&) {
    dup2(open("/dev/full", O_WRONLY), STDOUT_FILENO);
    std::printf("result\n");
    return 0;
  });
  CHECK(full.code == 74);
  CHECK(full.err == "mariana_test: error: cannot write output: No space left on device\n");
}

TEST_CASE("The run directory's log has everything from INFO on") {
  const ScratchFolder scratch;
  const Ended ended = Run({"inspect", "x"}, [&](const CommandLine&) {
    LogToFolder(scratch.path(), 3);
    LOG(INFO) << "for the file";
    return 0;
  });
  CHECK(ended.err.empty());
  std::string log;
  for (const auto& entry : std::filesystem::directory_iterator(scratch.path())) {
    CHECK_THAT(entry.path().filename().string(), Catch::StartsWith("rank-3."));
    log += ReadFile(entry.path().string());
  }
  CHECK_THAT(log, Catch::Contains("for the file"));
}

TEST_CASE("Each stop signal asks once, a second SIGINT ends the process") {
  for (const int signal : {SIGINT, SIGTERM, SIGUSR1}) {
    const Ended ended = Run({"train", "--config=x"}, [signal](const CommandLine&) {
      const bool before = StopRequested();
      raise(signal);
      if (signal != SIGINT) raise(signal);
      return before || !StopRequested() || StopSignal() != signal ? 1 : 75;
    });
    CHECK(ended.code == 75);
    CHECK(ended.err ==
          "mariana_test: stopping after saving a checkpoint"
          " (interrupt again to exit at once)\n");
  }
  const Ended twice = Run({"inspect", "x"}, [](const CommandLine&) {
    raise(SIGPIPE);
    raise(SIGINT);
    raise(SIGINT);
    return 0;
  });
  CHECK(twice.code == 130);
  CHECK(twice.err == "mariana_test: stopping (interrupt again to exit at once)\n");
}

TEST_CASE("A stop can be asked for without a signal, and forgotten") {
  RequestStop(SIGTERM);
  RequestStop(SIGINT);
  CHECK(StopSignal() == SIGTERM);
  ForgetStopRequest();
  CHECK_FALSE(StopRequested());
}

}  // namespace
}  // namespace mariana
