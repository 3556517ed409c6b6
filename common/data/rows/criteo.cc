// Criteo's click logs: 40 columns between tabs, without a header: label (0 or 1), 13 whole numbers,
// 26 categorical values of hexadecimal digits; a missing value is an empty column.
// Source: "Criteo Display Advertising Challenge" (Kaggle 2014), readme.txt.
#include "common/base/error.h"
#include "common/data/rows/row_parser.h"
#include "common/data/rows/table_rows.h"

namespace mariana {
namespace {

constexpr uint32_t kTabs = 39;
constexpr int kFirstValue = 14;  // column of the first categorical value
constexpr size_t kWide = 32;     // bytes looked at together

// 0 if each of n bytes is a hexadecimal digit or a tab. A loop that vectorises.
[[gnu::always_inline]] inline uint8_t NotHexOrTab(const char* p, size_t n) {
  uint8_t bad = 0;
  for (size_t i = 0; i < n; ++i) {
    const auto c = static_cast<uint8_t>(p[i]);
    const auto lower = static_cast<uint8_t>(c | 0x20);
    const bool digit = static_cast<uint8_t>(c - '0') <= 9;
    const bool letter = static_cast<uint8_t>(lower - 'a') <= 5;
    bad |= static_cast<uint8_t>(!(digit | letter | (c == '\t')));
  }
  return bad;
}

bool AllHexOrTab(const char* p, size_t n) {
  if (n < kWide) return NotHexOrTab(p, n) == 0;
  uint8_t bad = NotHexOrTab(p + n - kWide, kWide);
  for (size_t i = 0; i + kWide < n; i += kWide) bad |= NotHexOrTab(p + i, kWide);
  return bad == 0;
}

class CriteoParser : public RowParser {
 public:
  explicit CriteoParser(const RowParserInputs& in)
      : RowParser(in.plan, in.files, in.part, in.bad), table_(plan(), encoder()) {
    delimiters_.c[0] = '\t';
    table_.SetColumns(CriteoColumns());
  }

 private:
  bool ParseRow(const RowLine& line, RowMarks* marks, std::string* what) override {
    if (line.count != kTabs) {
      *what = StrCat(line.count + 1,
                     " columns; expected 40 between tabs: label, 13 whole numbers, "
                     "26 hexadecimal values");
      return false;
    }
    const char label = line.text[line.begin];
    if (line.at[0] - line.begin != 1 || (label != '0' && label != '1')) {
      *what = StrCat("the label is ", ShownText(line.text + line.begin, line.at[0] - line.begin),
                     "; expected 0 or 1");
      return false;
    }
    marks->label = static_cast<float>(label - '0');
    const char* values = line.text + line.at[kFirstValue - 1] + 1;
    if (!AllHexOrTab(values, static_cast<size_t>(line.text + line.end - values))) {
      *what = BadValue(line);
      return false;
    }
    encoder()->BeginRow(table_.Extra(line.end - line.begin));
    const auto column = [&line](int c) { return ColumnOf(line, c); };
    return table_.Encode<true>(column, marks, what);
  }

  [[gnu::always_inline]] static inline ColumnText ColumnOf(const RowLine& line, int c) {
    const uint32_t begin = line.at[c - 1] + 1;
    return {line.text + begin, line.at[c] - begin};
  }

  // What is wrong with a line that has a value that is not hexadecimal.
  static std::string BadValue(const RowLine& line) {
    int c = kFirstValue;
    while (AllHexOrTab(ColumnOf(line, c).p, ColumnOf(line, c).n)) ++c;
    return StrCat("column ", c + 1, " (C", c + 1 - kFirstValue, ") is ",
                  ShownText(ColumnOf(line, c).p, ColumnOf(line, c).n),
                  "; expected hexadecimal digits, or nothing");
  }

  TableRows table_;
};

}  // namespace

std::unique_ptr<RowParser> MakeCriteoParser(const RowParserInputs& inputs) {
  return std::make_unique<CriteoParser>(inputs);
}

}  // namespace mariana
