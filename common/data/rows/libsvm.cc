// libsvm: `LABEL NAME:VALUE NAME:VALUE ... # comment`. Names are numbers as a rule, but any text
// without spaces and colons will do:
//   a declared column          COLUMN:TEXT         the field's value is TEXT (a number or not)
//   a declared categorical one COLUMN=TEXT:WEIGHT  or COLUMN=TEXT
//   anything else              NAME:NUMBER         a feature of column "*", if a field has it
// Source: LIBSVM's README (Chang, Lin); comments as in SVMlight.
#include <cstring>

#include "common/base/error.h"
#include "common/data/rows/numbers.h"
#include "common/data/rows/row_parser.h"
#include "common/data/rows/sparse_rows.h"
#include "common/data/rows/tokens.h"

namespace mariana {
namespace {

class LibsvmParser : public RowParser {
 public:
  explicit LibsvmParser(const RowParserInputs& in)
      : RowParser(in.plan, in.files, in.part, in.bad), rows_(plan(), encoder()) {
    delimiters_ = {{' ', '\t', ':'}};
  }

 private:
  bool ParseRow(const RowLine& line, RowMarks* marks, std::string* what) override {
    rows_.Begin();
    Tokens tokens(line);
    Token token;
    if (!tokens.Next(&token)) {
      *what = "no label; expected LABEL NAME:VALUE ...";
      return false;
    }
    if (!ParseLabel(token.p, token.n, &marks->label, what)) return false;
    while (tokens.Next(&token) && *token.p != '#') {
      if (!Feature(token, marks, what)) return false;
    }
    rows_.Finish();
    return true;
  }

  bool Feature(const Token& token, RowMarks* marks, std::string* what) {
    const size_t name = token.colons > 0 ? token.colon[0] : token.n;
    if (name == 0) return Bad(token, what);
    float value = 1;
    size_t column_name = 0;
    if (const auto column = rows_.Expect(token.p, name, &column_name)) {
      if (token.colons > 1 || (token.colons == 1 && !Value(token, &value))) return Bad(token, what);
      return rows_.Text(column, token.p + column_name + 1, name - column_name - 1, value, marks,
                        what);
    }
    const auto targets = rows_.Find(token.p, name);
    if (targets) {
      if (token.colons == 0) return Bad(token, what);
      return rows_.Text(targets, token.After(0), token.n - name - 1, 1, marks, what);
    }
    if (token.colons > 1 || (token.colons == 1 && !Value(token, &value))) return Bad(token, what);
    if (rows_.names_columns()) {
      const char* equals = static_cast<const char*>(memchr(token.p, '=', name));
      const auto column = equals == nullptr
                              ? SparseRows::Targets{}
                              : rows_.Find(token.p, static_cast<size_t>(equals - token.p));
      if (column) {
        const size_t n = static_cast<size_t>(token.p + name - equals) - 1;
        return rows_.Text(column, equals + 1, n, value, marks, what);
      }
    }
    if (token.colons == 0) return Bad(token, what);
    if (rows_.has_other()) rows_.Other(HashPadded(token.p, name), value);
    return true;
  }

  static bool Value(const Token& token, float* value) {
    const char* p = token.After(0);
    const size_t n = token.n - token.colon[0] - 1;
    return ParsePaddedReal(p, n, value);
  }

  static bool Bad(const Token& token, std::string* what) {
    *what = "feature " + ShownText(token.p, token.n) +
            "; expected NAME:NUMBER, or COLUMN:TEXT of a declared column";
    return false;
  }

  SparseRows rows_;
};

}  // namespace

std::unique_ptr<RowParser> MakeLibsvmParser(const RowParserInputs& inputs) {
  return std::make_unique<LibsvmParser>(inputs);
}

}  // namespace mariana
