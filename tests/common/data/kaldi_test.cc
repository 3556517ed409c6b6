#include "common/data/kaldi.h"

#include <sys/resource.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <map>

#include "tests/common/data/scratch.h"

namespace mariana {
namespace {

using std::string_literals::operator""s;

const char kGolden[] = "tests/golden/data/";

std::map<std::string, ScpEntry> GoldenEntries() {
  std::map<std::string, ScpEntry> entries;
  for (const ScpEntry& e : ReadScp(kGolden + "kaldi.scp"s)) entries[e.key] = e;
  return entries;
}

// What scripts/golden/kaldi stored.
double Expected(int r, int c) { return std::sin(0.1 * (r * 5 + c)) * 10 + c; }

template <class T>
double MaxError(const MatrixOf<T>& m, int rows) {
  REQUIRE(m.rows == rows);
  REQUIRE(m.cols == 5);
  REQUIRE(m.data.size() == static_cast<size_t>(5 * rows));
  double worst = 0;
  for (int r = 0; r < rows; ++r) {
    for (int c = 0; c < 5; ++c) worst = std::max(worst, std::abs(m.row(r)[c] - Expected(r, c)));
  }
  return worst;
}

Matrix MatrixFrom(const std::string& bytes) {
  return ReadMatrixValue<float>(OpenMemory(bytes).get());
}
std::vector<int32_t> IntsFrom(const std::string& bytes) {
  return ReadIntVectorValue(OpenMemory(bytes).get());
}

std::string Int(int32_t v) { return std::string(reinterpret_cast<const char*>(&v), 4); }
std::string Sized(int32_t v) { return "\4" + Int(v); }

TEST_CASE("matrices that kaldiio wrote read back within each format's tolerance") {
  auto entries = GoldenEntries();
  const float range = 24;  // of the values, generously
  CHECK(MaxError(ReadMatrix(entries["float"]), 12) < 1e-6);
  CHECK(MaxError(ReadMatrix(entries["double"]), 12) < 1e-6);
  CHECK(MaxError(ReadDoubleMatrix(entries["double"]), 12) == 0);
  CHECK(MaxError(ReadMatrix(entries["two_bytes"]), 12) < range / 65535);
  CHECK(MaxError(ReadMatrix(entries["one_byte"]), 12) < range / 255);
  CHECK(MaxError(ReadMatrix(entries["speech"]), 12) < range / 128);
  CHECK(MaxError(ReadMatrix(entries["few_rows"]), 3) < range / 64);
}

TEST_CASE("every compressed form decodes as kaldiio decodes it") {
  auto entries = GoldenEntries();
  int matrices = 0;
  for (ArkReader ark(kGolden + "kaldi_decoded.ark"s); ark.NextKey(); ++matrices) {
    const Matrix expected = ark.ReadMatrix(), got = ReadMatrix(entries.at(ark.key()));
    INFO(ark.key());
    REQUIRE(got.rows == expected.rows);
    REQUIRE(got.cols == expected.cols);
    for (size_t i = 0; i < got.data.size(); ++i) {
      CHECK(got.data[i] == Approx(expected.data[i]).margin(1e-5));
    }
    const MatrixSize size = ReadMatrixSize(entries.at(ark.key()));
    CHECK((size.rows == got.rows && size.cols == got.cols));
  }
  CHECK(matrices == 9);
}

TEST_CASE("vectors that kaldiio wrote read back") {
  auto entries = GoldenEntries();
  CHECK(ReadIntVector(entries["ints"]) == std::vector<int32_t>{3, 0, -1, 2147483647});
  CHECK(ReadIntVector(entries["empty_ints"]).empty());
  for (int row = 0; row < 2; ++row) {
    const auto v = ReadFloatVector(entries[row == 0 ? "float_vector" : "double_vector"]);
    REQUIRE(v.size() == 5);
    for (int c = 0; c < 5; ++c) CHECK(v[c] == Approx(Expected(row, c)));
  }
}

TEST_CASE("text archives read like binary ones") {
  ArkReader ark(kGolden + "kaldi.txt"s);
  REQUIRE(ark.NextKey());
  CHECK(ark.key() == "one");
  CHECK(MaxError(ark.ReadMatrix(), 12) < 1e-5);
  REQUIRE(ark.NextKey());
  CHECK(ark.key() == "two");
  CHECK(MaxError(ark.ReadMatrix(), 2) < 1e-5);
  CHECK_FALSE(ark.NextKey());

  const Matrix m = MatrixFrom(" [ 1 2\n  3 -4e1\n]\n");
  CHECK(m.data == std::vector<float>{1, 2, 3, -40});
  CHECK(MatrixFrom("[ ]").rows == 0);
  CHECK(MatrixFrom("[ 1 ; 2 ]").rows == 2);
  CHECK(std::isinf(MatrixFrom("[ inf ]").data[0]));
  CHECK(IntsFrom("1 2  3 \r\n4\n") == std::vector<int32_t>{1, 2, 3});
  CHECK(IntsFrom("\n").empty());
  CHECK(IntsFrom(" [ 1 2 ]\n") == std::vector<int32_t>{1, 2});  // kaldiio's
  CHECK(BadData([] { IntsFrom("[ 1 2\n3 ]\n"); }) == "no ']' ends the vector");
}

TEST_CASE("a broken line of a text alignment leaves the other utterances readable") {
  Scratch dir;
  const std::string path = dir.Write("ali.txt", "a 1 2\nb 1 x 3 4\nc 5\nd [ 6\ne [ 7 ]\nf 8 ");
  std::string good, bad;
  ForEachIntVector(
      path, false,
      [&](const ScpEntry& entry, std::vector<int32_t> value) {
        good += StrCat(entry.key, ":", value.back(), " ");
      },
      [&](const std::string& key, const std::string& what) {
        bad += StrCat(key, "; ", dir.Strip(what), "\n");
      });
  CHECK(good == "a:2 c:5 e:7 f:8 ");
  CHECK(bad ==
        "b; ali.txt: utterance \"b\": \"x\" is not an integer\n"
        "d; ali.txt: utterance \"d\": no ']' ends the vector\n");
}

TEST_CASE("alignments read alike from ark, gzipped ark, gzipped text and scp") {
  Scratch dir;
  std::string scp;
  for (ArkReader ark(kGolden + "kaldi_ali.ark"s); ark.NextKey(); ark.ReadIntVector()) {
    scp += StrCat(ark.key(), " ", kGolden, "kaldi_ali.ark:", ark.offset(), "\n");
  }
  for (const std::string& path : {kGolden + "kaldi_ali.ark"s, kGolden + "kaldi_ali.ark.gz"s,
                                  kGolden + "kaldi_ali.txt.gz"s, dir.Write("ali.scp", scp)}) {
    INFO(path);
    const auto ali = ReadAlignments(path);
    REQUIRE(ali.size() == 3);
    CHECK(ali.at("a") == std::vector<int32_t>{1, 2, 3});
    CHECK(ali.at("b") == std::vector<int32_t>{0});
    REQUIRE(ali.at("c").size() == 100);
    CHECK(ali.at("c")[99] == 99);
  }
  const std::string twice = dir.Write("twice.txt", "a 1\na 2\n");
  CHECK(dir.Strip(BadData([&] { ReadAlignments(twice); })) ==
        "twice.txt: utterance \"a\": comes twice");
}

TEST_CASE("an archive we write has Kaldi's bytes and an scp that finds them") {
  Scratch dir;
  ArkWriter writer(dir / "w.ark", dir / "w.scp");
  writer.Write("u1", Matrix{2, 1, {1, -2}});
  writer.Write("u2", std::vector<int32_t>{7, 8});
  writer.Finish();
  const float values[] = {1, -2};
  const std::string bytes(reinterpret_cast<const char*>(values), sizeof(values));
  CHECK(ReadFile(dir / "w.ark") ==
        "u1 \0BFM "s + Sized(2) + Sized(1) + bytes + "u2 \0B"s + Sized(2) + Sized(7) + Sized(8));
  CHECK(dir.Strip(ReadFile(dir / "w.scp")) == "u1 w.ark:3\nu2 w.ark:29\n");
  const auto scp = ReadScp(dir / "w.scp");
  CHECK(ReadMatrix(scp[0]).data == std::vector<float>{1, -2});
  CHECK(ReadIntVector(scp[1]) == std::vector<int32_t>{7, 8});
}

TEST_CASE("an scp line gives key, path, offset, row range, line and file") {
  Scratch dir;
  dir.Write("near.ark", "x [ 1 2 \n 3 4 \n 5 6 ]\n");
  const std::string path =
      dir.Write("s.scp", "a near.ark:2\n\n  b\t/no/such.ark:77[1:2]\nc some thing:x.wav\n");
  const auto scp = ReadScp(path);
  REQUIRE(scp.size() == 3);
  CHECK((scp[0].key == "a" && scp[0].path == dir / "near.ark" && scp[0].offset == 2));
  CHECK((scp[1].key == "b" && scp[1].path == "/no/such.ark" && scp[1].offset == 77));
  CHECK((scp[1].first_row == 1 && scp[1].last_row == 2 && scp[1].line == 3));
  CHECK((scp[2].path == "some thing:x.wav" && scp[2].offset == -1 && scp[2].last_row == -1));
  CHECK(scp[2].rspecifier_file == path);

  ScpEntry part = scp[0];
  part.first_row = 1;
  part.last_row = 4;  // Kaldi's tolerance past the end
  CHECK(ReadMatrix(part).data == std::vector<float>{3, 4, 5, 6});
  CHECK(ReadMatrixSize(part).rows == 2);
  part.last_row = 6;
  CHECK(dir.Strip(BadData([&] { ReadMatrix(part); })) ==
        "near.ark: utterance \"a\": range [1:6] of a matrix of 3 rows");
}

TEST_CASE("paths of an scp are tried from the current folder, then from the scp's") {
  Scratch dir;
  dir.Write("only_there.ark", "");
  const auto scp = ReadScp(
      dir.Write("s.scp", StrCat("a only_there.ark\nb ", kGolden, "kaldi.ark:6\nc nowhere.ark\n")));
  CHECK(scp[0].path == dir / "only_there.ark");
  CHECK(scp[1].path == kGolden + "kaldi.ark"s);
  CHECK(scp[2].path == "nowhere.ark");
  CHECK(BadData([&] { ReadMatrix(scp[2]); }) ==
        "nowhere.ark: utterance \"c\": cannot open: No such file or directory");
}

TEST_CASE("bad lines of an scp are named by line") {
  const auto message = [](const std::string& text) {
    return BadData([&] { ParseScp(OpenMemory(text).get(), "s.scp", false); });
  };
  CHECK(message("a x\nb\n") == "s.scp:2: utterance \"b\": no path after the key");
  CHECK(message("b :12\n") == "s.scp:1: utterance \"b\": no path before the offset or range");
  CHECK(message("b x.ark:1[2:1]\n") ==
        "s.scp:1: utterance \"b\": range [2:1] is not [first:last] of rows");
  CHECK(message("b x.ark:1[:,0:1]\n") ==
        "s.scp:1: utterance \"b\": range [:,0:1] is not [first:last] of rows");
}

TEST_CASE("commands run only where they are allowed, and their failure is an error") {
  Scratch dir;
  const std::string path = dir.Write(
      "p.scp", "good echo '[ 4 5 ]' |\nbad echo '[ 4 ]'; exit 3 |\nlate echo '[ 4 ]'; kill -9 $$|");
  CHECK(dir.Strip(BadData([&] { ReadScp(path); })) ==
        "p.scp:1: utterance \"good\": is a command (ends in '|'); set allow_pipes to run commands");
  const auto scp = ReadScp(path, true);
  CHECK(ReadMatrix(scp[0]).data == std::vector<float>{4, 5});
  CHECK(BadData([&] { ReadMatrix(scp[1]); }) ==
        "echo '[ 4 ]'; exit 3: utterance \"bad\": command \"echo '[ 4 ]'; exit 3\" failed with "
        "exit status 3");
  CHECK(BadData([&] { ReadMatrix(scp[2]); }).find("was killed by signal 9") != std::string::npos);
}

TEST_CASE("broken values are refused with the reason") {
  const auto matrix = [](const std::string& bytes) { return BadData([&] { MatrixFrom(bytes); }); };
  CHECK(matrix("") == "expected '[' or a binary value, got the end");
  CHECK(matrix("x") == "expected '[' or a binary value, got 'x'");
  CHECK(matrix("\0F"s) == "expected 'B' after the zero byte, got 'F'");
  CHECK(matrix("\0BFM"s) == "truncated in the type");
  CHECK(matrix("\0BFMXYZ "s) == "unknown type of binary value");
  CHECK(matrix("\0BFV "s) == "type \"FV\" is not a matrix (FM, DM, CM, CM2, CM3)");
  CHECK(matrix("\0BFM \x8"s) == "expected a 4-byte number of rows, got size 8");
  CHECK(matrix("\0BFM "s + Sized(3)) == "truncated in number of columns");
  CHECK(matrix("\0BFM "s + Sized(3) + Sized(2) + "1234567") ==
        "truncated: needs 24 more bytes, the file has 7");
  CHECK(matrix("\0BFM "s + Sized(-1) + Sized(2)) == "implausible size -1 x 2");
  CHECK(matrix("\0BFM "s + Sized(1 << 30) + Sized(1 << 19)) ==
        "implausible size 1073741824 x 524288");
  CHECK(matrix("\0BCM2 12345678"s + Int(3) + Int(2)) ==
        "truncated: needs 12 more bytes, the file has 0");
  CHECK(matrix("[ 1 2 \n 3 ]") == "row 1 has 1 numbers, row 0 has 2");
  CHECK(matrix("[ 1 x2 ]") == "\"x2\" is not a number");
  CHECK(matrix("[ 1 2") == "truncated: no ']' ends the matrix");
  CHECK(matrix("[ " + std::string(300, '1')) == "more than 256 bytes without a space");

  const auto ints = [](const std::string& bytes) { return BadData([&] { IntsFrom(bytes); }); };
  CHECK(ints("1 2.5\n") == "\"2.5\" is not an integer");
  CHECK(ints("1 2147483648\n") == "\"2147483648\" is not an integer of 32 bits");
  CHECK(ints("\0B"s + Sized(-2)) == "implausible length -2");
  CHECK(ints("\0B"s + Sized(2) + Sized(1)) == "truncated: needs 10 more bytes, the file has 5");
  CHECK(ints("\0B"s + Sized(1) + "\2" + Int(1)) == "expected a 4-byte element, got size 2");
  const std::string vector = "\0BFM "s + Sized(0) + Sized(0);
  CHECK(BadData([&] { ReadFloatVectorValue(OpenMemory(vector).get()); }) ==
        "type \"FM\" is not a vector (FV, DV)");
  CHECK(BadData([] { ReadFloatVectorValue(OpenMemory("[ 1\n2 ]").get()); }) ==
        "a matrix of 2 rows where a vector is expected");
}

TEST_CASE("broken archives name file and utterance") {
  Scratch dir;
  const std::string whole = ReadFile(kGolden + "kaldi_ali.ark"s);
  const auto message = [&](const std::string& bytes) {
    const std::string path = dir.Write("x.ark", bytes);
    return dir.Strip(BadData([&] { ReadAlignments(path); }));
  };
  CHECK(message(whole.substr(0, whole.size() - 4)) ==
        "x.ark: utterance \"c\": truncated: needs 500 more bytes, the file has 496");
  CHECK(message("a 1\nb") == "x.ark: utterance \"b\": truncated after the key");
  CHECK(message("\x01\x02") == "x.ark: no archive: it does not start with a key");
  CHECK(message("a 1\n\x01") == "x.ark: no archive: no key follows utterance \"a\"");
  CHECK(message("a [ 1.5 ]\n") == "x.ark: utterance \"a\": \"1.5\" is not an integer");
  const std::string gz = ReadFile(kGolden + "kaldi_ali.ark.gz"s);
  CHECK(message(gz.substr(0, gz.size() / 2)).find("broken gzip file") != std::string::npos);
}

TEST_CASE("a length that lies takes no memory where the size of the source is unknown") {
  Scratch dir;
  const std::string lie = dir.Write("lie", "\0BFM "s + Sized(1 << 14) + Sized(1 << 14) + "1234");
  ScpEntry entry;
  entry.key = "u";
  entry.path = "cat " + lie;
  entry.is_command = true;
  rusage before, after;
  getrusage(RUSAGE_SELF, &before);
  CHECK(BadData([&] { ReadMatrix(entry); }).find("truncated in the data") != std::string::npos);
  getrusage(RUSAGE_SELF, &after);
  CHECK(after.ru_maxrss - before.ru_maxrss < 64 * 1024);  // KiB; the lie says 1 GiB
}

TEST_CASE("a byte source reads the same in small and large pieces") {
  Scratch dir;
  std::string bytes;
  for (int i = 0; i < 5000; ++i) bytes += StrCat(i, ",");
  const std::string path = dir.Write("bytes", bytes);
  for (size_t piece : {1, 7, 64, 1000, 30000}) {
    auto in = OpenFile(path, 10, 64);
    std::string got, buffer(piece, '\0');
    for (size_t n; (n = in->Read(buffer.data(), piece)) > 0;) {
      got.append(buffer, 0, n);
      REQUIRE(in->position() == static_cast<int64_t>(10 + got.size()));
      REQUIRE(in->remaining() == static_cast<int64_t>(bytes.size() - 10 - got.size()));
    }
    CHECK(got == bytes.substr(10));
  }
  CHECK(dir.Strip(BadData([&] { OpenFile(path, 1 << 20); })) ==
        StrCat("bytes: offset 1048576 is past the end of the file (", bytes.size(), " bytes)"));
  CHECK(dir.Strip(BadData([&] { OpenFile(dir.path() + "/"); })).find("is a folder") !=
        std::string::npos);
}

}  // namespace
}  // namespace mariana
