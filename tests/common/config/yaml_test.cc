// The traps of YAML and of yaml-cpp 0.7: merge keys, aliases, duplicates, tabs, encodings, bombs.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/config.h"
#include "tests/common/config/sample_spec.h"

namespace mariana {
namespace {

SampleJob Load(const std::string& text) {
  SampleJob job;
  LoadConfigText(text, "f", "", {}, [&](Fields* f) { job.Describe(f); });
  return job;
}

std::string MistakesIn(const std::string& text) {
  try {
    Load(text);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kUsage);
    return error.message();
  }
  return "";
}

TEST_CASE("a merge key brings in what the section does not say itself") {
  const SampleJob job = Load(
      "x-base: &base {epochs: 3, batch_size: 32, shuffle: false}\n"
      "train:\n"
      "  epochs: 5\n"
      "  <<: *base\n");
  CHECK(job.train.epochs == 5);
  CHECK(job.train.batch_size == 32);
  CHECK_FALSE(job.train.shuffle);
}

TEST_CASE("of merged maps the earlier wins, wherever the merge key stands, nested ones included") {
  const SampleJob job = Load(
      "x-a: &a {epochs: 3}\n"
      "x-b: &b {epochs: 4, batch_size: 64}\n"
      "x-c: &c {<<: [*a, *b], shuffle: false}\n"
      "train:\n"
      "  <<: [{save_every: 5}, *c]\n"
      "  batch_size: 16\n"
      "  optimizer: {<<: {learning_rate: 0.5}, momentum: 0.25}\n");
  CHECK(job.train.epochs == 3);
  CHECK(job.train.batch_size == 16);
  CHECK_FALSE(job.train.shuffle);
  CHECK(job.train.save_every == 5);
  CHECK(job.train.optimizer.learning_rate == 0.5);
  CHECK(job.train.optimizer.momentum == 0.25);
}

TEST_CASE("a section of the job itself may be the anchor, and an alias may stand for any value") {
  const SampleJob job = Load(
      "net:\n"
      "  layers:\n"
      "    - &l {type: linear, units: &n 5}\n"
      "    - {<<: *l, bias: false}\n"
      "    - *l\n"
      "train: {epochs: *n}\n");
  CHECK(job.train.epochs == 5);
  REQUIRE(job.net.layers.size() == 3);
  CHECK_FALSE(dynamic_cast<SampleLinear&>(*job.net.layers[1]).bias);
  CHECK(dynamic_cast<SampleLinear&>(*job.net.layers[2]).units == 5);
}

TEST_CASE("merged and aliased values are checked, at their own place and with the alias's") {
  CHECK(MistakesIn("x-a: &a\n"
                   "  epcohs: 3\n"
                   "  batch_size: none\n"
                   "train:\n"
                   "  <<: *a\n") ==
        "f:2:3: train.epcohs: unknown key; did you mean \"epochs\"? (by the alias at 5:7)\n"
        "f:3:15: train.batch_size: expected a whole number, got none (by the alias at 5:7)");
  CHECK(MistakesIn("x-a: &a {<<: {epochs: &e x}}\n"
                   "train: *a\n") ==
        "f:1:23: train.epochs: expected a whole number, got x (by the alias at 2:8)");
}

TEST_CASE("a merge key takes maps only, and once") {
  CHECK(MistakesIn("train: {<<: 3}") == "f:1:13: train.<<: merges maps (sections) only");
  CHECK(MistakesIn("train:\n  <<:\n") == "f:2:3: train.<<: merges maps (sections) only");
  CHECK(MistakesIn("train: {<<: [{epochs: 1}, [{epochs: 2}]]}") ==
        "f:1:27: train.<<: merges maps (sections) only");
  CHECK(MistakesIn("train:\n  <<: {}\n  <<: {}\n") ==
        "f:3:3: train.<<: is given twice; first at 2:3");
  CHECK(MistakesIn("train: {'<<': {}}") ==
        "f:1:9: train.<<: unknown key; known are epochs, batch_size, shuffle, save_every, "
        "optimizer");
}

TEST_CASE("a key given twice is refused, with both places") {
  CHECK(MistakesIn("train:\n"
                   "  epochs: 1\n"
                   "  epochs: 2\n"
                   "name: a\n"
                   "\"name\": b\n"
                   "net: {layers: [{type: relu, type: linear}]}\n") ==
        "f:3:3: train.epochs: is given twice; first at 2:3\n"
        "f:5:1: name: is given twice; first at 4:1\n"
        "f:6:29: net.layers.0.type: is given twice; first at 6:17");
}

TEST_CASE("keys are words, values have no tags, a file is one document") {
  CHECK(MistakesIn("? [a]\n: 3\n") == "f:1:3: a key must be a word");
  CHECK(MistakesIn(": 3\nname: x\n") == "f:1:1: a key must be a word");
  CHECK(MistakesIn("train: {{a: 1}: 2}") == "f:1:9: train: a key must be a word");
  CHECK(MistakesIn("name: !!str 3\ntrain: !job {}\ndata: {gains: !x [1]}") ==
        "f:1:7: name: has a tag (tag:yaml.org,2002:str); tags are not for configs\n"
        "f:2:8: train: has a tag (!job); tags are not for configs\n"
        "f:3:15: data.gains: has a tag (!x); tags are not for configs");
  CHECK(MistakesIn("name: a\n---\nname: b\n") ==
        "f:2:1: a second document starts here; a config is one");
  CHECK(MistakesIn("- a\nname: b\n") == "f:2:1: a second document starts here; a config is one");
}

TEST_CASE("a list or a single value where the sections should be is refused") {
  CHECK(MistakesIn("- a\n- b\n") == "f:1:1: expected \"key: value\" lines, got a list");
  CHECK(MistakesIn("speech.yaml") == "f:1:1: expected \"key: value\" lines, got speech.yaml");
}

TEST_CASE("broken YAML says where") {
  CHECK(MistakesIn("name: a: b") == "f:1:8: not valid YAML: illegal map value");
  CHECK(MistakesIn("train:\n  epochs: [1, 2\n") ==
        "f:2:11: not valid YAML: end of sequence flow not found");
  CHECK(MistakesIn("name: *none\n") ==
        "f:1:7: not valid YAML: the referenced anchor is not defined");
  CHECK(MistakesIn("train: {epochs: 3,\n") ==
        "f:1:8: not valid YAML: end of map flow not found\n"
        "f:2:1: train: a key must be a word");
}

TEST_CASE("a quote that is never closed does not swallow the rest of the file") {
  for (const char* text : {"net: {}\nname: \"x\ntrain: 3\n", "net: {}\nname: 'x\ntrain: 3\n",
                           "net: {}\nname: 'x", "net: {}\nname: 'x\n\n"}) {
    CHECK(MistakesIn(text) ==
          "f:2:1: not valid YAML: a quote that opens after this is never closed");
  }
  CHECK(Load("name: 'a\n  b'\n...\n").name == "a b");
  CHECK(Load("name: |\n  a\n  b\n").name == "a\nb\n");
  CHECK(Load("name: >-\n  a\n  b").name == "a b");
}

TEST_CASE("tabs indent nothing, but may stand elsewhere") {
  CHECK(MistakesIn("train:\n\tepochs: 3\n\n \tshuffle: true\n") ==
        "f:2:1: a tab in the indentation; YAML wants spaces\n"
        "f:4:1: a tab in the indentation; YAML wants spaces");
  const SampleJob job = Load("name:\t\ta\t# comment\n\t\n \t \ntrain:\n  epochs:\t3\n");
  CHECK(job.name == "a");
  CHECK(job.train.epochs == 3);
}

TEST_CASE("only UTF-8 without control characters is text") {
  CHECK(MistakesIn("name: a\nnet: \xFF\n") == "f:2:6: is not UTF-8 here");
  for (const char* bad : {"\xC0\x80", "\xED\xA0\x80", "\xF4\x90\x80\x80", "\xE0\x80\x80", "\x80",
                          "\xE2\x82", "\xF0\x80\x80\x80", "\xFE"}) {
    CHECK(MistakesIn(std::string("# \xC3\xA9 ") + bad) == "f:1:5: is not UTF-8 here");
  }
  CHECK(MistakesIn(std::string("\xFF\xFE"
                               "n\0a\0",
                               6)) == "f:1:1: is not UTF-8 here");
  CHECK(MistakesIn("name: a\x04") == "f:1:8: a control character (code 4) here");
  CHECK(MistakesIn(std::string("name: \0", 7)) == "f:1:7: a control character (code 0) here");
  CHECK(MistakesIn("name: a\rtrain: b") == "f:1:8: a control character (code 13) here");
  CHECK(Load("name: \xF0\x9F\x8E\xA4 d\xC3\xA9j\xC3\xA0\n").name ==
        "\xF0\x9F\x8E\xA4 d\xC3\xA9j\xC3\xA0");
}

TEST_CASE("a byte order mark and Windows line ends are no trouble") {
  const SampleJob job = Load("\xEF\xBB\xBFname: a\r\ntrain:\r\n  epochs: 3\r\n");
  CHECK(job.name == "a");
  CHECK(job.train.epochs == 3);
  CHECK(MistakesIn("\xEF\xBB\xBFnam: a\r\n\r\ntrian: b\r\n") ==
        "f:1:1: nam: unknown key; did you mean \"name\"?\n"
        "f:3:1: trian: unknown key; did you mean \"train\"?");
}

TEST_CASE("columns count characters, and messages stay on one line") {
  CHECK(MistakesIn("train: {'\xC3\xA9\xC3\xA9': 1, epochs: x}") ==
        "f:1:9: train.\xC3\xA9\xC3\xA9: unknown key; known are epochs, batch_size, shuffle, "
        "save_every, optimizer\n"
        "f:1:26: train.epochs: expected a whole number, got x");
  CHECK(MistakesIn("train: {\"ep\\nochs\\t\\x1b\": 1}\ndata: {gains: \"a\\nb\"}") ==
        "f:1:9: train.ep\\nochs\\t\\x1B: unknown key; did you mean \"epochs\"?\n"
        "f:2:15: data.gains: expected a number, got \"a\\nb\"");
  const std::string wide(500, 'w');
  CHECK(MistakesIn("data: {gains: " + wide + "}") ==
        "f:1:15: data.gains: expected a number, got " + wide.substr(0, 40) + "...");
}

TEST_CASE("alias bombs, depth and width meet a budget") {
  std::string bomb = "x-0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 9; ++i) {
    const std::string previous = "*a" + std::to_string(i - 1);
    bomb += "x-" + std::to_string(i) + ": &a" + std::to_string(i) + " [" + previous;
    for (int j = 1; j < 10; ++j) bomb += ", " + previous;
    bomb += "]\n";
  }
  CHECK_THAT(MistakesIn(bomb),
             Catch::EndsWith("more than 100000 values once anchors and aliases are copied"));
  CHECK_THAT(MistakesIn("x-a: " + std::string(65, '[') + std::string(65, ']')),
             Catch::EndsWith("nested deeper than 64 levels"));
  CHECK_THAT(MistakesIn(std::string(200000, '[')), Catch::EndsWith("nested deeper than 64 levels"));
  CHECK_THAT(MistakesIn(std::string(200000, '{')), Catch::StartsWith("f:1:"));
  std::string nested = "x-0: &a0 [x]\n";
  for (int i = 1; i < 70; ++i) {
    nested += "x-" + std::to_string(i) + ": &a" + std::to_string(i) + " [*a" +
              std::to_string(i - 1) + "]\n";
  }
  CHECK_THAT(MistakesIn(nested), Catch::EndsWith("nested deeper than 64 levels"));
  std::string keys = "train:\n";
  for (int i = 0; i < 1001; ++i) keys += "  k" + std::to_string(i) + ": 1\n";
  CHECK(MistakesIn(keys) == "f:1002:3: train.k1000: more than 1000 keys in a section");
  CHECK(MistakesIn("name: " + std::string(1 << 20, 'a')) ==
        "f:1:1: is larger than 1 MiB: not a config");
}

TEST_CASE("an alias within its own anchor is refused") {
  CHECK(MistakesIn("train: &t {optimizer: *t}") ==
        "f:1:23: train.optimizer: an alias within the value that it stands for");
  CHECK(MistakesIn("train: &t\n  <<: *t\n") ==
        "f:2:7: train.<<: an alias within the value that it stands for");
}

TEST_CASE("x- keys at the top hold anchors and are not read; elsewhere they are unknown") {
  CHECK(MistakesIn("x-anything: {goes: [here]}\n").empty());
  CHECK_THAT(MistakesIn("train: {x-a: 1}"), Catch::StartsWith("f:1:9: train.x-a: unknown key"));
}

// Files of one test, in a folder of its own.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(std::string(std::getenv("TEST_TMPDIR")) + "/" + name) {
    RemoveTree(path_);
    MakeDirectories(path_ + "/zoo");
  }
  std::string Write(const std::string& name, const std::string& text) const {
    WriteFileAtomic(path_ + "/" + name, text);
    return path_ + "/" + name;
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

EffectiveConfig LoadFile(const std::string& path, SampleJob* job,
                         const std::vector<std::string>& overrides = {}) {
  return LoadConfig({path, overrides}, [&](Fields* f) { job->Describe(f); });
}

std::string MistakesInFile(const std::string& path,
                           const std::vector<std::string>& overrides = {}) {
  SampleJob job;
  try {
    LoadFile(path, &job, overrides);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kUsage);
    return error.message();
  }
  return "";
}

TEST_CASE("a section takes from the file that it includes what it does not say itself") {
  const Folder folder("include");
  const std::string net = folder.Write(
      "zoo/net.yaml",
      "x-l: &l {type: linear, units: 5}\nlayers:\n  - *l\n  - {<<: *l, name: b}\n");
  folder.Write("zoo/train.yaml", "optimizer: {include: adam.yaml}\nepochs: 3\nbatch_size: 7\n");
  folder.Write("zoo/adam.yaml", "rule: adam\nlearning_rate: 0.5\n");
  folder.Write("zoo/data.yaml", "cache: here\n");
  const std::string path = folder.Write("job.yaml",
                                        "net: {include: zoo/net.yaml}\n"
                                        "data: {include: zoo/data.yaml}\n"
                                        "train:\n  include: zoo/train.yaml\n  epochs: 4\n");
  SampleJob job;
  const EffectiveConfig effective =
      LoadFile(path, &job, {"train.optimizer.learning_rate=0.25", "net.layers.1.units=6"});
  REQUIRE(job.net.layers.size() == 2);
  CHECK(job.net.layers[1]->name == "b");
  CHECK(dynamic_cast<SampleLinear&>(*job.net.layers[0]).units == 5);
  CHECK(dynamic_cast<SampleLinear&>(*job.net.layers[1]).units == 6);
  CHECK(job.train.epochs == 4);
  CHECK(job.train.batch_size == 7);
  CHECK(job.train.optimizer.rule == SampleRule::kAdam);
  CHECK(job.train.optimizer.learning_rate == 0.25);
  CHECK(job.data.cache == folder.path() + "/zoo/here");  // relative to the file that says so
  CHECK_THAT(effective.yaml, Catch::Contains("units: 5  # " + net + ":1\n") &&
                                 Catch::Contains("units: 6  # override\n") &&
                                 !Catch::Contains("include:"));

  SampleJob other;
  const std::string two = folder.Write("zoo/two.yaml", "layers: [{type: relu}]\n");
  LoadFile(path, &other, {"net.layers.0.name=r", "net.include=" + two});
  REQUIRE(other.net.layers.size() == 1);
  CHECK(other.net.layers[0]->name == "r");
}

TEST_CASE("mistakes in included files are told with their own file and line") {
  const Folder folder("include_mistakes");
  const std::string path = folder.Write("job.yaml",
                                        "net: {include: zoo/net.yaml}\ntrain:\n"
                                        "  epcohs: 1\n  include: ../none.yaml\n");
  const std::string net = folder.Write("zoo/net.yaml", "layers:\n  - {type: linear, unit: 5}\n");
  const std::string wrong = MistakesInFile(path);
  CHECK_THAT(wrong, Catch::StartsWith(path + ":3:3: train.epcohs: unknown key") &&
                        Catch::Contains(path + ":4:12: train.include: no such file or folder") &&
                        Catch::Contains("\n" + net + ":2:5: net.layers.0.units: is missing") &&
                        Catch::Contains("\n" + net + ":2:20: net.layers.0.unit: unknown key"));

  const auto refused = [&](const std::string& text) {
    folder.Write("zoo/net.yaml", text);
    return MistakesInFile(folder.Write("job.yaml", "net: {include: zoo/net.yaml}\n"));
  };
  CHECK_THAT(refused("include: net.yaml\n"),
             Catch::StartsWith(net + ":1:10: net.include: ") && Catch::Contains("includes itself"));
  CHECK_THAT(refused("- a\n"), Catch::StartsWith(net + ":1:1: ") && Catch::Contains("key: value"));
  CHECK_THAT(refused("layers: [\n"), Catch::StartsWith(net + ":") && Catch::Contains("YAML"));
  CHECK_THAT(refused("include: [a]\n"), Catch::StartsWith(net + ":1:10: net.include: "));
  CHECK_THAT(refused("include: .\n"), Catch::Contains("is not a file"));
  CHECK_THAT(refused("include: ''\n"), Catch::Contains("must name a file"));
  CHECK(refused("").empty());
  // A text that is not a file of the user's (a model's metadata) opens none.
  CHECK_THAT(MistakesIn("net: {include: zoo/net.yaml}"), Catch::Contains("net.include: unknown"));
}

TEST_CASE("a word may stand for the empty list of numbers") {
  struct Spec {
    std::vector<int64_t> padding{0};
    void Describe(Fields* f) {
      f->IntListOr("padding", &padding, "same", "Pixels.", Rule().Min(0));
    }
  };
  const auto load = [](const std::string& text) {
    Spec spec;
    const auto describe = [&](Fields* f) { spec.Describe(f); };
    LoadConfigText(text, "f", "", {}, describe);
    return PrintConfig(describe);
  };
  CHECK(load("") == "padding: [0]\n");
  CHECK(load("padding: same") == "padding: same\n");
  CHECK(load("padding: 2") == "padding: [2]\n");
  CHECK(load("padding: [1, 2]") == "padding: [1, 2]\n");
  CHECK_THROWS_WITH(load("padding: sane"), Catch::Contains("same"));
  CHECK_THROWS_WITH(load("padding: [same]"), Catch::Contains("padding.0"));
  CHECK_THROWS_WITH(load("padding: -1"), Catch::Contains("0"));
}

}  // namespace
}  // namespace mariana
