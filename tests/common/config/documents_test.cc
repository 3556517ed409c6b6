// What is generated from the descriptions: the effective config, CONFIG.md, the JSON Schema.
#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/config/config.h"
#include "tests/common/config/sample_spec.h"

namespace mariana {
namespace {

EffectiveConfig Load(const std::string& text, const std::vector<std::string>& overrides = {}) {
  SampleJob job;
  return LoadConfigText(text, "speech.yaml", "/configs", overrides,
                        [&](Fields* f) { job.Describe(f); });
}

TEST_CASE("the effective config names every value and where it is from") {
  const std::string here = std::filesystem::current_path().string();
  const EffectiveConfig effective = Load(
      "name: yes\n"
      "train:\n"
      "  epochs: 3\n"
      "data:\n"
      "  splice: [1,\n"
      "           2]\n"
      "  sets:\n"
      "    - name: \"a \\\"b\\\"\"\n"
      "      file: x$$y\n"
      "net:\n"
      "  layers:\n"
      "    - type: residual\n"
      "      layers: [{type: relu}]\n",
      {"train.save_every=2min", "train.optimizer={rule: adam}"});
  CHECK(effective.yaml ==
        "name: \"yes\"  # speech.yaml:1\n"
        "train:\n"
        "  epochs: 3  # speech.yaml:3\n"
        "  batch_size: 256  # default\n"
        "  shuffle: true  # default\n"
        "  save_every: 120  # override\n"
        "  optimizer:\n"
        "    rule: adam  # override\n"
        "    learning_rate: 0.1  # default\n"
        "    momentum: 0  # default\n"
        "data:\n"
        "  feats: \"\"  # default\n"
        "  cache: " +
            here +
            "/cache  # default\n"
            "  buffer: 1048576  # default\n"
            "  splice: [1, 2]  # speech.yaml:5\n"
            "  gains: []  # default\n"
            "  phones: [sil]  # default\n"
            "  sets:\n"
            "    - name: \"a \\\"b\\\"\"  # speech.yaml:8\n"
            "      file: \"/configs/x$$y\"  # speech.yaml:9\n"
            "net:\n"
            "  layers:\n"
            "    - type: residual  # speech.yaml:12\n"
            "      name: \"\"  # default\n"
            "      layers:\n"
            "        - type: relu  # speech.yaml:13\n"
            "          name: \"\"  # default\n");
  CHECK(effective.hash.size() == 16);
  CHECK(effective.hash.find_first_not_of("0123456789abcdef") == std::string::npos);
}

TEST_CASE("the effective config reads back to the same values and hash, from any folder") {
  setenv("MARIANA_CONFIG_TEST", "/x y/$z", 1);
  const std::vector<std::string> texts{
      "",
      "name: \"\\x01\\t\\n\\\\ \\\"'#: {[&*!|>%@ \xC3\xA9 \"",
      "data: {gains: [1e300, -2.5e-8, 1e15, 0.1, -0.0, 123456789012345680]}",
      "data: {phones: ['', ' ', null word, 'null', '~', '1', 'true', '- a', 'a: b', '.5', inf]}",
      "data: {cache: 'a${MARIANA_CONFIG_TEST}$$${MARIANA_CONFIG_TEST}$$$$', sets: [{name: x, file: "
      "'c: d #e'}]}",
      "net: {layers: [{type: linear, units: 3, bias: false}, {type: residual, layers: [{type: "
      "residual, layers: [{type: relu, name: deep}]}]}]}"};
  for (const std::string& text : texts) {
    INFO(text);
    const EffectiveConfig first = Load(text);
    SampleJob job;
    const EffectiveConfig again = LoadConfigText(first.yaml, "job.yaml", "/elsewhere", {},
                                                 [&](Fields* f) { job.Describe(f); });
    CHECK(again.hash == first.hash);
    CHECK(PrintConfig([&](Fields* f) { job.Describe(f); }).find('#') ==
          PrintConfig([&](Fields* f) { job.Describe(f); }).rfind('#'));  // no comments
  }
}

TEST_CASE("the hash is over values: not over origins, order or spelling, but over every value") {
  const std::string hash = Load("train: {epochs: 3, save_every: 60}").hash;
  CHECK(Load("train:\n  save_every: 1min\n  epochs: 3\n").hash == hash);
  CHECK(Load("", {"train.epochs=3", "train.save_every=60s"}).hash == hash);
  CHECK(Load("train: {epochs: 4, save_every: 60}").hash != hash);
  CHECK(Load("train: {epochs: 3, save_every: 61}").hash != hash);
}

TEST_CASE("PrintConfig prints what a struct holds, empty sections and lists too") {
  struct Empty {
    void Describe(Fields*) {}
  };
  struct Odd {
    Empty empty;
    std::vector<Empty> several{2};
    std::vector<SampleSet> none;
    std::vector<std::vector<double>> unused;
    void Describe(Fields* f) {
      f->Section("empty", &empty, "Nothing.");
      f->List("several", &several, "Nothings.");
      f->List("none", &none, "None.");
    }
  } odd;
  CHECK(PrintConfig([&](Fields* f) { odd.Describe(f); }) ==
        "empty: {}\nseveral:\n  - {}\n  - {}\nnone: []\n");
}

TEST_CASE("CONFIG.md has a table for each section and each type once") {
  SampleJob job;
  const std::string page = DocumentConfig("Sample job", [&](Fields* f) { job.Describe(f); });
  CHECK(page.find("# Sample job\n") == 0);
  for (const char* part :
       {"\n## `train.optimizer`\n\nHow values follow gradients.\n\n| key | type | default | range "
        "| meaning |\n|---|---|---|---|---|\n| `rule` | word | `sgd` | `sgd`, `adam` | How values "
        "follow gradients. |\n| `learning_rate` | number | `0.1` | above 0 | Step size. |\n"
        "| `momentum` | number | `0` | at least 0 and below 1 | Share of the last step. |\n",
        "| `batch_size` | whole number | `256` | at least 1 and at most 1048576 | Samples per "
        "step \\| all workers. |\n",
        "| `sets` | list of sections |  | at most 3 of them | Further sets. |\n",
        "\n## `data.sets[]`\n", "| `name` | text | required |  | Its name. |\n",
        "\n## `net.layers[]` of type `residual`\n\nx + f(x).\n",
        "| `feats` | path, must exist | `\"\"` |  | Features. |\n",
        "| `cache` | path | `cache` |  | Where to keep decoded data. |\n",
        "| `splice` | list of whole numbers | `[-1, 0, 1]` | at least -100 and at most 100 |",
        "| `layers` | list by `type`: `linear`, `relu`, `residual` |  | at least 1 of them |"}) {
    CHECK_THAT(page, Catch::Contains(part));
  }
  size_t chapters = 0;
  for (size_t at = 0; (at = page.find("of type `linear`", at)) != std::string::npos; ++at) {
    ++chapters;
  }
  CHECK(chapters == 1);
}

TEST_CASE("the JSON Schema closes every section, keeps ranges and recurs by reference") {
  SampleJob job;
  const auto schema =
      nlohmann::json::parse(ConfigJsonSchema("Sample", [&](Fields* f) { job.Describe(f); }));
  CHECK(schema["$schema"] == "https://json-schema.org/draft/2020-12/schema");
  CHECK(schema["additionalProperties"] == false);
  CHECK(schema["patternProperties"].contains("^x-"));
  const auto& train = schema["properties"]["train"];
  CHECK(train["additionalProperties"] == false);
  CHECK(train["type"] == nlohmann::json::array({"object", "null"}));
  CHECK(train["properties"]["batch_size"] ==
        nlohmann::json({{"type", "integer"},
                        {"minimum", 1},
                        {"maximum", 1048576},
                        {"default", 256},
                        {"description", "Samples per step | all workers."}}));
  const auto& optimizer = train["properties"]["optimizer"]["properties"];
  CHECK(optimizer["rule"]["enum"] == nlohmann::json::array({"sgd", "adam"}));
  CHECK(optimizer["learning_rate"]["exclusiveMinimum"] == 0);
  CHECK(optimizer["momentum"]["exclusiveMaximum"] == 1);
  const auto& sets = schema["properties"]["data"]["properties"]["sets"];
  CHECK(sets["maxItems"] == 3);
  CHECK(sets["items"]["anyOf"][0]["required"] == nlohmann::json::array({"name"}));
  const auto& layers = schema["properties"]["net"]["properties"]["layers"];
  CHECK(layers["items"]["$ref"] == "#/$defs/net.layers");
  const auto& types = schema["$defs"]["net.layers"];
  CHECK(types["properties"]["type"]["enum"] ==
        nlohmann::json::array({"linear", "relu", "residual"}));
  CHECK(types["allOf"][2]["if"]["properties"]["type"]["const"] == "residual");
  CHECK(types["allOf"][2]["then"]["$ref"] == "#/$defs/net.layers.residual");
  const auto& residual = schema["$defs"]["net.layers.residual"];
  CHECK(residual["properties"]["layers"]["items"]["$ref"] == "#/$defs/net.layers");
  CHECK(residual["additionalProperties"] == false);
  const auto& linear = schema["$defs"]["net.layers.linear"];
  CHECK(linear["anyOf"][0]["required"] == nlohmann::json::array({"units"}));
  CHECK_FALSE(linear["properties"]["units"].contains("default"));
}

TEST_CASE("a section with a required key, if nothing is included, is itself required") {
  struct Inner {
    std::string file;
    std::vector<std::string> words;
    void Describe(Fields* f) {
      f->Path("file", &file, PathKind::kInput, "A file.", Rule().Required());
      f->TextList("words", &words, "Words.", Rule().Required());
    }
  };
  struct Outer {
    Inner inner;
    void Describe(Fields* f) { f->Section("inner", &inner, "Inner."); }
  } outer;
  const auto schema =
      nlohmann::json::parse(ConfigJsonSchema("Outer", [&](Fields* f) { outer.Describe(f); }));
  CHECK(schema["anyOf"][0]["required"] == nlohmann::json::array({"inner"}));
  CHECK(schema["anyOf"][1]["required"] == nlohmann::json::array({"include"}));
  CHECK(schema["properties"]["inner"]["properties"].contains("include"));
  CHECK(schema["properties"]["inner"]["anyOf"][0]["required"] == nlohmann::json::array({"file", "words"}));
  CHECK(schema["properties"]["inner"]["type"] == "object");
  CHECK(schema["properties"]["inner"]["properties"]["words"]["anyOf"][0]["minItems"] == 1);
  CHECK_FALSE(schema.contains("$defs"));
}

}  // namespace
}  // namespace mariana
