#include "common/data/images/image_sets.h"

#include <lmdb.h>
#include <zlib.h>

#include <catch2/catch.hpp>
#include <filesystem>
#include <map>
#include <set>

#include "common/config/config.h"
#include "common/data/images/broken_images.h"
#include "common/data/images/datum.h"
#include "common/data/images/pack.h"
#include "common/data/images/tar_index.h"
#include "common/data/images/tar_writer.h"
#include "tests/common/data/scratch.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

ImageSetSpec Spec(ImageSetType type, const std::string& path) {
  ImageSetSpec spec;
  spec.type = type;
  spec.path = path;
  return spec;
}

// What OpenImages says is wrong; "" when nothing is.
std::string Complaint(const Scratch& dir, const ImageSetSpec& spec) {
  return dir.Strip(BadData([&] { OpenImages(spec); }));
}

std::string BytesOf(const ImageSource& images, int64_t i) {
  ImageBytes b;
  images.Read(i, &b);
  return {b.bytes.begin(), b.bytes.end()};
}

// A file that begins like a JPEG.
std::string Jpeg(const std::string& rest) { return "\xFF\xD8\xFF" + rest; }

void WriteTree(const Scratch& dir, const std::vector<std::pair<std::string, std::string>>& files) {
  for (const auto& [name, contents] : files) {
    fs::create_directories(fs::path(dir / name).parent_path());
    dir.Write(name, contents);
  }
}

std::string BigEndian(std::vector<uint32_t> words) {
  std::string out;
  for (uint32_t w : words) {
    for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(w >> shift);
  }
  return out;
}

// ---- folders ----------------------------------------------------------------------------------

TEST_CASE("a folder's classes are its folders, sorted; what is no image is counted") {
  const Scratch dir;
  WriteTree(dir, {{"set/dog/b.JPG", Jpeg("dog b")},
                  {"set/dog/deep/a.png", "dog a"},
                  {"set/cat/x.jpeg", "cat x"},
                  {"set/cat/notes.txt", "no"},
                  {"set/cat/.hidden.jpg", "no"},
                  {"set/empty/readme", "no"},
                  {"set/top.jpg", "no"}});
  fs::create_symlink(dir / "set/cat/x.jpeg", dir / "set/dog/link.jpg");
  const ImageSet set = OpenImages(Spec(ImageSetType::kFolder, dir / "set"));
  const ImageSource& images = *set.images;
  CHECK(images.classes() == std::vector<std::string>{"cat", "dog"});
  REQUIRE(images.size() == 4);
  CHECK(images.id(0) == "cat/x.jpeg");
  CHECK(images.id(1) == "dog/b.JPG");
  CHECK(images.id(2) == "dog/deep/a.png");
  CHECK(images.id(3) == "dog/link.jpg");
  CHECK(images.label(0) == 0);
  CHECK(images.label(3) == 1);
  CHECK(BytesOf(images, 3) == "cat x");
  CHECK(images.blocks() == 4);
  REQUIRE(set.warnings.size() == 3);
  CHECK(dir.Strip(set.warnings[0]) == "set/empty: holds no images, so it is no class");
  CHECK(dir.Strip(set.warnings[1]) == "set: 2 files that are not images");
}

TEST_CASE("mistakes in a folder are told") {
  const Scratch dir;
  WriteTree(dir, {{"flat/a.jpg", "x"}, {"none/c/readme", "x"}, {"loop/c/a.jpg", "x"}});
  CHECK_THAT(Complaint(dir, Spec(ImageSetType::kFolder, dir / "flat")),
             Catch::Contains("1 images lie outside the folders of classes"));
  CHECK(Complaint(dir, Spec(ImageSetType::kFolder, dir / "none")) == "none: holds no images");
  CHECK_THAT(Complaint(dir, Spec(ImageSetType::kFolder, dir / "gone")),
             Catch::Contains("gone: cannot open: No such file"));
  fs::create_symlink(dir / "loop", dir / "loop/c/up");
  CHECK(Complaint(dir, Spec(ImageSetType::kFolder, dir / "loop")) ==
        "loop/c/up: is a link to a folder that it lies in");
}

TEST_CASE("a set follows the classes of a model, by name") {
  const Scratch dir;
  WriteTree(dir, {{"a/cat/1.jpg", "x"}, {"a/dog/2.jpg", "x"}});
  const std::vector<std::string> model{"bird", "dog", "cat"}, other{"bird", "cats", "dog"};
  OpenImagesOptions options;
  options.classes = &model;
  const ImageSet set = OpenImages(Spec(ImageSetType::kFolder, dir / "a"), options);
  CHECK(set.images->label(0) == 2);
  CHECK(set.images->label(1) == 1);
  CHECK(set.images->classes() == model);
  options.classes = &other;
  const std::string message =
      BadData([&] { OpenImages(Spec(ImageSetType::kFolder, dir / "a"), options); });
  CHECK(dir.Strip(message) ==
        "a/cat/1.jpg: class \"cat\" is not one of the 3 of the model; did you mean \"cats\"?");
}

TEST_CASE("the parts of a set are disjoint, cover it, and do not depend on its other images") {
  const Scratch dir;
  for (int i = 0; i < 200; ++i) WriteTree(dir, {{StrCat("s/c", i % 2, "/", i, ".jpg"), "x"}});
  ImageSetSpec spec = Spec(ImageSetType::kFolder, dir / "s");
  spec.holdout.of = 5;
  const auto ids = [&] {
    const ImageSet set = OpenImages(spec);
    std::set<std::string> all;
    for (int64_t i = 0; i < set.images->size(); ++i) all.insert(set.images->id(i));
    CHECK(set.images->block_begin(set.images->blocks()) == set.images->size());
    CHECK(set.images->classes().size() == 2);
    return all;
  };
  const std::set<std::string> rest = ids();
  spec.holdout.take_part = true;
  const std::set<std::string> part = ids();
  CHECK(part.size() > 20);
  CHECK(part.size() < 65);
  CHECK(part.size() + rest.size() == 200);
  for (const std::string& id : part) CHECK(rest.count(id) == 0);
  WriteTree(dir, {{"s/c0/new.jpg", "x"}});
  std::set<std::string> later = ids();
  later.erase("c0/new.jpg");
  CHECK(later == part);
}

// ---- lists ------------------------------------------------------------------------------------

TEST_CASE("a list gives classes by number or by name, or numbers") {
  const Scratch dir;
  WriteTree(dir, {{"p/a b.jpg", "A"}, {"p/c.jpg", "C"}});
  ImageSetSpec spec =
      Spec(ImageSetType::kList, dir.Write("n.txt", "p/a b.jpg 3\n\np/c.jpg\t0\r\n"));
  const ImageSet numbers = OpenImages(spec);
  REQUIRE(numbers.images->size() == 2);
  CHECK(numbers.images->label(0) == 3);
  CHECK(numbers.images->classes().size() == 4);
  CHECK(BytesOf(*numbers.images, 0) == "A");
  CHECK(dir.Strip(numbers.images->where(1)) == "n.txt:3: p/c.jpg");

  spec.path = dir.Write("w.txt", "p/c.jpg\tnew york\np/a b.jpg\tberlin\n");
  const ImageSet names = OpenImages(spec);
  CHECK(names.images->classes() == std::vector<std::string>{"berlin", "new york"});
  CHECK(names.images->label(0) == 1);

  spec.path = dir.Write("f.txt", "p/c.jpg 0.25\np/c.jpg 1\n");
  spec.target = ImageTarget::kNumber;
  const ImageSet clicks = OpenImages(spec);
  CHECK(clicks.images->classes().empty());
  CHECK(clicks.images->target(0) == 0.25f);
  CHECK(clicks.images->label(0) == -1);
  CHECK(clicks.images->id(0) == "p/c.jpg");
  CHECK(clicks.images->id(1) == "p/c.jpg#1");
}

TEST_CASE("bad lines of a list are named and counted") {
  const Scratch dir;
  ImageSetSpec spec = Spec(ImageSetType::kList, dir.Write("l.txt", "a.jpg 1\nalone\nb.jpg nan\n"));
  spec.target = ImageTarget::kNumber;
  CHECK(Complaint(dir, spec) ==
        "l.txt:2: \"alone\" has no label; expected `path label`\n"
        "l.txt:3: \"nan\" is not a number\n"
        "l.txt: 2 of 3 records are bad, max_bad_fraction allows 0; the first: "
        "l.txt:2: \"alone\" has no label; expected `path label`");
  spec.max_bad_fraction = 0.7;
  const ImageSet set = OpenImages(spec);
  CHECK(set.bad == 2);
  CHECK(set.images->size() == 1);
  ImageBytes bytes;
  CHECK_THAT(BadData([&] { set.images->Read(0, &bytes); }), Catch::Contains("a.jpg: cannot open"));
}

TEST_CASE("a file of class names names the classes of numbered labels") {
  const Scratch dir;
  ImageSetSpec spec = Spec(ImageSetType::kList, dir.Write("l.txt", "a.jpg 1\nb.jpg 0\n"));
  spec.classes = dir.Write("names", "zero\none\n\n");
  CHECK(OpenImages(spec).images->classes() == std::vector<std::string>{"zero", "one"});
  dir.Write("l.txt", "a.jpg 2\n");
  CHECK(Complaint(dir, spec) == "l.txt:1: a.jpg: label 2 is outside 0 to 1, the classes of names");
  dir.Write("names", "a\nb\na\n");
  CHECK(Complaint(dir, spec) == "names:3: class \"a\" stands in line 1 already");
}

// ---- IDX, CIFAR -------------------------------------------------------------------------------

TEST_CASE("IDX files are read, plain and gzip, and their mistakes are told") {
  const Scratch dir;
  const std::string pixels = BigEndian({0x00000803, 3, 2, 2}) + "abcdefghijkl";
  const std::string labels = BigEndian({0x00000801, 3}) + std::string("\2\0\1", 3);
  ImageSetSpec spec = Spec(ImageSetType::kIdx, dir.Write("images", pixels));
  spec.labels = dir.Write("labels", labels);
  const ImageSet set = OpenImages(spec);
  REQUIRE(set.images->size() == 3);
  CHECK(set.images->classes() == std::vector<std::string>{"0", "1", "2"});
  CHECK(set.images->label(0) == 2);
  ImageBytes image;
  set.images->Read(1, &image);
  CHECK((image.channels == 1 && image.height == 2 && image.width == 2));
  CHECK(std::string(image.bytes.begin(), image.bytes.end()) == "efgh");

  const gzFile gz = gzopen((dir / "images.gz").c_str(), "wb");
  gzwrite(gz, pixels.data(), static_cast<unsigned>(pixels.size()));
  gzclose(gz);
  spec.path = dir / "images.gz";
  CHECK(BytesOf(*OpenImages(spec).images, 2) == "ijkl");

  const auto images = [&](const std::string& contents) {
    spec.path = dir.Write("broken", contents);
    return Complaint(dir, spec);
  };
  CHECK_THAT(images("not idx"), Catch::Contains("broken: is no IDX file"));
  CHECK_THAT(images(pixels.substr(0, 20)), Catch::Contains("has 4 bytes of values, its header 12"));
  CHECK_THAT(images(BigEndian({0x00000803, 0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF})),
             Catch::Contains("its header tells of more than"));
  CHECK_THAT(images(BigEndian({0x00000D03, 1, 1, 1}) + "1234"), Catch::Contains("IDX type 13"));
  CHECK_THAT(images(labels), Catch::Contains("has 1 extents, expected those of images"));
  spec.path = dir / "images";
  dir.Write("labels", BigEndian({0x00000801, 2}) + std::string("\2\0", 2));
  CHECK_THAT(Complaint(dir, spec), Catch::Contains("labels: 2 labels, but 3 images in images"));
}

TEST_CASE("CIFAR's planes become pixels; its names are found beside it") {
  const Scratch dir;
  const auto record = [](const std::string& label, char red) {
    return label + std::string(1024, red) + std::string(1024, 'g') + std::string(1024, 'b');
  };
  WriteTree(dir, {{"c/data_batch_1.bin", record("\1", 'r') + record(std::string(1, '\0'), 's')},
                  {"c/data_batch_2.bin", record("\1", 't')},
                  {"c/batches.meta.txt", "plane\ncar\n\n"}});
  const ImageSet set = OpenImages(Spec(ImageSetType::kCifar10, dir / "c"));
  REQUIRE(set.images->size() == 3);
  CHECK(set.images->id(2) == "data_batch_2.bin/0");
  CHECK(set.images->label(2) == 1);
  CHECK(set.images->classes() == std::vector<std::string>{"plane", "car"});
  CHECK(BytesOf(*set.images, 1).substr(0, 6) == "sgbsgb");
  CHECK_THAT(Complaint(dir, Spec(ImageSetType::kCifar100, dir / "c/data_batch_2.bin")),
             Catch::Contains("3073 bytes, expected records of 3074 bytes (cifar100)"));
  WriteTree(dir, {{"train.bin", record(std::string("\3\7"), 'r')}});
  CHECK(OpenImages(Spec(ImageSetType::kCifar100, dir / "train.bin")).images->label(0) == 7);
  CHECK(OpenImages(Spec(ImageSetType::kCifar100Coarse, dir / "train.bin")).images->label(0) == 3);
}

// ---- LMDB -------------------------------------------------------------------------------------

void WriteLmdb(const std::string& path,
               const std::vector<std::pair<std::string, std::string>>& kv) {
  fs::create_directories(path);
  MDB_env* env = nullptr;
  MDB_txn* txn = nullptr;
  MDB_dbi dbi = 0;
  REQUIRE(mdb_env_create(&env) == 0);
  REQUIRE(mdb_env_open(env, path.c_str(), 0, 0664) == 0);
  REQUIRE(mdb_txn_begin(env, nullptr, 0, &txn) == 0);
  REQUIRE(mdb_dbi_open(txn, nullptr, 0, &dbi) == 0);
  for (auto [key, value] : kv) {
    MDB_val k{key.size(), key.data()}, v{value.size(), value.data()};
    REQUIRE(mdb_put(txn, dbi, &k, &v, 0) == 0);
  }
  REQUIRE(mdb_txn_commit(txn) == 0);
  mdb_env_close(env);
}

// channels, height, width; data; label (each below 128).
std::string DatumOf(int c, int h, int w, const std::string& data, int label) {
  const auto n = [](int v) { return std::string(1, static_cast<char>(v)); };
  return "\x08" + n(c) + "\x10" + n(h) + "\x18" + n(w) + "\x22" + n(static_cast<int>(data.size())) +
         data + "\x28" + n(label);
}

TEST_CASE("LMDB sets of Datum records give R, G, B and labels; broken records are named") {
  const Scratch dir;
  WriteLmdb(dir / "db", {{"00000000_a", DatumOf(3, 1, 2, "bBgGrR", 4)},
                         {"00000001_b", DatumOf(1, 1, 2, "xy", 0)},
                         {"00000002_c", "\x22\x04" + Jpeg("!") + "\x28\x01\x38\x01"},
                         {"00000003_d",
                          "\x22\x7F"
                          "short"}});
  ImageSetSpec spec = Spec(ImageSetType::kLmdb, dir / "db");
  CHECK_THAT(Complaint(dir, spec),
             Catch::Contains("db: key \"00000003_d\": not a Datum: a field of 127 bytes where 5"));
  spec.max_bad_fraction = 0.25;
  const ImageSet set = OpenImages(spec);
  REQUIRE(set.images->size() == 3);
  CHECK(set.images->classes().size() == 5);
  CHECK(set.images->label(0) == 4);
  CHECK(set.images->id(1) == "00000001_b");
  CHECK(BytesOf(*set.images, 0) == "rgbRGB");
  CHECK(BytesOf(*set.images, 1) == "xy");
  CHECK(BytesOf(*set.images, 2) == Jpeg("!"));
  CHECK(set.images->blocks() == 1);
}

TEST_CASE("LMDB sets of plain images have their class in the key") {
  const Scratch dir;
  WriteLmdb(dir / "db", {{"dog/1", Jpeg("d1")}, {"cat/1", Jpeg("c1")}, {"dog/0", Jpeg("d0")}});
  const ImageSet set = OpenImages(Spec(ImageSetType::kLmdb, dir / "db"));
  CHECK(set.images->classes() == std::vector<std::string>{"cat", "dog"});
  REQUIRE(set.images->size() == 3);
  CHECK(set.images->id(1) == "dog/0");
  CHECK(set.images->label(1) == 1);
  CHECK(BytesOf(*set.images, 1) == Jpeg("d0"));
  WriteLmdb(dir / "bare", {{"7", Jpeg("d1")}});
  CHECK_THAT(Complaint(dir, Spec(ImageSetType::kLmdb, dir / "bare")),
             Catch::Contains("key \"7\": a plain image needs a key CLASS/NAME"));
  CHECK_THAT(Complaint(dir, Spec(ImageSetType::kLmdb, dir / "nowhere")),
             Catch::Contains("nowhere: no LMDB there"));
}

TEST_CASE("an LMDB file that was cut short is refused, not read past its end") {
  const Scratch dir;
  std::vector<std::pair<std::string, std::string>> kv;
  for (int i = 0; i < 100; ++i) kv.emplace_back(StrCat("c/", i), Jpeg(std::string(3000, 'x')));
  WriteLmdb(dir / "db", kv);
  fs::resize_file(dir / "db/data.mdb", fs::file_size(dir / "db/data.mdb") / 2);
  CHECK_THAT(Complaint(dir, Spec(ImageSetType::kLmdb, dir / "db")),
             Catch::Contains("data.mdb: is cut short"));
}

TEST_CASE("a Datum's values may be floats that are whole numbers") {
  ImageBytes image;
  const std::string one("\0\0\x80\x3F", 4), half("\0\0\0\x3F", 4), header = "\x08\1\x10\1\x18\2";
  DatumToImage(ParseDatum(header + "\x32\x08" + one + one), &image);
  CHECK(image.bytes == std::vector<uint8_t>{1, 1});
  DatumToImage(ParseDatum(header + "\x35" + one + "\x35" + one), &image);
  CHECK(image.bytes == std::vector<uint8_t>{1, 1});
  CHECK_THAT(BadData([&] { DatumToImage(ParseDatum(header + "\x32\x08" + one + half), &image); }),
             Catch::Contains("float_data 1 is 0.5"));
  CHECK_THAT(BadData([&] { DatumToImage(ParseDatum(header + "\x22\1x"), &image); }),
             Catch::Contains("1 x 1 x 2 with 1 values"));
  CHECK_THAT(BadData([] {
               ParseDatum(
                   "\x0D"
                   "1234");
             }),
             Catch::Contains("field 1 has wire type 5"));
}

// ---- tar --------------------------------------------------------------------------------------

std::string WriteTar(const Scratch& dir, const std::string& name,
                     const std::vector<std::pair<std::string, std::string>>& files) {
  TarWriter tar(dir / name);
  for (const auto& [file, contents] : files) tar.Add(file, contents);
  tar.Finish();
  return dir / name;
}

TEST_CASE("tar shards group files by name; what lacks an image or a class is named") {
  const Scratch dir;
  const std::string longer(150, 'n');
  WriteTar(dir, "t-0.tar",
           {{"a/x.cls", " 2\n"},
            {"a/x.JPG", "X"},
            {"a/x.json", "{}"},
            {"y.seg.png", "no"},
            {"y.png", "Y"},
            {"y.cls", "0"}});
  WriteTar(dir, "t-1.tar",
           {{longer + ".jpg", "L"},
            {longer + ".cls", "1"},
            {"z.cls", "1"},
            {"w.jpg", "W"},
            {"v.jpg", "V"},
            {"v.cls", "cat"}});
  ImageSetSpec spec = Spec(ImageSetType::kTar, dir / "t-{0..1}.tar");
  CHECK_THAT(Complaint(dir, spec),
             Catch::Contains("t-1.tar: sample \"z\": has no image (.jpg, .png, ...)\n"
                             "t-1.tar: sample \"w\": has no .cls (a class number)\n"
                             "t-1.tar: sample \"v\": class \"cat\" is no number from 0\n"));
  spec.max_bad_fraction = 0.5;
  const ImageSet set = OpenImages(spec);
  REQUIRE(set.images->size() == 3);
  CHECK(set.images->id(0) == "t-0.tar/a/x");
  CHECK(set.images->id(2) == "t-1.tar/" + longer);
  CHECK(BytesOf(*set.images, 0) == "X");
  CHECK(BytesOf(*set.images, 1) == "Y");
  CHECK(BytesOf(*set.images, 2) == "L");
  CHECK(set.images->label(0) == 2);
  CHECK(set.images->blocks() == 2);
  CHECK(set.images->block_begin(1) == 2);
  spec.path = dir / "t-*.tar";
  CHECK(OpenImages(spec).images->size() == 3);
  spec.path = dir / "t-{0..2}.tar";
  CHECK(Complaint(dir, spec) == "t-2.tar: no such file");
  spec.path = dir / "u-*.tar";
  CHECK(Complaint(dir, spec) == "u-*.tar: matches no file");
}

TEST_CASE("an index is used while the shard is as it was, and made again otherwise") {
  const Scratch dir;
  const std::string tar = WriteTar(dir, "t.tar", {{"a.cls", "0"}, {"a.jpg", "A"}});
  CHECK(LoadTarIndex(tar, dir / "elsewhere").samples.size() == 1);
  CHECK(fs::exists(dir / "elsewhere/t.tar.index"));
  CHECK(LoadTarIndex(tar, "").samples.size() == 1);
  const auto time = fs::last_write_time(tar);
  // The same size and time: the index is believed.
  WriteTar(dir, "t.tar", {{"b.cls", "0"}, {"b.jpg", "B"}});
  fs::last_write_time(tar, time);
  CHECK(LoadTarIndex(tar, "").samples[0].key == "a");
  fs::last_write_time(tar, time + std::chrono::seconds(1));
  CHECK(LoadTarIndex(tar, "").samples[0].key == "b");
  std::string index = ReadFile(tar + ".index");
  index[index.size() / 2] ^= 1;
  dir.Write("t.tar.index", index);
  CHECK(LoadTarIndex(tar, "").samples[0].key == "b");
  CHECK(ReadFile(tar + ".index") != index);
}

TEST_CASE("a shard that ends too early gives the samples before, and says where") {
  const Scratch dir;
  const std::string tar = ReadFile(WriteTar(
      dir, "t.tar",
      {{"a.cls", "0"}, {"a.jpg", "A"}, {"b.cls", "0"}, {"b.jpg", std::string(3000, 'b')}}));
  ImageSetSpec spec = Spec(ImageSetType::kTar, dir.Write("cut.tar", tar.substr(0, 5000)));
  CHECK_THAT(Complaint(dir, spec),
             Catch::Contains("cut.tar: byte 3072: the archive is cut short: \"b.jpg\" has 3000"));
  spec.max_bad_fraction = 0.5;
  CHECK(OpenImages(spec).images->size() == 1);
  spec.path = dir.Write("zip.tar", "\x1f\x8b" + std::string(600, 'x'));
  CHECK_THAT(Complaint(dir, spec), Catch::Contains("is no tar header but gzip: unpack the shard"));
}

TEST_CASE("archives of Python's tarfile in its three formats are read") {
  for (const char* format : {"ustar", "gnu", "pax"}) {
    INFO(format);
    const std::string tar = ReadFile(StrCat("tests/golden/images/", format, ".tar"));
    const TarIndex index =
        ScanTar(format, static_cast<int64_t>(tar.size()), [&](int64_t at, void* to, size_t n) {
          n = static_cast<size_t>(at) >= tar.size() ? 0 : std::min(n, tar.size() - at);
          std::copy_n(tar.data() + at, n, static_cast<char*>(to));
          return n;
        });
    CHECK(index.problem.empty());
    REQUIRE(index.samples.size() == 3);
    CHECK(index.samples[0].key == "train/0");
    CHECK(index.samples[1].key == StrCat(std::string(90, 'd'), "/", std::string(90, 'n')));
    CHECK(index.samples[2].key ==
          (std::string(format) == "ustar" ? "plain" : "gr\xC3\xBC\xC3\x9F"));
    for (size_t k = 0; k < 3; ++k) {
      const TarSample& s = index.samples[k];
      CHECK(tar.substr(static_cast<size_t>(s.offset), static_cast<size_t>(s.size)) ==
            StrCat("image ", k));
      CHECK(s.label == std::to_string(k));
    }
  }
}

// ---- pack -------------------------------------------------------------------------------------

TEST_CASE("a packed folder reads back as it was, in shards, the same bytes each time") {
  const Scratch dir;
  std::map<std::string, std::string> contents;
  for (int i = 0; i < 20; ++i) {
    const std::string name = StrCat(i % 2 ? "dog" : "cat", "/im.g", i, ".jpg");
    contents[StrCat(i % 2 ? "dog" : "cat", "/im_g", i)] = Jpeg(std::string(100 * i, 'a' + i));
    WriteTree(dir, {{"in/" + name, Jpeg(std::string(100 * i, 'a' + i))}});
  }
  const ImageSet in = OpenImages(Spec(ImageSetType::kFolder, dir / "in"));
  PackOptions options;
  options.folder = dir / "out";
  options.shard_bytes = 8192;
  options.shuffle = true;
  options.seed = 3;
  const PackResult result = PackImages(*in.images, options);
  CHECK(result.images == 20);
  CHECK(result.shards > 3);
  const ImageSet out = OpenImages(Spec(ImageSetType::kTar, dir / "out/shard-*.tar"));
  REQUIRE(out.images->size() == 20);
  CHECK(out.images->classes() == std::vector<std::string>{"cat", "dog"});
  bool shuffled = false;
  for (int64_t i = 0; i < 20; ++i) {
    const std::string id = out.images->id(i), key = id.substr(id.find('/') + 1);
    CHECK(contents.at(key) == BytesOf(*out.images, i));
    CHECK(out.images->label(i) == (key[0] == 'd' ? 1 : 0));
    shuffled = shuffled || key[0] != (i < 10 ? 'c' : 'd');
  }
  CHECK(shuffled);
  options.folder = dir / "again";
  PackImages(*in.images, options);
  CHECK(ReadFile(dir / "out/shard-000001.tar") == ReadFile(dir / "again/shard-000001.tar"));
  CHECK(fs::exists(dir / "out/shard-000001.tar.index"));
  CHECK_THROWS_WITH(PackImages(*in.images, options), Catch::Contains("is there already"));
}

TEST_CASE("packing leaves nothing behind when it stops or fails, and names broken images") {
  const Scratch dir;
  WriteTree(dir, {{"in/c/a.jpg", Jpeg("a")}, {"in/c/b.jpg", "text"}, {"in/c/c.jpg", Jpeg("c")}});
  const ImageSet in = OpenImages(Spec(ImageSetType::kFolder, dir / "in"));
  PackOptions options;
  options.folder = dir / "out/shards";
  CHECK_THAT(BadData([&] { PackImages(*in.images, options); }),
             Catch::Contains("b.jpg: its bytes are of no known image format"));
  options.progress = [](int64_t done, int64_t) { return done < 1; };
  CHECK(PackImages(*in.images, options).stopped);
  CHECK(fs::is_empty(dir / "out"));
  options.progress = nullptr;
  options.max_bad_fraction = 0.5;
  const PackResult result = PackImages(*in.images, options);
  CHECK(result.images == 2);
  CHECK(result.warnings.size() == 1);
}

TEST_CASE("raw pixels are packed as PNG, targets beside their images") {
  ImageBytes raw;
  raw.channels = 3;
  raw.width = 2;
  raw.height = 1;
  raw.bytes = {1, 2, 3, 4, 5, 6};
  const std::vector<uint8_t> png = EncodePng(raw);
  CHECK(std::string(png.begin() + 1, png.begin() + 4) == "PNG");
  const Scratch dir;
  WriteTree(dir, {{"a.png", std::string(png.begin(), png.end())}});
  ImageSetSpec spec = Spec(ImageSetType::kList, dir.Write("l.txt", "a.png 0.5\na.png 0.125\n"));
  spec.target = ImageTarget::kNumber;
  PackOptions options;
  options.folder = dir / "out";
  PackImages(*OpenImages(spec).images, options);
  spec.type = ImageSetType::kTar;
  spec.path = dir / "out/shard-000000.tar";
  const ImageSet out = OpenImages(spec);
  CHECK(out.images->target(1) == 0.125f);
  CHECK(BytesOf(*out.images, 1) == std::string(png.begin(), png.end()));
}

// ---- the rest ---------------------------------------------------------------------------------

TEST_CASE("mistakes in a set's config are told with what would be right") {
  const auto complaint = [](const std::string& yaml) -> std::string {
    ImageSetSpec spec;
    try {
      LoadConfigText(yaml, "job.yaml", "/", {}, [&](Fields* f) { f->Section("train", &spec, ""); });
    } catch (const Error& e) {
      return e.message();
    }
    return "";
  };
  CHECK(complaint("train: {type: tar, path: 'x-{000..009}.tar'}").empty());
  CHECK_THAT(complaint("train: {type: idx, path: x}"), Catch::Contains("goes with type: idx"));
  CHECK_THAT(complaint("train: {path: x, target: number}"),
             Catch::Contains("number needs type: list or tar"));
  CHECK_THAT(complaint("train: {path: x, holdout: {of: 5, part: 5}}"),
             Catch::Contains("must be below `of`, 5"));
}

TEST_CASE("broken images are told once each, until there are too many") {
  const Scratch dir;
  for (int i = 0; i < 10; ++i) WriteTree(dir, {{StrCat("s/c/", i, ".jpg"), "x"}});
  const ImageSet set = OpenImages(Spec(ImageSetType::kFolder, dir / "s"));
  std::vector<std::string> said;
  BrokenImages broken(*set.images, 0.2, [&](const std::string& line) { said.push_back(line); });
  broken.Add(3, "three: bad");
  broken.Add(3, "three: bad");
  broken.Add(4, "four: bad");
  CHECK(broken.count() == 2);
  CHECK(said == std::vector<std::string>{"three: bad", "four: bad"});
  CHECK(BadData([&] { broken.Add(5, "five: bad"); }) ==
        "three: bad; 3 of 10 images are bad, max_bad_fraction allows 0.2");
}

}  // namespace
}  // namespace mariana
