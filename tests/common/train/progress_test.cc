#include "common/train/progress.h"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/base/files.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

constexpr int64_t kSecond = 1'000'000'000;

// A Progress that writes to a file, in virtual time.
class Watched {
 public:
  explicit Watched(ProgressMode mode, int columns = 80)
      : file_(std::fopen((scratch_ / "out").c_str(), "w")),
        clock_(Clock::MakeVirtual()),
        thread_(clock_.get(), "test"),
        progress_(std::make_unique<Progress>(mode, clock_.get(), file_, columns)) {}
  ~Watched() {
    progress_.reset();
    std::fclose(file_);
  }
  Progress* operator->() { return progress_.get(); }
  void Sleep(double seconds) { clock_->SleepFor(static_cast<int64_t>(seconds * kSecond)); }
  // What was written since the last call.
  std::string Text() {
    std::fflush(file_);
    const std::string all = ReadFile(scratch_ / "out");
    const std::string text = all.substr(seen_);
    seen_ = all.size();
    return text;
  }

 private:
  ScratchFolder scratch_;
  std::FILE* file_;
  std::unique_ptr<Clock> clock_;
  ClockThread thread_;
  std::unique_ptr<Progress> progress_;
  size_t seen_ = 0;
};

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t begin = 0, end; (end = text.find('\n', begin)) != std::string::npos;
       begin = end + 1) {
    lines.push_back(text.substr(begin, end - begin));
  }
  return lines;
}

TEST_CASE("A bar shows share, rate, time left and values, at most ten times a second") {
  Watched progress(ProgressMode::kBar, 100);
  progress->Begin("epoch 3/8", 100'000, "frames");
  progress.Sleep(2);
  progress->Update(25'000, {{"loss", 1.23456}, {"lr", 0.05}});
  const std::string bar =
      "epoch 3/8 [========>                         ]  25%  12.5k frames/s  left 0:06  "
      "loss 1.235  lr 0.05";
  CHECK(progress.Text() == "\r" + bar + "\033[K");
  CHECK(bar.size() <= 99);
  progress.Sleep(0.05);
  progress->Update(26'000, {});
  CHECK(progress.Text().empty());
  progress.Sleep(0.06);
  progress->Update(27'000, {{"loss", 1.2}});
  CHECK_FALSE(progress.Text().empty());
  progress->Message("saved");
  CHECK(progress.Text() == "\r\033[Ksaved\n");
  progress->End();
  CHECK(progress.Text() == "epoch 3/8  27000 frames in 0:02  12.8k/s  loss 1.2\n");
}

TEST_CASE("A bar is never as wide as its terminal") {
  for (int columns = 12; columns <= 120; ++columns) {
    Watched progress(ProgressMode::kBar, columns);
    progress->Begin("epoch 12/100", GENERATE(0, 1'000'000), "frames");
    progress.Sleep(1);
    progress->Update(999'999, {{"loss", 1234.5678}, {"accuracy", 0.6789}});
    const std::string text = progress.Text();
    CHECK(text.substr(0, 1) == "\r");
    CHECK(static_cast<int>(text.size()) - 4 <= columns - 1);  // less \r and ESC [ K
  }
}

TEST_CASE("A log gets plain lines at growing intervals and a line of totals") {
  Watched progress(ProgressMode::kPlain);
  progress->Begin("train", 36'000, "frames");
  for (int second = 1; second <= 1800; ++second) {
    progress.Sleep(1);
    progress->Update(20 * second, {{"loss", 2}});
  }
  progress->End();
  const std::string text = progress.Text();
  CHECK(text.find('\r') == std::string::npos);
  const std::vector<std::string> lines = Lines(text);
  CHECK(lines.size() == 6 + 18 + 20 + 1);
  CHECK(lines[0] == "train    0%  200/36000 frames  20.0/s  left 29:50  loss 2");
  CHECK(lines.back() == "train  36000 frames in 30:00  20.0/s  loss 2");
}

TEST_CASE("A resumed phase's rate counts only what was done since") {
  Watched progress(ProgressMode::kPlain);
  progress->Begin("train", 2000, "frames", 1000);
  progress.Sleep(10);
  progress->Update(1100, {});
  CHECK(progress.Text() == "train   55%  1100/2000 frames  10.0/s  left 1:30\n");
}

TEST_CASE("json mode prints one object a line") {
  Watched progress(ProgressMode::kJson);
  progress->Begin("evaluate", 0, "frames");
  progress.Sleep(1);
  progress->Update(500, {{"loss", 0.5}});
  progress->Message("a \"line\"");
  progress->End();
  const std::vector<std::string> lines = Lines(progress.Text());
  REQUIRE(lines.size() == 3);
  const auto update = nlohmann::json::parse(lines[0]);
  CHECK(update["event"] == "progress");
  CHECK(update["phase"] == "evaluate");
  CHECK(update["done"] == 500);
  CHECK(update["per_second"] == 500);
  CHECK(update["values"]["loss"] == 0.5);
  CHECK(nlohmann::json::parse(lines[1])["text"] == "a \"line\"");
  CHECK(nlohmann::json::parse(lines[2])["event"] == "end");
}

TEST_CASE("auto is plain where there is no terminal, none is silent, other words are refused") {
  Watched progress(ProgressMode::kAuto);
  CHECK(progress->mode() == ProgressMode::kPlain);
  Watched silent(ProgressMode::kNone);
  silent->Begin("train", 10, "frames");
  silent.Sleep(100);
  silent->Update(10, {});
  silent->Message("hello");
  silent->End();
  CHECK(silent.Text().empty());
  CHECK(ParseProgressMode("json") == ProgressMode::kJson);
  CHECK_THROWS_WITH(ParseProgressMode("plains"), Catch::Contains("did you mean plain?"));
}

}  // namespace
}  // namespace mariana
