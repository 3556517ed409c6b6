#include "mariana_cluster/feed/joined_features.h"

#include <catch2/catch.hpp>
#include <cmath>

#include "common/base/files.h"
#include "common/data/rows/key_hash.h"
#include "common/train/safetensors.h"
#include "mariana_cluster/feed/click_feed.h"
#include "tests/common/data/rows/parse_text.h"

namespace mariana {
namespace {

const std::vector<float> kMatrix{1, 2, 3, 4, 5, 6};

std::string WriteTensor(const std::string& path, const Metadata& metadata,
                        const std::vector<HostTensor>& tensors) {
  FileWriter file(path);
  WriteSafetensors(&file, tensors, metadata);
  file.Finish();
  return path;
}

HostTensor Matrix() { return HostTensor::F32("layer", Shape({3, 2}), kMatrix.data()); }

std::string Npy(const std::string& dict, size_t floats) {
  std::string header = dict + std::string(63 - (10 + dict.size()) % 64, ' ') + "\n";
  std::string file("\x93NUMPY\x01\x00", 8);
  file += static_cast<char>(header.size());
  file += '\0';
  return file + header +
         std::string(reinterpret_cast<const char*>(kMatrix.data()), floats * sizeof(float));
}

const char kDict[] = "{'descr': '<f4', 'fortran_order': False, 'shape': (3, 1, 2), }";

TEST_CASE("features from a file stand behind a row's own, zeros where its id is not there") {
  const Scratch scratch;
  std::string path;
  SECTION("safetensors, as mariana_cnn writes it") {
    path = WriteTensor(scratch / "x.safetensors", {{"images", R"(["b.jpg","a","c"])"}}, {Matrix()});
  }
  SECTION("safetensors of others") {
    path = WriteTensor(scratch / "x.safetensors", {{"ids", R"(["b.jpg", "a", "c"])"}}, {Matrix()});
  }
  SECTION("npy") {
    path = scratch.Write("x.npy", Npy(kDict, 6));
    scratch.Write("x.txt", "b.jpg\na\r\nc");
  }
  const JoinedFeatures features(path);
  CHECK(features.rows() == 3);
  CHECK(features.columns() == 2);
  RowBatch batch;
  batch.rows = 4;
  batch.dense_columns = 1;
  batch.dense = {10, 20, 30, 40};
  for (const char* id : {"c", "nobody", "a", "b.jpg"}) batch.id.push_back(HashText(id));
  features.AppendTo(&batch);
  CHECK(batch.dense_columns == 3);
  CHECK(batch.dense == std::vector<float>{10, 5, 6, 20, 0, 0, 30, 3, 4, 40, 1, 2});
  batch.dense_columns = 0;
  batch.dense.clear();
  features.AppendTo(&batch);
  CHECK(batch.dense == std::vector<float>{5, 6, 0, 0, 3, 4, 1, 2});
  CHECK(features.joined() == 8);
  CHECK(features.missing() == 2);
}

TEST_CASE("a feed joins features to the rows of every epoch") {
  const Scratch scratch;
  const RowSpec spec = SpecOf("format: csv\nid: user\nfields: [{name: n, kind: numeric}]\n");
  const RowFiles files({scratch.Write("x.csv", "label,user,n\n1,a,7\n0,z,8\n0,c,9\n")}, spec);
  const RowPlan plan(spec);
  const JoinedFeatures features(
      WriteTensor(scratch / "x.safetensors", {{"ids", R"(["b","a","c"])"}}, {Matrix()}));
  BadRows bad(0, nullptr);
  ClickFeed::Options options;
  options.joined = &features;
  options.cache = true;
  ClickFeed feed(Clock::Real(), &plan, &files, files.Shards(1), nullptr, options, &bad);
  for (const int64_t epoch : {0, 1}) {
    std::unique_ptr<ClickBatch> batch;
    feed.StartEpoch(epoch);
    REQUIRE(feed.Next(&batch));
    float sum = 0;
    for (size_t r = 0; r < 3; ++r) {
      sum += batch->rows.dense[3 * r] * batch->rows.dense[3 * r + 1];
    }
    CHECK(sum == 7 * 3 + 8 * 0 + 9 * 5);
    CHECK_FALSE(feed.Next(&batch));
  }
  CHECK(features.missing() == 2);
  const RowPlan no_ids(SpecOf("format: csv\nfields: [{name: n, kind: numeric}]\n"));
  CHECK_THROWS_AS(
      ClickFeed(Clock::Real(), &no_ids, &files, files.Shards(1), nullptr, options, &bad), Error);
}

TEST_CASE("a file that cannot be joined says why") {
  const Scratch scratch;
  const auto told = [&](const std::string& path) {
    return scratch.Strip(BadData([&] { JoinedFeatures features(path); }));
  };
  const auto tensors = [&](const Metadata& metadata, const std::vector<HostTensor>& all) {
    return told(WriteTensor(scratch / "x.safetensors", metadata, all));
  };
  CHECK(tensors({{"ids", "[\"a\"]"}}, {Matrix()}) == "x.safetensors: has 3 rows and 1 ids");
  CHECK(tensors({{"ids", R"(["a","b","a"])"}}, {Matrix()}) ==
        "x.safetensors: id \"a\" is there twice");
  const std::string list = "x.safetensors: the metadata \"ids\" must be a JSON list of texts";
  CHECK(tensors({}, {Matrix()}) == list);
  CHECK(tensors({{"ids", "[1,2,3]"}}, {Matrix()}) == list);
  CHECK(tensors({{"ids", "[\"a\""}}, {Matrix()}) == list);
  HostTensor other = Matrix();
  other.name = "other";
  CHECK(tensors({}, {Matrix(), other}) ==
        "x.safetensors: has 2 tensors; expected one, [ids, columns]");
  other.dtype = Dtype::kI32;
  CHECK(tensors({}, {other}) == "x.safetensors: tensor \"other\" is not float32");
  CHECK(told(scratch / "none.npy") == "none.npy: cannot open: No such file or directory");
  CHECK(told(scratch.Write("e.npy", "")) == "e.npy: is no .npy file, or cut short");
  const std::string npy = Npy(kDict, 6);
  CHECK(told(scratch.Write("c.npy", npy.substr(0, 50))) == "c.npy: is no .npy file, or cut short");
  const std::string shape =
      "s.npy: must be a matrix [ids, columns], and is empty, cut short or of another shape";
  CHECK(told(scratch.Write("s.npy", Npy(kDict, 5))) == shape);
  for (const char* dims :
       {"()", "(0, 2)", "(3, 99999999999999999999)", "(4611686018427387904, 4)"}) {
    const std::string dict =
        StrCat("{'descr': '<f4', 'fortran_order': False, 'shape': ", dims, ", }");
    CHECK(told(scratch.Write("s.npy", Npy(dict, 6))) == shape);
  }
  CHECK(told(scratch.Write("d.npy", Npy("{'descr': '<f8', 'fortran_order': False}", 6))) ==
        "d.npy: must be float32 in C order; save numpy.ascontiguousarray(x, '<f4')");
  HostTensor infinite = Matrix();
  infinite.f32()[3] = INFINITY;
  const JoinedFeatures features(
      WriteTensor(scratch / "i.safetensors", {{"ids", R"(["a","b","c"])"}}, {infinite}));
  RowBatch batch;
  batch.rows = 1;
  batch.id = {HashText("b")};
  CHECK(scratch.Strip(BadData([&] { features.AppendTo(&batch); })) ==
        "i.safetensors: row 1 (from 0) has a value that is NaN or infinite");
}

}  // namespace
}  // namespace mariana
