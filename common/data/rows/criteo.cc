// Criteo's click logs: 40 columns between tabs, without a header: label (0 or 1), 13 whole numbers,
// 26 categorical values of hexadecimal digits; a missing value is an empty column.
// Source: "Criteo Display Advertising Challenge" (Kaggle 2014), readme.txt.
#include "common/base/error.h"
#include "common/data/rows/row_parser.h"
#include "common/data/rows/table_rows.h"

namespace mariana {
namespace {

constexpr uint32_t kTabs = 39;

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
    encoder()->BeginRow(table_.Extra(line.end - line.begin));
    return table_.Encode<true>(
        [&line](int c) {
          const uint32_t begin = line.at[c - 1] + 1;
          return ColumnText{line.text + begin, std::min(line.at[c], line.end) - begin};
        },
        marks, what);
  }

  TableRows table_;
};

}  // namespace

std::unique_ptr<RowParser> MakeCriteoParser(const RowParserInputs& inputs) {
  return std::make_unique<CriteoParser>(inputs);
}

}  // namespace mariana
