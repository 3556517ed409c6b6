// Tables of text: a column between delimiters, named by a header or by the config, quoted as RFC
// 4180 says; a missing value is empty or one of the words of `missing`.
#include <algorithm>
#include <cstring>

#include "common/base/error.h"
#include "common/data/rows/csv_line.h"
#include "common/data/rows/row_parser.h"
#include "common/data/rows/table_rows.h"

namespace mariana {
namespace {

class CsvParser : public RowParser {
 public:
  explicit CsvParser(const RowParserInputs& in)
      : RowParser(in.plan, in.files, in.part, in.bad), table_(plan(), encoder()) {
    delimiters_.c[0] = SingleByte(plan().spec().delimiter);
    skips_header_ = plan().spec().header;
  }

 private:
  void StartFile(int file) override {
    columns_ = files()[file].columns.size();
    table_.SetColumns(files()[file].columns);
  }

  bool Continues(const char* text, size_t n) const override {
    return plan().spec().multiline && memchr(text, '"', n) != nullptr &&
           std::count(text, text + n, '"') % 2 == 1;
  }

  bool ParseRow(const RowLine& line, RowMarks* marks, std::string* what) override {
    const size_t n = line.end - line.begin;
    encoder()->BeginRow(table_.Extra(n));
    if (memchr(line.text + line.begin, '"', n) != nullptr) return Quoted(line, marks, what);
    if (line.count + 1 != columns_) return WrongCount(line.count + 1, what);
    const auto column = [&line](int c) {
      const uint32_t begin = line.at[c - 1] + 1;
      return ColumnText{line.text + begin, line.at[c] - begin};
    };
    return Finish(column, marks, what);
  }

  bool Quoted(const RowLine& line, RowMarks* marks, std::string* what) {
    const size_t n = line.end - line.begin;
    scratch_.reserve(n + kTextPadding);
    *what = SplitCsv({line.text + line.begin, n}, delimiters_.c[0], &scratch_, &values_);
    if (!what->empty()) {
      if (!plan().spec().multiline) *what += "; set multiline: true if values hold line breaks";
      return false;
    }
    if (values_.size() != columns_) return WrongCount(values_.size(), what);
    const auto column = [this](int c) {
      const CsvValue& v = values_[static_cast<size_t>(c)];
      return ColumnText{v.p, v.n};
    };
    return Finish(column, marks, what);
  }

  template <class Column>
  bool Finish(const Column& column, RowMarks* marks, std::string* what) {
    if (table_.label() >= 0) {
      const ColumnText t = column(table_.label());
      if (!ParseLabel(t.p, t.n, &marks->label, what)) return false;
    }
    if (table_.weight() >= 0) {
      const ColumnText t = column(table_.weight());
      if (!ParseWeight(t.p, t.n, &marks->weight, what)) return false;
    }
    return table_.Encode<false>(column, marks, what);
  }

  bool WrongCount(size_t count, std::string* what) const {
    *what = StrCat(count, count == 1 ? " column" : " columns", "; expected ", columns_);
    return false;
  }

  TableRows table_;
  size_t columns_ = 0;
  std::string scratch_;
  std::vector<CsvValue> values_;
};

}  // namespace

std::unique_ptr<RowParser> MakeCsvParser(const RowParserInputs& inputs) {
  return std::make_unique<CsvParser>(inputs);
}

}  // namespace mariana
