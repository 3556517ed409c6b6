#include "common/train/import_model.h"

#include <catch2/catch.hpp>

#include "common/train/net_values.h"
#include "tests/common/nn/net_rig.h"

namespace mariana {
namespace {

using Missing = ImportSpec::Missing;
using Unexpected = ImportSpec::Unexpected;

HostTensor Values(const std::string& name, const Shape& shape, float first) {
  std::vector<float> v(static_cast<size_t>(shape.elements()));
  for (size_t i = 0; i < v.size(); ++i) v[i] = first + static_cast<float>(i);
  return HostTensor::F32(name, shape, v.data());
}

// What a net of a body and a head starts with: zeros.
std::vector<HostTensor> Fresh() {
  return {EmptyF32("body.weight", {2, 3}), EmptyF32("body.bias", {2}),
          EmptyF32("fc.weight", {2, 2}), EmptyF32("fc.bias", {2}),
          EmptyF32("body.running_mean", {2})};
}

LoadedModel File() {
  return {"m.safetensors",
          {Values("body.weight", {2, 3}, 1), Values("body.bias", {2}, 10),
           Values("fc.weight", {2, 2}, 20), Values("fc.bias", {2}, 30),
           Values("body.running_mean", {2}, 40)},
          {}};
}

std::string WhyRefused(const LoadedModel& file, const ImportSpec& spec) {
  try {
    ImportValues(file, spec, Fresh(), "fc");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kBadData);
    return e.message();
  }
  return "";
}

}  // namespace

TEST_CASE("A file that fits gives every value, whatever the order and type of its tensors") {
  LoadedModel file = File();
  std::swap(file.tensors[0], file.tensors[3]);
  file.tensors.push_back({"bn.num_batches_tracked", Dtype::kI64, Shape(), std::vector<char>(8)});
  // bf16: 1.0, -2.5
  file.tensors[1] = {"body.bias", Dtype::kBF16, {2}, {'\x80', '\x3f', '\x20', '\xc0'}};
  const ImportedModel model = ImportValues(file, {}, Fresh(), "fc");
  REQUIRE(model.tensors.size() == 5);
  CHECK(model.tensors[0].name == "body.weight");
  CHECK(model.tensors[0].f32()[5] == 6);
  CHECK(model.tensors[1].f32()[0] == 1);
  CHECK(model.tensors[1].f32()[1] == -2.5f);
  CHECK(model.tensors[4].f32()[1] == 41);
  CHECK(model.line == "m.safetensors: 5 tensors");
}

TEST_CASE("All that does not fit is named in one message, with the ways out") {
  LoadedModel file = File();
  file.tensors[0] = Values("trunk.weight", {2, 3}, 0);
  file.tensors[1].name = "trunk.bias";
  file.tensors[2] = Values("fc.weight", {5, 2}, 0);
  file.tensors[3] = {"fc.bias", Dtype::kI64, {2}, std::vector<char>(16)};
  CHECK(WhyRefused(file, {}) ==
        "m.safetensors: does not fit the net; missing: body.weight, body.bias; unexpected: "
        "trunk.bias, trunk.weight; different: fc.weight is f32 [5, 2], not [2, 2], fc.bias is i64 "
        "[2], not [2]; in train.import: new_head: true starts \"fc\" anew, missing: init starts "
        "those anew, unexpected: ignore leaves those out, map renames");

  ImportSpec spec;
  spec.missing = Missing::kInitialise;
  spec.unexpected = Unexpected::kIgnore;
  spec.new_head = true;
  const ImportedModel model = ImportValues(file, spec, Fresh(), "fc");
  CHECK(model.tensors[0].f32()[5] == 0);
  CHECK(model.tensors[4].f32()[0] == 40);
  CHECK(model.line ==
        "m.safetensors: 1 tensors; new: body.weight, body.bias, fc.weight, fc.bias; left out: "
        "trunk.bias, trunk.weight");
  file.tensors.pop_back();
  CHECK_THAT(WhyRefused(file, spec), Catch::Contains("no tensor has a name of the net's"));
}

TEST_CASE("A new head keeps its first values even where the file's would fit") {
  ImportSpec spec;
  spec.new_head = true;
  const ImportedModel model = ImportValues(File(), spec, Fresh(), "fc");
  CHECK(model.tensors[0].f32()[0] == 1);
  CHECK(model.tensors[2].f32()[0] == 0);
  CHECK(model.tensors[3].f32()[1] == 0);
}

TEST_CASE("Prefixes are renamed by the first rule that fits") {
  LoadedModel file = File();
  for (HostTensor& t : file.tensors) t.name = "module." + t.name;
  file.tensors[2].name = "module.head.weight";
  file.tensors[3].name = "module.head.bias";
  ImportSpec spec;
  spec.map = {{"module.head.", "fc."}, {"module.", ""}};
  CHECK(ImportValues(file, spec, Fresh(), "fc").tensors[2].f32()[3] == 23);
  spec.map.push_back({"moduel.", ""});
  CHECK(WhyRefused(file, spec) ==
        "m.safetensors: import.map.2: no tensor begins with \"moduel.\" that an earlier rule has "
        "not taken");
  spec.map = {{"module.head.", "body."}, {"module.", ""}};
  CHECK_THAT(WhyRefused(file, spec), Catch::Contains("makes \"body.weight\" of both"));
}

TEST_CASE("A net takes over what another one of the same layers but the last has learned") {
  const auto device = MakeCpuDevice(0, 1, -1);
  const std::string body =
      "layers: [{type: linear, units: 4, name: body}, {type: batch_norm}, {type: linear, name: "
      "fc}]";
  NetRig from(device.get(), body, {2, 3, 7}), to(device.get(), body, {2, 3, 5});
  from->Initialize(9);
  CHECK(HeadOf(to.net()->plan()) == "fc");
  ImportSpec spec;
  spec.new_head = true;
  const std::vector<float> head = to.Param(to.Find("fc.weight"));
  const ImportedModel model = ImportValues({"m", SaveNetValues(from.net()), {}}, spec,
                                           SaveNetValues(to.net()), HeadOf(to.net()->plan()));
  LoadNetValues(to.net(), model.tensors, "m");
  CHECK(to.Param(to.Find("body.weight")) == from.Param(from.Find("body.weight")));
  CHECK(to.Param(to.Find("fc.weight")) == head);
}

}  // namespace mariana
