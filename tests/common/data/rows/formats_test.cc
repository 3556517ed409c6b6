#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <set>

#include "common/data/rows/key_hash.h"
#include "common/data/rows/numbers.h"
#include "common/data/rows/scan.h"
#include "tests/common/data/rows/parse_text.h"

namespace mariana {
namespace {

using Strings = std::vector<std::string>;

uint64_t Key(const std::string& field, const std::string& value) {
  return MakeKey(FieldSeed(field), HashText(value));
}

// The features of row r as (field, key, value).
struct Feature {
  int field;
  uint64_t key;
  float value;
  bool operator==(const Feature& o) const {
    return field == o.field && key == o.key && value == o.value;
  }
};
std::ostream& operator<<(std::ostream& out, const Feature& f) {
  return out << f.field << ":" << f.key << ":" << f.value;
}
std::vector<Feature> Row(const RowBatch& batch, size_t r) {
  std::vector<Feature> features;
  for (uint32_t i = batch.begin[r]; i < batch.begin[r + 1]; ++i) {
    features.push_back({batch.field[i], batch.key[i], batch.value[i]});
  }
  return features;
}

std::string CriteoLine(const std::string& label, const std::string& number,
                       const std::string& value) {
  std::string line = label;
  for (int i = 0; i < 13; ++i) line += "\t" + number;
  for (int i = 0; i < 26; ++i) line += "\t" + value;
  return line + "\n";
}

TEST_CASE("every way to find delimiters finds the same ones") {
  std::string text;
  uint64_t state = 1;
  for (int i = 0; i < 5000; ++i) {
    state = Mix(state ^ kHashSecret[0], kHashSecret[1]);
    text += "ab:\t, \n\"x"[state % 9];
  }
  const size_t n = text.size();
  text.append(kTextPadding, '\n');
  for (const DelimiterScan& scan : UsableScans()) {
    for (const size_t length : {n, size_t{0}, size_t{1}, size_t{63}, size_t{64}, size_t{65}}) {
      Positions found;
      FindDelimiters(scan, {{'\t', ':', ' '}}, text.data(), length, &found);
      std::vector<uint32_t> at, lines;
      for (uint32_t i = 0; i < length; ++i) {
        if (text[i] == '\n') lines.push_back(static_cast<uint32_t>(at.size()));
        if (strchr("\t: \n", text[i]) != nullptr) at.push_back(i);
      }
      INFO(scan.name << ", " << length << " bytes");
      CHECK(std::vector<uint32_t>(found.delimiters(), found.delimiters() + found.count) == at);
      found.line_end.resize(found.lines);
      CHECK(found.line_end == lines);
    }
  }
}

TEST_CASE("numbers are read as strtof reads them, or refused") {
  const auto padded = [](const std::string& s) { return s + std::string(kTextPadding, 'x'); };
  for (const std::string s :
       {"0", "7", "-12", "+3", "1.5", "-.5", "5.", "1e3", "-2.5e-3", "123456789012345678",
        "0.000000000000000012345", "3.4028235e38", "1e-60", "1e-400", "0.1", "16777217",
        "9007199254740993", "1.17549435e-38"}) {
    float x = -1;
    INFO(s);
    CHECK(ParseReal(padded(s).data(), s.size(), &x));
    CHECK(x == strtof(s.c_str(), nullptr));
  }
  for (const std::string s : {"", "-", "+", ".", "1..2", "1e", "e5", "nan", "inf", "-inf", "0x10",
                              "1 ", "1e999", "--1", "+-1", "1e39", "3,5"}) {
    float x;
    INFO(s);
    CHECK_FALSE(ParseReal(padded(s).data(), s.size(), &x));
  }
  for (const std::string s : {"0", "1", "12345678", "00000000", "90"}) {
    CHECK(ParseDigits8(Load64(padded(s).data()), s.size()) == strtoull(s.c_str(), nullptr, 10));
  }
  CHECK(ParseDigits8(Load64(padded("").data()), 0) == 0);
  for (int c = 0; c < 256; ++c) {
    std::string s = "1234567";
    s.insert(static_cast<size_t>(c % 8), 1, static_cast<char>(c));
    CHECK((ParseDigits8(Load64(padded(s).data()), 8) <= 99999999) == (c >= '0' && c <= '9'));
  }
}

TEST_CASE("a text hashes alike whatever stands behind it, and never like its neighbours") {
  std::vector<uint64_t> seen;
  for (size_t n = 0; n < 100; ++n) {
    const std::string text(n, '\0');
    CHECK(HashText(text) == HashPadded((text + std::string(kTextPadding, 'y')).data(), n));
    seen.push_back(HashText(text));
    if (n > 0) seen.push_back(HashText(std::string(n - 1, '\0') + "a"));
  }
  std::sort(seen.begin(), seen.end());
  CHECK(std::adjacent_find(seen.begin(), seen.end()) == seen.end());
  // Models outlive versions: these values must not change.
  CHECK(Key("C1", "68fd1e64") == 0xc0dabbda4405f651ull);
  CHECK(Key("city", "a name longer than sixteen bytes") == 0xd6711a6814b998daull);
}

TEST_CASE("criteo lines become 13 dense numbers and 26 features; missing ones are none") {
  const Parsed p =
      ParseText("format: criteo\n", CriteoLine("1", "3", "68fd1e64") + CriteoLine("0", "", "") +
                                        CriteoLine("0", "-2", "0000000a0000000b"));
  CHECK(p.told == Strings{});
  REQUIRE(p.batch.rows == 3);
  CHECK(p.batch.label == std::vector<float>{1, 0, 0});
  CHECK(p.batch.weight == std::vector<float>{1, 1, 1});
  CHECK(p.batch.begin == std::vector<uint32_t>{0, 26, 26, 52});
  CHECK(Row(p.batch, 0)[0] == Feature{13, Key("C1", "68fd1e64"), 1});
  CHECK(Row(p.batch, 0)[25] == Feature{38, Key("C26", "68fd1e64"), 1});
  CHECK(Row(p.batch, 2)[3] == Feature{16, Key("C4", "0000000a0000000b"), 1});
  REQUIRE(p.batch.dense.size() == 39);
  CHECK(p.batch.dense[0] == Approx(std::log1p(3.0)));
  CHECK(p.batch.dense[13] == 0);
  CHECK(p.batch.dense[26] == Approx(-std::log1p(2.0)));
}

TEST_CASE("malformed criteo lines are told with their place, counted and left out") {
  const std::string good = CriteoLine("1", "3", "68fd1e64");
  const Parsed p =
      ParseText("format: criteo\n", good + "1\t2\n" + "\n" + CriteoLine("2", "3", "ab") +
                                        CriteoLine("1", "3x", "ab") + CriteoLine("1", "1.5", "") +
                                        CriteoLine("1", "3", "xyz") +
                                        CriteoLine("0", "3", "0000g0000000") + good + "0");
  CHECK(p.batch.rows == 2);
  CHECK(p.batch.key.size() == 52);
  CHECK(p.rows == 9);
  CHECK(p.bad == 7);
  CHECK(
      p.told ==
      Strings{
          // NOLINTNEXTLINE(bugprone-suspicious-missing-comma)
          "rows.txt:2: 2 columns; expected 40 between tabs: label, 13 whole numbers, 26 "
          "hexadecimal values",
          "rows.txt:4: the label is \"2\"; expected 0 or 1",
          "rows.txt:5: column 2 (I1) is \"3x\"; expected a whole number, or nothing",
          "rows.txt:6: column 2 (I1) is \"1.5\"; expected a whole number, or nothing",
          "rows.txt:7: column 15 (C1) is \"xyz\"; expected hexadecimal digits, or nothing",
          "rows.txt:8: column 15 (C1) is \"0000g0000000\"; expected hexadecimal digits, or nothing",
          "rows.txt:10: 1 columns; expected 40 between tabs: label, 13 whole numbers, 26 "
          "hexadecimal values"});
}

TEST_CASE("the same row as TSV, CSV, libsvm, libffm and VW gives the same features") {
  const std::string fields = R"(
fields:
  - {name: price, kind: numeric, dense: false, value: true, bucket: true, boundaries: [1, 5, 9]}
  - {name: city}
  - {name: tags, kind: multi, separator: ";"}
crosses: [{fields: [city, tags]}, {name: all, fields: [price, city, tags]}]
)";
  const Parsed csv = ParseText("format: csv\n" + fields,
                               "tags,label,city,price\nred;blue,1,\"par\"\"is\",6.5\n,0,rome,\n");
  REQUIRE(csv.batch.rows == 2);
  REQUIRE(csv.told == Strings{});
  // value, bucket, city, 2 tags, 2 + 2 crosses; city alone
  CHECK(csv.batch.begin == std::vector<uint32_t>{0, 9, 10});
  CHECK(Row(csv.batch, 0)[2] == Feature{1, Key("city", "par\"is"), 1});
  CHECK(Row(csv.batch, 0)[4] == Feature{2, Key("tags", "blue"), 1});
  CHECK(Row(csv.batch, 0)[5].field == 3);
  CHECK(Row(csv.batch, 0)[8].field == 4);
  const Parsed tsv = ParseText(
      "format: csv\nheader: false\ndelimiter: tab\ncolumns: [x, label, price, city, tags]\n" +
          fields,
      "9\t1\t6.5\t\"par\"\"is\"\tred;blue\r\n\"\"\t-1\t\trome\t\r\n");
  const Parsed svm =
      ParseText("format: libsvm\n" + fields,
                "1 price:6.5 city:par\"is tags:red;blue ignored:3\n0 city=rome:1 # city=oslo\n");
  const Parsed swapped =
      ParseText("format: libsvm\n" + fields,
                "+1  tags=red tags=blue:1\tcity=par\"is price:6.5 \n-1 city:rome");
  const Parsed ffm =
      ParseText("format: libffm\n" + fields,
                "1 price:0:6.5 city:par\"is:1 tags:red:1 tags:blue:1\n0 city:rome:1\n");
  const Parsed vw =
      ParseText("format: vw\n" + fields,
                "1 |price x:6.5 |city par\"is |tags red blue\n-1 1.0 0.5 'tag|city rome\n");
  const Parsed vw2 =
      ParseText("format: vw\n" + fields,
                "1 |n:0.5 price:13 |tags:2 red:0.5 blue:.5 |city par\"is\n0 |city rome\n");
  for (const Parsed* other : {&tsv, &svm, &swapped, &ffm, &vw, &vw2}) {
    CHECK(other->told == Strings{});
    REQUIRE(other->batch.rows == 2);
    CHECK(other->batch.label == csv.batch.label);
    CHECK(other->batch.weight == csv.batch.weight);
    for (size_t r = 0; r < 2; ++r) CHECK(Row(other->batch, r) == Row(csv.batch, r));
  }
}

TEST_CASE("formats without fields keep every feature") {
  const Parsed svm = ParseText("format: libsvm\nlabels: number\n", "2.5 7:0.5 12:1\n0\n");
  CHECK(svm.batch.label == std::vector<float>{2.5f, 0});
  CHECK(Row(svm.batch, 0) ==
        std::vector<Feature>{{0, Key("features", "7"), 0.5f}, {0, Key("features", "12"), 1}});
  const Parsed ffm = ParseText("format: libffm\nfield_count: 4\n", "1 3:77:0.5 0:5:1\n1 4:1:1\n");
  CHECK(Row(ffm.batch, 0) ==
        std::vector<Feature>{{0, Key("0", "5"), 1}, {3, Key("3", "77"), 0.5f}});
  CHECK(ffm.told == Strings{"rows.txt:2: field \"4\"; expected a number below field_count (4)"});
  const Parsed vw = ParseText("format: vw\n", "1 2 |a x:3 y |b x |  z\n");
  CHECK(vw.batch.weight == std::vector<float>{2});
  REQUIRE(Row(vw.batch, 0).size() == 4);
  CHECK(Row(vw.batch, 0)[0].value == 3);
  CHECK(Row(vw.batch, 0)[0].key != Row(vw.batch, 0)[2].key);
}

TEST_CASE("malformed lines of the sparse formats and of csv say what would be right") {
  const auto told = [](const std::string& yaml, const std::string& text) {
    const Parsed p = ParseText(yaml, text);
    CHECK(p.bad == p.rows);
    CHECK(p.batch.rows == 0);
    CHECK(p.batch.key.empty());
    return p.told;
  };
  CHECK(
      told("format: libsvm\nfields: [{name: n, kind: numeric}, {name: x, column: '*'}]\n",
           "a 1:2\n1 5\n1 5:x\n1 n:x\n1 n:1 n:2\n3 1:1\n1 :1\n   \n1 5:1:2\n") ==
      Strings{
          "rows.txt:1: the label is \"a\"; expected a number",
          "rows.txt:2: feature \"5\"; expected NAME:NUMBER, or COLUMN:TEXT of a declared column",
          "rows.txt:3: feature \"5:x\"; expected NAME:NUMBER, or COLUMN:TEXT of a declared column",
          "rows.txt:4: column n is \"x\"; expected a number",
          "rows.txt:5: column n comes twice, the second time as \"2\"; a number comes once a row",
          // NOLINTNEXTLINE(bugprone-suspicious-missing-comma)
          "rows.txt:6: the label is \"3\"; expected 1 for a click, 0 or -1 for none (or set "
          "labels: number)",
          "rows.txt:7: feature \":1\"; expected NAME:NUMBER, or COLUMN:TEXT of a declared column",
          "rows.txt:8: no label; expected LABEL NAME:VALUE ...",
          "rows.txt:9: feature \"5:1:2\"; expected NAME:NUMBER, or COLUMN:TEXT of a declared "
          "column"});
  CHECK(told("format: libffm\n", "1 1:2\n1 1:2:x\n1 1::3\n1 1:2:3:4\n") ==
        Strings{"rows.txt:1: feature \"1:2\"; expected FIELD:FEATURE:VALUE, VALUE a number",
                "rows.txt:2: feature \"1:2:x\"; expected FIELD:FEATURE:VALUE, VALUE a number",
                "rows.txt:3: feature \"1::3\"; expected FIELD:FEATURE:VALUE, VALUE a number",
                "rows.txt:4: feature \"1:2:3:4\"; expected FIELD:FEATURE:VALUE, VALUE a number"});
  CHECK(told("format: vw\n",
             "1 a b\n|a b\n1 -1 |a b\n1 |a:x b\n1 |a b:x\n1 |a b|c\n1 1 1 1 |a\n1 |a :3\n") ==
        Strings{"rows.txt:1: no | in the line; expected LABEL |NAMESPACE FEATURE FEATURE:VALUE ...",
                "rows.txt:2: no label; expected LABEL |NAMESPACE FEATURE ... (or set label: \"\")",
                "rows.txt:3: the weight is \"-1\"; expected a number from 0 up",
                "rows.txt:4: namespace \"|a:x\"; expected |NAME or |NAME:NUMBER",
                "rows.txt:5: feature \"b:x\"; expected NAME or NAME:NUMBER",
                "rows.txt:6: a | inside \"b|c\"; expected a space in front of it",
                "rows.txt:7: \"1\" before the |; expected LABEL IMPORTANCE BASE 'TAG",
                "rows.txt:8: feature \":3\"; expected NAME or NAME:NUMBER"});
  CHECK(told("format: csv\nheader: false\ncolumns: [label, a, w]\nweight: w\nfields: [{name: a}]\n",
             "1,2\n1,\"2,3\n1,2\"3,4\n1,\"2\"3,4\n,1,1\n1,1,-2\n1,\"a\",1,1\n") ==
        Strings{"rows.txt:1: 2 columns; expected 3",
                // NOLINTNEXTLINE(bugprone-suspicious-missing-comma)
                "rows.txt:2: the quote of value 2 is not closed in this line; set multiline: true "
                "if values hold line breaks",
                "rows.txt:3: value 2 has a quote inside but is not quoted; quote it and double the "
                "quote; set multiline: true if values hold line breaks",
                "rows.txt:4: value 2 goes on after its closing quote; double the quotes inside a "
                "quoted value; set multiline: true if values hold line breaks",
                "rows.txt:5: the label is \"\"; expected a number",
                "rows.txt:6: the weight is \"-2\"; expected a number from 0 up",
                "rows.txt:7: 4 columns; expected 3"});
}

TEST_CASE("csv knows quoted line breaks, missing words, text labels, weights, groups and ids") {
  const std::string yaml = R"(
format: csv
multiline: true
missing: ["?", NA]
positive: yes
weight: w
group: user
id: ad
fields: [{name: a}, {name: n, kind: numeric, missing: -1}]
)";
  const Parsed p = ParseText(
      yaml,
      "\xEF\xBB\xBFlabel,a,n,w,user,ad\nyes,\"x\ny\",1,2,u1,7\nno,?,NA,1,u2,\"7\"\nno,,,1,,\n");
  CHECK(p.told == Strings{});
  REQUIRE(p.batch.rows == 3);
  CHECK(p.batch.label == std::vector<float>{1, 0, 0});
  CHECK(p.batch.weight == std::vector<float>{2, 1, 1});
  CHECK(p.batch.dense == std::vector<float>{1, -1, -1});
  CHECK(p.batch.key == std::vector<uint64_t>{Key("a", "x\ny")});
  CHECK(p.batch.group == std::vector<uint64_t>{HashText("u1"), HashText("u2"), HashText("")});
  CHECK(p.batch.id == std::vector<uint64_t>{HashText("7"), HashText("7"), HashText("")});
}

TEST_CASE("a record may be longer than the text that is looked at together") {
  std::string text = "label,words\n";
  for (const size_t lines : {1, 20000, 2, 50000, 1}) {
    text += "1,\"";
    for (size_t i = 0; i < lines; ++i) text += "a\n";
    text += "\"\n";
  }
  const Parsed all = ParseText("{format: csv, multiline: true, fields: [{name: words}]}", text);
  CHECK(all.batch.rows == 5);
  CHECK(all.bad == 0);
  CHECK(std::set<uint64_t>(all.batch.key.begin(), all.batch.key.end()).size() == 4);
}

TEST_CASE("where every row counts, malformed ones are rows without features or a label") {
  const std::string yaml =
      "{format: csv, label: y, line_limit: 64, fields: [{name: a}, {name: x, kind: numeric, "
      "missing: 7}], negatives: {keep: 0.001}, held_out: {kind: random, fraction: 0.5}}";
  const std::string text = "y,a,x\n1,r,2\n0,r\n" + std::string(100, 'q') + "\n0,s,high\n0,s,3\n\n";
  const Parsed parsed = ParseText(yaml, text, RowPart::kEveryRow);
  const RowBatch& b = parsed.batch;
  CHECK(parsed.bad == 3);
  REQUIRE(b.rows == 5);
  CHECK(b.begin == std::vector<uint32_t>{0, 1, 1, 1, 1, 2});
  CHECK(b.dense == std::vector<float>{2, 7, 7, 7, 3});
  for (size_t r = 0; r < 5; ++r) CHECK(std::isnan(b.label[r]) == (r >= 1 && r <= 3));
}

TEST_CASE("a row with too many combinations of a cross is malformed") {
  std::string many = "1 ";
  for (int i = 0; i < 17; ++i) many += "a=" + std::to_string(i) + " b=" + std::to_string(i) + " ";
  const Parsed p = ParseText(
      "format: libsvm\nfields: [{name: a, kind: multi}, {name: b}]\ncrosses: [{fields: [a, b]}]\n",
      many + "\n1 a=1 a=2 b=3\n");
  CHECK(p.told == Strings{"rows.txt:1: cross a*b has more than 256 combinations of values, or "
                          "their weights multiply to infinity; give fewer or smaller"});
  CHECK(p.batch.begin == std::vector<uint32_t>{0, 5});
}

TEST_CASE("a config's mistakes about rows come all at once") {
  const auto mistakes = [](const std::string& yaml) {
    try {
      SpecOf(yaml);
    } catch (const Error& e) {
      return e.message();
    }
    return std::string();
  };
  CHECK(mistakes("format: csv\n").find("format csv needs fields") != std::string::npos);
  const std::string all = mistakes(R"(
format: criteo
fields: [{name: a, column: C99}, {name: C1}, {name: C1}]
crosses: [{fields: [C1, nowhere]}]
held_out: {kind: random, by: group}
)");
  for (const char* what :
       {"no column \"C99\"", "are named \"C1\"", "\"nowhere\" is not among", "no group column"}) {
    INFO(all);
    CHECK(all.find(what) != std::string::npos);
  }
  CHECK(mistakes("fields: [{name: I1, kind: numeric, bucket: true}]\n").find("needs boundaries") !=
        std::string::npos);
  CHECK(mistakes("fields: [{name: C1, log: true}]\n").find("must be numeric") != std::string::npos);
}

}  // namespace
}  // namespace mariana
