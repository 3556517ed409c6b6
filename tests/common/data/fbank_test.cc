#include "common/data/fbank.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "common/config/config.h"
#include "common/data/wave.h"
#include "tests/common/data/scratch.h"

namespace mariana {
namespace {

const char kWave[] = "tests/golden/data/fbank.wav";

ScpEntry EntryOf(const std::string& path) {
  ScpEntry e;
  e.key = "u";
  e.path = path;
  return e;
}

FbankSpec SpecOf(const std::string& key) {
  FbankSpec spec;
  spec.sample_rate = 8000;
  spec.mel_bins = 23;
  if (key == "no_snip") spec.snip_edges = false;
  if (key == "range") {
    spec.mel_bins = 10;
    spec.low_freq = 100;
    spec.high_freq = -400;
  }
  if (key == "long") {
    spec.frame_length_ms = 32;
    spec.frame_shift_ms = 20;
    spec.preemphasis = 0.9;
    spec.remove_dc = false;
  }
  return spec;
}

TEST_CASE("features equal Kaldi's within 1e-3 under every option") {
  const Wave wave = ReadWave(EntryOf(kWave));
  int cases = 0;
  for (ArkReader ark("tests/golden/data/fbank.ark"); ark.NextKey(); ++cases) {
    const Matrix expected = ark.ReadMatrix();
    const Fbank fbank(SpecOf(ark.key()));
    const Matrix got = fbank.Compute(wave.samples);
    INFO(ark.key());
    REQUIRE(got.rows == expected.rows);
    REQUIRE(got.cols == expected.cols);
    CHECK(got.rows == fbank.NumFrames(static_cast<int64_t>(wave.samples.size())));
    double worst = 0;
    for (size_t i = 0; i < got.data.size(); ++i) {
      worst = std::max<double>(worst, std::abs(got.data[i] - expected.data[i]));
    }
    CHECK(worst < 1e-3);
  }
  CHECK(cases == 4);
}

TEST_CASE("audio too short for a frame gives none, and mirrored edges cope with any length") {
  FbankSpec spec = SpecOf("default");
  CHECK(Fbank(spec).Compute(std::vector<float>(199, 1.0f)).rows == 0);
  CHECK(Fbank(spec).Compute(std::vector<float>(200, 1.0f)).rows == 1);
  spec.snip_edges = false;
  CHECK(Fbank(spec).Compute({}).rows == 0);
  CHECK(Fbank(spec).Compute(std::vector<float>(41, 1.0f)).rows == 1);
}

TEST_CASE("dither depends on its seed alone and lifts silence off the floor") {
  FbankSpec spec = SpecOf("default");
  const std::vector<float> silence(400, 0.0f);
  const float floor = std::log(1.1920929e-7f);
  CHECK(Fbank(spec).Compute(silence).data[0] == Approx(floor));
  spec.dither = 1;
  const Fbank fbank(spec);
  const Matrix a = fbank.Compute(silence, 1), again = fbank.Compute(silence, 1),
               b = fbank.Compute(silence, 2);
  CHECK(a.data == again.data);
  CHECK(a.data != b.data);
  CHECK(a.data[0] > floor + 5);
}

TEST_CASE("options that cannot work are refused") {
  FbankSpec spec = SpecOf("default");
  const auto load = [&](const std::string& yaml) {
    return LoadConfigText(yaml, "f.yaml", ".", {}, [&](Fields* f) { spec.Describe(f); });
  };
  CHECK_THROWS_WITH(load("high_freq: 5000\n"),
                    Catch::Contains("must lie above low_freq and not above half"));
  spec = SpecOf("default");
  spec.mel_bins = 200;
  CHECK_THROWS_WITH(Fbank(spec), Catch::Contains("200 filters are too many"));
}

TEST_CASE("wave samples are in Kaldi's 16-bit range") {
  const Wave wave = ReadWave(EntryOf(kWave));
  CHECK(wave.sample_rate == 8000);
  REQUIRE(wave.samples.size() == 3011);
  float largest = 0;
  for (float s : wave.samples) {
    largest = std::max(largest, std::abs(s));
    REQUIRE(s == std::round(s));
  }
  CHECK(largest > 5000);
  CHECK(largest < 8000);
  CHECK(ReadWaveInfo(EntryOf(kWave)).samples == 3011);
}

TEST_CASE("audio is read from an archive and from a command like from its file") {
  Scratch dir;
  const std::string bytes = ReadFile(kWave);
  const std::vector<float> expected = ReadWave(EntryOf(kWave)).samples;
  ScpEntry inside = EntryOf(dir.Write("wav.ark", "u " + bytes + "v " + bytes));
  for (int64_t offset : {int64_t{2}, static_cast<int64_t>(bytes.size()) + 4}) {
    inside.offset = offset;
    CHECK(ReadWave(inside).samples == expected);
  }
  ScpEntry command = EntryOf(std::string("cat ") + kWave);
  command.is_command = true;
  CHECK(ReadWave(command).samples == expected);
}

TEST_CASE("audio that cannot be used is named") {
  Scratch dir;
  const std::string bytes = ReadFile(kWave);
  const auto message = [&](const std::string& contents) {
    const ScpEntry entry = EntryOf(dir.Write("x.wav", contents));
    return dir.Strip(BadData([&] { ReadWave(entry); }));
  };
  std::string stereo = bytes;
  stereo[22] = 2;
  CHECK(message(stereo) == "x.wav: utterance \"u\": has 2 channels, expected 1");
  CHECK(message("no audio at all").find("x.wav: utterance \"u\": not readable as audio: ") == 0);
  CHECK(BadData([] { ReadWave(EntryOf("/no/such.wav")); }).find("No such file") !=
        std::string::npos);
}

}  // namespace
}  // namespace mariana
