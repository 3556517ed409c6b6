#include "common/train/safetensors.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "common/base/error.h"
#include "tests/common/train/scratch_folder.h"

namespace mariana {
namespace {

std::string Bytes(const std::vector<HostTensor>& tensors, const Metadata& metadata) {
  const ScratchFolder scratch;
  const std::string path = scratch / "x.safetensors";
  FileWriter out(path);
  WriteSafetensors(&out, tensors, metadata);
  out.Finish();
  return ReadFile(path);
}

std::vector<HostTensor> SomeTensors() {
  const float weight[] = {1, -2, 0.5f, 4, 5, 6};
  return {{"flags", Dtype::kU8, Shape({3}), {1, 2, 3}},
          HostTensor::F32("hidden.weight", Shape({2, 3}), weight),
          {"nothing", Dtype::kF32, Shape({0, 4}), {}},
          {"step", Dtype::kI64, Shape(), std::vector<char>(8, 7)},
          {"half", Dtype::kBF16, Shape({1}), {0, 1}},
          {"ids", Dtype::kI32, Shape({1, 1}), {1, 0, 0, 0}}};
}

// A file with this header (not padded) and this many data bytes.
std::string File(const std::string& header, size_t data_bytes = 0) {
  std::string file(8, '\0');
  for (int i = 0; i < 8; ++i) file[i] = static_cast<char>(header.size() >> (8 * i));
  return file + header + std::string(data_bytes, '\x01');
}

std::string WhyRefused(const std::string& contents) {
  try {
    SafetensorsFile::FromMemory(contents, "m.safetensors");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kBadData);
    return e.message();
  }
  return "";
}

TEST_CASE("What is written is read back, with types, shapes and metadata") {
  const std::vector<HostTensor> tensors = SomeTensors();
  const Metadata metadata = {{"net", "layers:\n  - \"linear\"\n"}, {"é", "\t\\"}};
  const std::string contents = Bytes(tensors, metadata);
  CHECK(static_cast<int64_t>(contents.size()) == SafetensorsBytes(tensors, metadata));
  const SafetensorsFile file = SafetensorsFile::FromMemory(contents, "m");
  CHECK(file.metadata() == metadata);
  REQUIRE(file.tensors().size() == tensors.size());
  for (const HostTensor& t : tensors) {
    const HostTensor read = file.Read(t.name);
    CHECK(read.name == t.name);
    CHECK(read.dtype == t.dtype);
    CHECK(read.shape == t.shape);
    CHECK(read.bytes == t.bytes);
    // Aligned to its own width, counted from the start of the file.
    const int64_t data_begin = static_cast<int64_t>(contents.size()) - (8 + 24 + 4 + 2 + 3);
    CHECK(data_begin % 8 == 0);
    CHECK(file.Find(t.name)->offset % SizeOf(t.dtype) == 0);
  }
  CHECK(file.Read("hidden.weight").f32()[2] == 0.5f);
  CHECK(file.ReadAll().size() == tensors.size());
  CHECK(file.Find("absent") == nullptr);
  CHECK_THROWS_WITH(file.Read("absent"), "m: tensor \"absent\": is not there");
}

TEST_CASE("A file's bytes are the format's: length, padded JSON header, data") {
  const float values[] = {1, 2};
  const std::string expected =
      std::string("\x50\0\0\0\0\0\0\0", 8) +
      R"({"__metadata__":{"a":"b"},"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} )" +
      std::string("\0\0\x80\x3f\0\0\0\x40", 8);
  CHECK(Bytes({HostTensor::F32("w", Shape({2}), values)}, {{"a", "b"}}) == expected);
  CHECK(Bytes({}, {}) == std::string("\x08\0\0\0\0\0\0\0{}      ", 16));
}

TEST_CASE("Half and double precision are read as f32") {
  const uint16_t half[] = {0x3c00, 0xc100, 0x0001, 0x83ff, 0x7bff, 0x7c00, 0xfe00, 0x8000};
  const double wide[] = {1.0 / 3, -1e30};
  std::string file = File(R"({"half":{"dtype":"F16","shape":[2,4],"data_offsets":[0,16]},)"
                          R"("wide":{"dtype":"F64","shape":[2],"data_offsets":[16,32]}})");
  file.append(reinterpret_cast<const char*>(half), sizeof(half));
  file.append(reinterpret_cast<const char*>(wide), sizeof(wide));
  const SafetensorsFile read = SafetensorsFile::FromMemory(file, "m");
  const HostTensor h = read.Read("half"), w = read.Read("wide");
  REQUIRE(h.bytes.size() == 8 * sizeof(float));
  const float expected[] = {1, -2.5f, 5.9604645e-8f, -6.0975552e-5f, 65504};
  for (int i = 0; i < 5; ++i) CHECK(h.f32()[i] == expected[i]);
  CHECK(h.f32()[5] == std::numeric_limits<float>::infinity());
  CHECK(std::isnan(h.f32()[6]));
  CHECK((h.f32()[7] == 0 && std::signbit(h.f32()[7])));
  CHECK(w.f32()[0] == 1.0f / 3);
  CHECK(w.f32()[1] == -1e30f);
  CHECK_THAT(WhyRefused(File(R"({"x":{"dtype":"F16","shape":[2],"data_offsets":[0,8]}})", 8)),
             Catch::Contains("takes 4 bytes"));
}

TEST_CASE("A file on disk is read on demand, and its mistakes name it") {
  const ScratchFolder scratch;
  const std::string path = scratch / "m.safetensors";
  WriteFileAtomic(path, Bytes(SomeTensors(), {}));
  const SafetensorsFile file(path);
  CHECK(file.Read("flags").bytes == std::vector<char>{1, 2, 3});
  std::filesystem::resize_file(path, std::filesystem::file_size(path) - 3);
  CHECK_THROWS_WITH(file.Read("flags"), Catch::Contains("became shorter"));
  CHECK_THROWS_WITH(
      SafetensorsFile(path),
      Catch::StartsWith(path + ": tensor \"flags\": ends at") && Catch::EndsWith("truncated"));
  CHECK_THROWS_WITH(SafetensorsFile(scratch.path()), Catch::Contains("not a file"));
  CHECK_THROWS_WITH(SafetensorsFile(scratch / "absent"), Catch::Contains("No such file"));
}

TEST_CASE("A file whose length or header is wrong is refused with what is wrong") {
  CHECK(WhyRefused("").find("only 0 bytes") != std::string::npos);
  CHECK(WhyRefused(std::string(8, '\xff')).find("at most 100 MB") != std::string::npos);
  CHECK(WhyRefused(File("{}").substr(0, 9)).find("truncated: its header takes 2 bytes, 1") !=
        std::string::npos);
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"", "not JSON"},
      {"{", "not JSON"},
      {"{} x", "not JSON from its byte 4 on"},
      {"[]", "the header must be an object"},
      {"7", "the header must be an object"},
      {R"({"x":3})", R"(tensor "x": must be an object, not 3)"},
      {R"({"__metadata__":{"a":1}})", R"("__metadata__": "a" cannot be 1)"},
      {R"({"__metadata__":{"a":{}}})", R"("a" cannot be an object)"},
      {R"({"__metadata__":{"a":["b"]}})", R"("a" cannot be a list)"},
      {R"({"__metadata__":{"a":"b","a":"c"}})", R"("a" is there twice)"},
      {R"({"x":{}})", "dtype is missing"},
      {R"({"x":{"dtype":"F32","shape":[]}})", "data_offsets is missing"},
      {R"({"x":{"dtype":"F32","offset":1}})", "unknown field \"offset\""},
      {R"({"x":{"dtype":"F99"}})",
       R"(dtype "F99" is not one of F64, F32, F16, BF16, I64, I32, U8)"},
      {R"({"x":{"dtype":["F32"]}})", R"("dtype" cannot be a list)"},
      {R"({"x":{"shape":"2"}})", R"("shape" cannot be a text)"},
      {R"({"x":{"shape":[-1]}})", R"("shape" cannot be -1)"},
      {R"({"x":{"shape":[1.5]}})", R"("shape" cannot be 1.5)"},
      {R"({"x":{"shape":[[1]]}})", R"("shape" cannot be a list)"},
      {R"({"x":{"shape":[null]}})", R"("shape" cannot be null)"},
      {R"({"x":{"shape":[18446744073709551615]}})", "too large"},
      {R"({"x":{"shape":[1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1]}})",
       "shape is longer than 32"},
      {R"({"x":{"data_offsets":[0]}})", "must be [begin, end]"},
      {R"({"x":{"data_offsets":[4,0]}})", "must be [begin, end]"},
  };
  for (const auto& [header, why] : cases) {
    INFO(header);
    CHECK_THAT(WhyRefused(File(header)), Catch::Contains(why));
  }
}

TEST_CASE("Tensors must cover the data exactly: no overflow, overlap, hole or rest") {
  const auto tensor = [](const std::string& name, const std::string& shape, const std::string& at) {
    return "\"" + name + "\":{\"dtype\":\"U8\",\"shape\":" + shape + ",\"data_offsets\":" + at +
           "}";
  };
  const std::string a = tensor("a", "[4]", "[0,4]");
  CHECK(WhyRefused(File("{" + a + "}", 4)).empty());
  CHECK(WhyRefused(File("{" + tensor("b", "[2]", "[4,6]") + "," + a + "}", 6)).empty());
  const std::vector<std::pair<std::string, std::string>> cases = {
      {a + "," + a, "tensor \"a\": is there twice"},
      {tensor("a", "[3]", "[0,4]"), "takes 3 bytes, data_offsets give 4"},
      {tensor("a", "[4294967296,4294967296]", "[0,4]"), "too large"},
      {tensor("a", "[9]", "[0,9]"), "ends at byte 9 of 4: the file is truncated"},
      {tensor("a", "[4]", "[9223372036854775803,9223372036854775807]"), "truncated"},
      {a + "," + tensor("b", "[2]", "[2,4]"), "tensor \"b\": overlaps"},
      {tensor("a", "[3]", "[1,4]"), "1 bytes before it belong to no tensor"},
      {tensor("a", "[3]", "[0,3]"), "1 bytes at the end belong to no tensor"},
      {tensor("line\\nbreak", "[1]", "[0,4]"), "tensor \"line\\nbreak\": shape"},
  };
  for (const auto& [tensors, why] : cases) {
    INFO(tensors);
    CHECK_THAT(WhyRefused(File("{" + tensors + "}", 4)), Catch::Contains(why));
  }
  std::string many = "{";
  for (int i = 0; i <= 100'000; ++i) {
    many += (i ? "," : "") + tensor(std::to_string(i), "[0]", "[0,0]");
  }
  CHECK(WhyRefused(File(many + "}")).find("more than 100000 tensors") != std::string::npos);
}

}  // namespace
}  // namespace mariana
