// LoadConfig: every mistake at once with its place, suggestions, overrides, paths, units.
#include "common/config/config.h"

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <tuple>

#include "common/base/error.h"
#include "common/base/files.h"
#include "tests/common/config/sample_spec.h"

namespace mariana {
namespace {

// The job that a text describes.
struct Loaded {
  SampleJob job;
  EffectiveConfig effective;
  explicit Loaded(const std::string& text, const std::vector<std::string>& overrides = {},
                  const std::string& folder = "")
      : effective(LoadConfigText(text, "job.yaml", folder, overrides,
                                 [this](Fields* f) { job.Describe(f); })) {}
};

// What is wrong with a text, or "".
std::string MistakesIn(const std::string& text, const std::vector<std::string>& overrides = {}) {
  try {
    Loaded loaded(text, overrides);
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kUsage);
    return error.message();
  }
  return "";
}

TEST_CASE("a config with five mistakes reports all five with their places, in file order") {
  CHECK(MistakesIn("train:\n"
                   "  epcohs: 5\n"
                   "  batch_size: 0\n"
                   "  optimizer:\n"
                   "    rule: adm\n"
                   "data:\n"
                   "  buffer: 5 mb\n"
                   "net:\n"
                   "  layers:\n"
                   "    - type: linear\n"
                   "      units: many\n") ==
        "job.yaml:2:3: train.epcohs: unknown key; did you mean \"epochs\"?\n"
        "job.yaml:3:15: train.batch_size: is 0; must be at least 1 and at most 1048576\n"
        "job.yaml:5:11: train.optimizer.rule: is adm; must be one of sgd, adam; "
        "did you mean \"adam\"?\n"
        "job.yaml:7:11: data.buffer: has an unknown unit \"mb\"; units are B, kB, MB, GB, TB, "
        "KiB, MiB, GiB, TiB\n"
        "job.yaml:11:14: net.layers.0.units: expected a whole number, got many");
}

TEST_CASE("a good config fills the struct, defaults staying where nothing is said") {
  const Loaded loaded(
      "name: night\n"
      "train:\n"
      "  epochs: 3\n"
      "  shuffle: false\n"
      "  save_every: 10min\n"
      "  optimizer: {rule: adam, learning_rate: 1e-3}\n"
      "data:\n"
      "  buffer: 1.5 GiB\n"
      "  splice: [-2, 0, +2]\n"
      "  gains: .5\n"
      "  phones: [on, 010, 'it''s']\n"
      "  sets:\n"
      "    - {name: a}\n"
      "    - name: b\n"
      "net:\n"
      "  layers:\n"
      "    - {type: linear, units: 7, bias: false}\n"
      "    - type: residual\n"
      "      layers: [{type: relu, name: r}]\n");
  const SampleJob& job = loaded.job;
  CHECK(job.name == "night");
  CHECK(job.train.epochs == 3);
  CHECK(job.train.batch_size == 256);
  CHECK_FALSE(job.train.shuffle);
  CHECK(job.train.save_every == 600);
  CHECK(job.train.optimizer.rule == SampleRule::kAdam);
  CHECK(job.train.optimizer.learning_rate == 1e-3);
  CHECK(job.data.buffer == 3ll << 29);
  CHECK(job.data.splice == std::vector<int64_t>{-2, 0, 2});
  CHECK(job.data.gains == std::vector<double>{0.5});
  CHECK(job.data.phones == std::vector<std::string>{"on", "010", "it's"});
  REQUIRE(job.data.sets.size() == 2);
  CHECK(job.data.sets[1].name == "b");
  REQUIRE(job.net.layers.size() == 2);
  CHECK(dynamic_cast<SampleLinear&>(*job.net.layers[0]).units == 7);
  CHECK_FALSE(dynamic_cast<SampleLinear&>(*job.net.layers[0]).bias);
  CHECK(dynamic_cast<SampleResidual&>(*job.net.layers[1]).layers[0]->name == "r");
}

TEST_CASE("empty files and empty sections leave every default") {
  for (const char* text : {"", "\n\n", "# only a comment\n", "---\n", "train:\ndata: ~\n", "{}"}) {
    INFO(text);
    CHECK(MistakesIn(text).empty());
  }
}

TEST_CASE("an unknown key names the nearest key, its right section, or all known ones") {
  CHECK(MistakesIn("data: {epochs: 3}") ==
        "job.yaml:1:8: data.epochs: unknown key; it belongs under train");
  CHECK(MistakesIn("train: {name: x}") ==
        "job.yaml:1:9: train.name: unknown key; it belongs at the top");
  CHECK(MistakesIn("rule: sgd") ==
        "job.yaml:1:1: rule: unknown key; it belongs under train.optimizer");
  CHECK(MistakesIn("train: {Batch-Size: 3, momentun: 1, zzz: 1}") ==
        "job.yaml:1:9: train.Batch-Size: unknown key; did you mean \"batch_size\"?\n"
        "job.yaml:1:24: train.momentun: unknown key; known are epochs, batch_size, shuffle, "
        "save_every, optimizer\n"
        "job.yaml:1:37: train.zzz: unknown key; known are epochs, batch_size, shuffle, "
        "save_every, optimizer");
  CHECK(MistakesIn("net: {layers: [{type: linear, units: 3}, {type: relu, units: 3}]}") ==
        "job.yaml:1:55: net.layers.1.units: unknown key for type relu; it belongs to type linear");
  CHECK(MistakesIn("net: {layer: []}\ndata: {set: [], name: x}") ==
        "job.yaml:1:7: net.layer: unknown key; did you mean \"layers\"?\n"
        "job.yaml:2:8: data.set: unknown key; did you mean \"sets\"?\n"
        "job.yaml:2:17: data.name: unknown key; it belongs at the top");
}

TEST_CASE("a key near one here that is also a key elsewhere says both") {
  struct Two {
    int64_t rate = 0, rates = 0;
    struct Inner {
      int64_t* rates;
      void Describe(Fields* f) { f->Int("rates", rates, "Several."); }
    } inner{&rates};
    void Describe(Fields* f) {
      f->Int("rate", &rate, "One.");
      f->Section("inner", &inner, "More.");
    }
  } two;
  CHECK_THROWS_WITH(
      LoadConfigText("rates: 3", "f", "", {}, [&](Fields* f) { two.Describe(f); }),
      "f:1:1: rates: unknown key; did you mean \"rate\"? (\"rates\" belongs under inner)");
}

TEST_CASE("did you mean finds swaps, cases, dashes and beginnings, and nothing far away") {
  const std::vector<std::string> words{"epochs", "batch_size", "learning_rate"};
  CHECK(DidYouMean("epcohs", words) == "epochs");
  CHECK(DidYouMean("epoch", words) == "epochs");
  CHECK(DidYouMean("Batch-Size", words) == "batch_size");
  CHECK(DidYouMean("batch", words) == "batch_size");
  CHECK(DidYouMean("lerning_rat", words) == "learning_rate");
  CHECK(DidYouMean("momentum", words).empty());
  CHECK(DidYouMean("", words).empty());
  CHECK(DidYouMean("x", {"y"}).empty());
  CHECK(DidYouMean(std::string(100000, 'e'), words).empty());
  CHECK(DidYouMean("epochs", {}).empty());
}

TEST_CASE("numbers are plain decimals, and what is nearly one is told how to be one") {
  const std::vector<std::pair<std::string, std::string>> whole{
      {"010", "010 has a leading zero, which some readers take for octal; write it without"},
      {"-007", "-007 has a leading zero, which some readers take for octal; write it without"},
      {"3.0", "expected a whole number, got 3.0; write 3"},
      {"1e3", "expected a whole number, got 1e3; write 1000"},
      {"3.5", "expected a whole number, got 3.5"},
      {"1_000", "expected a whole number, got 1_000; write 1000"},
      {"0x1F", "expected a whole number, got 0x1F; write 31"},
      {"0o17", "expected a whole number, got 0o17"},
      {"'5'", "expected a whole number, got \"5\"; remove the quotes"},
      {"five", "expected a whole number, got five"},
      {"9223372036854775808", "9223372036854775808 does not fit 64 bits"},
      {"true", "expected a whole number, got true"},
      {"[3]", "expected a whole number, got a list"},
      {"{a: 3}", "expected a whole number, got a section"},
      {"-3", "is -3; must be at least 1"}};
  for (const auto& [text, wrong] : whole) {
    CHECK(MistakesIn("train: {epochs: " + text + "}") == "job.yaml:1:17: train.epochs: " + wrong);
  }
  CHECK(MistakesIn("train:\n  epochs:\nname: x") ==
        "job.yaml:2:3: train.epochs: expected a whole number, got nothing");
  CHECK(MistakesIn("train:\n  epochs: 1,000") ==
        "job.yaml:2:11: train.epochs: expected a whole number, got 1,000; write 1000");
  const std::vector<std::pair<std::string, std::string>> real{
      {".inf", "must be finite, is .inf"},
      {"-.INF", "must be finite, is -.INF"},
      {".NaN", "must be finite, is .NaN"},
      {"nan", "must be finite, is nan"},
      {"1e999", "1e999 is too large or too small for a 64-bit number"},
      {"01.5", "01.5 has a leading zero, which some readers take for octal; write it without"},
      {"'0,5'", "expected a number, got \"0,5\""},
      {"1_0.5", "expected a number, got 1_0.5; write 10.5"},
      {"'0.5'", "expected a number, got \"0.5\"; remove the quotes"},
      {"1e", "expected a number, got 1e"},
      {".", "expected a number, got ."},
      {"0", "is 0; must be above 0"}};
  for (const auto& [text, wrong] : real) {
    CHECK(MistakesIn("train: {optimizer: {learning_rate: " + text + "}}") ==
          "job.yaml:1:36: train.optimizer.learning_rate: " + wrong);
  }
  CHECK(MistakesIn("train:\n  optimizer:\n    learning_rate: 0,5") ==
        "job.yaml:3:20: train.optimizer.learning_rate: expected a number, got 0,5; write 0.5");
  CHECK(MistakesIn("train: {optimizer: {momentum: 1}}") ==
        "job.yaml:1:31: train.optimizer.momentum: is 1; must be at least 0 and below 1");
  for (const std::string text : {"5", "+5.", "1e-3", "1E+3", "0.5", "0", ".25e1"}) {
    CHECK(MistakesIn("data: {gains: " + text + "}").empty());
  }
}

TEST_CASE("booleans are true and false, never yes, no, on or off") {
  for (const std::string text : {"yes", "On", "y", "1"}) {
    CHECK(MistakesIn("train: {shuffle: " + text + "}") ==
          "job.yaml:1:18: train.shuffle: expected true or false, got " + text + "; write true");
  }
  for (const std::string text : {"no", "OFF", "n", "0"}) {
    CHECK(MistakesIn("train: {shuffle: " + text + "}") ==
          "job.yaml:1:18: train.shuffle: expected true or false, got " + text + "; write false");
  }
  CHECK(MistakesIn("train: {shuffle: 'true'}") ==
        "job.yaml:1:18: train.shuffle: expected true or false, got \"true\"; remove the quotes");
  CHECK(MistakesIn("train: {shuffle: maybe}") ==
        "job.yaml:1:18: train.shuffle: expected true or false, got maybe");
  CHECK_FALSE(Loaded("train: {shuffle: False}").job.train.shuffle);
  CHECK(Loaded("train: {shuffle: TRUE}").job.train.shuffle);
}

TEST_CASE("bytes and seconds take numbers and units, and name the units they know") {
  const std::vector<std::pair<std::string, int64_t>> bytes{{"512MB", 512000000},
                                                           {"1.5 GiB", 3ll << 29},
                                                           {"1 KiB", 1024},
                                                           {"3kB", 3000},
                                                           {"7", 7},
                                                           {"7 B", 7},
                                                           {"1e3", 1000},
                                                           {"'64 MiB'", 64 << 20},
                                                           {"9007199254740993", 9007199254740993},
                                                           {"0.1kB", 100},
                                                           {"1.7 KiB", 1741},
                                                           {"2 TiB", 2ll << 40}};
  for (const auto& [text, value] : bytes) {
    CHECK(Loaded("data: {buffer: " + text + "}").job.data.buffer == value);
  }
  const std::vector<std::tuple<std::string, std::string>> wrong_bytes{
      {"512 mb", "has an unknown unit \"mb\"; units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"},
      {"1G", "has an unknown unit \"G\"; units are B, kB, MB, GB, TB, KiB, MiB, GiB, TiB"},
      {"1.5", "1.5 is not a whole number of bytes"},
      {"99999999TiB", "99999999TiB does not fit 64 bits"},
      {"9223372036854775808", "9223372036854775808 does not fit 64 bits"},
      {"-5kB", "is -5kB; must not be negative"},
      {"0", "is 0; must be at least 1"},
      {"'12'",
       "expected a number of bytes such as 512MB or 1.5 GiB, got \"12\"; "
       "remove the quotes"},
      {"MB", "expected a number of bytes such as 512MB or 1.5 GiB, got MB"},
      {"010MB", "010 has a leading zero, which some readers take for octal; write it without"},
      {".inf", "must be finite, is .inf"},
      {"[1]", "expected a number of bytes such as 512MB or 1.5 GiB, got a list"}};
  for (const auto& [text, wrong] : wrong_bytes) {
    CHECK(MistakesIn("data: {buffer: " + text + "}") == "job.yaml:1:16: data.buffer: " + wrong);
  }
  const std::vector<std::pair<std::string, double>> seconds{
      {"90s", 90}, {"10min", 600}, {"1.5h", 5400}, {"300ms", 0.3}, {"2 d", 172800}, {"0.25", 0.25}};
  for (const auto& [text, value] : seconds) {
    CHECK(Loaded("train: {save_every: " + text + "}").job.train.save_every == value);
  }
  CHECK(MistakesIn("train: {save_every: 5m}") ==
        "job.yaml:1:21: train.save_every: has an unknown unit \"m\"; units are ms, s, min, h, d");
  CHECK(MistakesIn("train: {save_every: 1h30min}") ==
        "job.yaml:1:21: train.save_every: expected a time such as 90s or 10min, got 1h30min");
}

TEST_CASE("lists and sections refuse what is neither, element by element") {
  CHECK(MistakesIn(
            "train: [1]\n"
            "data:\n"
            "  splice: {a: 1}\n"
            "  sets: [x, {}, {name: ''}, {name: d}]\n"
            "  gains: [1, x, [2]]\n"
            "net: {layers: [relu, soup, {units: 3}, {type: rleu}, {type: zzz}, {type: []}]}\n") ==
        "job.yaml:1:8: train: expected a section, got a list\n"
        "job.yaml:3:11: data.splice: expected a list, got a section\n"
        "job.yaml:4:3: data.sets: the number of elements is 4; must be at most 3\n"
        "job.yaml:4:10: data.sets.0: expected a section, got x\n"
        "job.yaml:4:13: data.sets.1.name: is missing; it has no default\n"
        "job.yaml:4:24: data.sets.2.name: must not be empty\n"
        "job.yaml:5:14: data.gains.1: expected a number, got x\n"
        "job.yaml:5:17: data.gains.2: expected a number, got a list\n"
        "job.yaml:6:16: net.layers.0: expected a section with a type, got relu; "
        "write {type: relu}\n"
        "job.yaml:6:22: net.layers.1: expected a section with a type, got soup\n"
        "job.yaml:6:28: net.layers.2: has no type; types are linear, relu, residual\n"
        "job.yaml:6:47: net.layers.3.type: unknown type rleu; did you mean \"relu\"?\n"
        "job.yaml:6:61: net.layers.4.type: unknown type zzz; types are linear, relu, residual\n"
        "job.yaml:6:74: net.layers.5.type: unknown type a list; types are linear, relu, "
        "residual");
  CHECK(MistakesIn("net: {layers: {type: relu}}") ==
        "job.yaml:1:15: net.layers: expected a list of sections with a type, got a section");
  CHECK(MistakesIn("net: {layers: [{type: residual, layers: []}]}") ==
        "job.yaml:1:33: net.layers.0.layers: the number of elements is 0; must be at least 1");
}

TEST_CASE("checks between fields speak only when their section is right otherwise") {
  CHECK(MistakesIn("train: {optimizer: {rule: adam, momentum: 0.5}}") ==
        "job.yaml:1:43: train.optimizer.momentum: is for sgd only");
  CHECK(MistakesIn("train: {optimizer: {rule: adam, momentum: 5}}") ==
        "job.yaml:1:43: train.optimizer.momentum: is 5; must be at least 0 and below 1");
  CHECK(MistakesIn("net: {layers: [{type: zzz}, {type: relu, name: bad}]}") ==
        "job.yaml:1:23: net.layers.0.type: unknown type zzz; types are linear, relu, residual");
}

// ---- required keys and default lists ------------------------------------------

struct Strict {
  std::vector<SampleSet> sets{{"one", ""}, {"two", ""}};
  std::vector<std::unique_ptr<SampleLayer>> layers;
  struct Inner {
    std::string file;
    std::vector<int64_t> sizes;
    void Describe(Fields* f) {
      f->Path("file", &file, PathKind::kOutput, "A file.", Rule().Required());
      f->IntList("sizes", &sizes, "Sizes.", Rule().Required());
    }
  } inner;
  Strict() {
    layers.push_back(std::make_unique<SampleRelu>());
    layers.push_back(std::make_unique<SampleRelu>());
  }
  void Describe(Fields* f) {
    f->List("sets", &sets, "Sets.", Rule().Min(1));
    f->Variants("layers", &layers, SampleCatalog(), "Layers.");
    f->Section("inner", &inner, "Inner.");
  }
};

std::string StrictMistakes(const std::string& text, Strict* strict,
                           const std::vector<std::string>& overrides = {}) {
  try {
    LoadConfigText(text, "f", "", overrides, [&](Fields* f) { strict->Describe(f); });
  } catch (const Error& error) {
    return error.message();
  }
  return "";
}

TEST_CASE("a required key is missed where its section is, and must hold something") {
  Strict a, b, c, d;
  CHECK(StrictMistakes("# nothing\n", &a) ==
        "f:1:1: inner.file: is missing; it has no default\n"
        "f:1:1: inner.sizes: is missing; it has no default");
  CHECK(StrictMistakes("sets: []\n\ninner:\n  file: ''\n", &b) ==
        "f:1:1: sets: the number of elements is 0; must be at least 1\n"
        "f:3:1: inner.sizes: is missing; it has no default\n"
        "f:4:9: inner.file: must not be empty");
  CHECK(StrictMistakes("inner: 3", &c) == "f:1:8: inner: expected a section, got 3");
  CHECK(StrictMistakes("sets: []\n", &d, {"inner.file=x"}) ==
        "f:1:1: sets: the number of elements is 0; must be at least 1\n"
        "f:1:1: inner.sizes: is missing; it has no default");
}

TEST_CASE("a list in the file replaces the default list, an absent one keeps it") {
  const std::string inner = "\ninner: {file: x, sizes: [1]}";
  Strict kept, shorter, none;
  CHECK(StrictMistakes(inner, &kept).empty());
  CHECK(kept.sets.size() == 2);
  CHECK(kept.layers.size() == 2);
  CHECK(StrictMistakes("sets: [{name: x}]\nlayers: [{type: linear, units: 1}]" + inner, &shorter)
            .empty());
  REQUIRE(shorter.sets.size() == 1);
  CHECK(shorter.sets[0].name == "x");
  REQUIRE(shorter.layers.size() == 1);
  CHECK(std::string(shorter.layers[0]->type()) == "linear");
  CHECK(StrictMistakes("layers: []" + inner, &none).empty());
  CHECK(none.layers.empty());
}

// ---- overrides --------------------------------------------------------------------

TEST_CASE("overrides win over the file, later ones over earlier ones") {
  const std::string text =
      "train: {epochs: 1, optimizer: {rule: sgd}}\n"
      "net: {layers: [{type: linear, units: 1}, {type: relu}]}\n";
  const Loaded loaded(text, {"train.epochs=2", "train.epochs=3", "name=x=y", "data.splice=[1, 2]",
                             "net.layers.0.units=5", "net.layers.1={type: linear, units: 6}",
                             "train.optimizer.learning_rate=0.5", "data.splice.1=7",
                             "data.phones=", "data.sets=[{name: a}]", "data.sets.0.file=$$x"});
  const SampleJob& job = loaded.job;
  CHECK(job.train.epochs == 3);
  CHECK(job.name == "x=y");
  CHECK(job.data.splice == std::vector<int64_t>{1, 7});
  CHECK(dynamic_cast<SampleLinear&>(*job.net.layers[0]).units == 5);
  CHECK(dynamic_cast<SampleLinear&>(*job.net.layers[1]).units == 6);
  CHECK(job.train.optimizer.learning_rate == 0.5);
  CHECK(job.data.phones == std::vector<std::string>{""});
  CHECK(job.data.sets[0].file == std::filesystem::current_path().string() + "/$x");
}

TEST_CASE("mistakes in overrides come after the file's and quote the override") {
  const std::string text = "trian: 1\nnet: {layers: [{type: relu}, {type: linear, units: 2}]}\n";
  const std::vector<std::pair<std::string, std::string>> wrong{
      {"train.epcohs=5", "train.epcohs: unknown key; did you mean \"train.epochs\"?"},
      {"trane.epochs=5", "trane.epochs: unknown key; did you mean \"train.epochs\"?"},
      {"epochs=5", "epochs: unknown key; did you mean \"train.epochs\"?"},
      {"zzz.qqq=5", "zzz.qqq: unknown key; known are name, train, data, net"},
      {"train.epochs=0", "train.epochs: is 0; must be at least 1"},
      {"train.epochs=", "train.epochs: expected a whole number, got \"\""},
      {"train.epochs", "expected key.path=value"},
      {"=5", "expected key.path=value"},
      {"train..epochs=5", "expected key.path=value"},
      {"train.=5", "expected key.path=value"},
      {"name=[1", "not valid YAML: end of sequence flow not found"},
      {"name=!!str a", "has a tag (tag:yaml.org,2002:str); tags are not for configs"},
      {"train.epochs.x=1", "train.epochs: expected a whole number, got a section"},
      {"trian.x=1", "trian: is 1, which has no x within"},
      {"net.layers.2.units=1", "net.layers: a list of 2, whose elements are 0 to 1, has no 2"},
      {"net.layers.x=1", "net.layers: a list of 2, whose elements are 0 to 1, has no x"},
      {"net.layers.1.unit=3",
       "net.layers.1.unit: unknown key for type linear; did you mean \"net.layers.1.units\"?"},
      {"data.sets.0.name=a",
       "data.sets: the file gives no list here that has an element 0; give the whole list"},
      {"x-train=3", "x-train: unknown key; did you mean \"train\"?"}};
  for (const auto& [override, message] : wrong) {
    CHECK(MistakesIn(text, {override}) ==
          "job.yaml:1:1: trian: unknown key; did you mean \"train\"?\noverride \"" + override +
              "\": " + message);
  }
  CHECK(MistakesIn(
            "", {"trane={a: 1, b: 2}", "train={a: 1, zz: 2}", "data.sets=[]", "data.sets.0=1"}) ==
        "override \"trane={a: 1, b: 2}\": trane: unknown key; did you mean \"train\"?\n"
        "override \"train={a: 1, zz: 2}\": train.a: unknown key; known are epochs, batch_size, "
        "shuffle, save_every, optimizer\n"
        "override \"train={a: 1, zz: 2}\": train.zz: unknown key; known are epochs, batch_size, "
        "shuffle, save_every, optimizer\n"
        "override \"data.sets.0=1\": data.sets: an empty list has no element 0");
  CHECK(MistakesIn("", {"trane.epochs=1", "trane.shuffle=no"}) ==
        "override \"trane.epochs=1\": trane.epochs: unknown key; did you mean \"train.epochs\"?\n"
        "override \"trane.shuffle=no\": trane.shuffle: unknown key; "
        "did you mean \"train.shuffle\"?");
}

// ---- paths and files ---------------------------------------------------------------

class Folder {
 public:
  Folder() {
    const char* base = std::getenv("TEST_TMPDIR");
    std::string name = std::string(base ? base : "/tmp") + "/config_test.XXXXXX";
    REQUIRE(mkdtemp(name.data()) != nullptr);
    path_ = std::filesystem::canonical(name).string();
  }
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

TEST_CASE("paths are relative to the file's folder, or to the current one in overrides") {
  const Folder folder;
  MakeDirectories(folder / "configs");
  WriteFileAtomic(folder / "feats.scp", "");
  WriteFileAtomic(folder / "configs/job.yaml", "data: {feats: ../feats.scp, cache: ./a/../b/}\n");
  SampleJob job;
  const auto describe = [&](Fields* f) { job.Describe(f); };
  LoadConfig({folder / "configs/job.yaml", {}}, describe);
  CHECK(job.data.feats == folder / "feats.scp");
  CHECK(job.data.cache == folder / "configs/a/../b/");  // a may be a link
  LoadConfig({folder / "configs/job.yaml", {"data.cache=b", "data.feats="}}, describe);
  CHECK(job.data.cache == std::filesystem::current_path().string() + "/b");
  CHECK(job.data.feats.empty());
}

TEST_CASE("variables expand in paths, and an input that is not there is a mistake") {
  const Folder folder;
  WriteFileAtomic(folder / "a", "");
  setenv("MARIANA_CONFIG_TEST", folder.path().c_str(), 1);
  unsetenv("MARIANA_CONFIG_TEST_UNSET");
  const Loaded loaded(
      "data: {feats: '${MARIANA_CONFIG_TEST}/a', cache: '${MARIANA_CONFIG_TEST}/$$x$y'}\n"
      "name: ${MARIANA_CONFIG_TEST}");
  CHECK(loaded.job.data.feats == folder / "a");
  CHECK(loaded.job.data.cache == folder / "$x$y");
  CHECK(loaded.job.name == "${MARIANA_CONFIG_TEST}");  // not a path
  CHECK(MistakesIn("data:\n"
                   "  feats: ${MARIANA_CONFIG_TEST}/b\n"
                   "  cache: ${MARIANA_CONFIG_TEST_UNSET}/x\n"
                   "  sets: [{name: a, file: 'x${HOME'}, {name: b, file: \"\\0\"}]\n") ==
        "job.yaml:2:10: data.feats: no such file or folder: " + folder / "b" +
            "\n"
            "job.yaml:3:10: data.cache: the variable ${MARIANA_CONFIG_TEST_UNSET} is not set\n"
            "job.yaml:4:26: data.sets.0.file: \"${\" without its \"}\" "
            "(write $$ for a plain $)\n"
            "job.yaml:4:54: data.sets.1.file: a path cannot hold a zero byte");
  CHECK_THAT(MistakesIn("data: {feats: ~/a}"),
             Catch::EndsWith("/~/a; ~ does not expand, ${HOME} does"));
  CHECK_THAT(MistakesIn("data: {cache: '${}'}"), Catch::EndsWith("the variable ${} is not set"));
}

TEST_CASE("a config file that cannot be read is a usage error") {
  const Folder folder;
  SampleJob job;
  try {
    LoadConfig({folder / "none.yaml", {}}, [&](Fields* f) { job.Describe(f); });
    FAIL("it was read");
  } catch (const Error& error) {
    CHECK(error.code() == ExitCode::kUsage);
    CHECK(error.message() == "cannot read " + folder / "none.yaml" + ": No such file or directory");
  }
}

}  // namespace
}  // namespace mariana
