// libffm: `LABEL FIELD:FEATURE:VALUE ...`. FIELD is a column (any text); of a categorical field
// FEATURE is the value and VALUE its weight, of a numeric one VALUE is the number. Without fields
// in the config, FIELD is a number below field_count.
// Source: LIBFFM's README (Juan, Zhuang, Chin, Lin).
#include "common/base/error.h"
#include "common/data/rows/numbers.h"
#include "common/data/rows/row_parser.h"
#include "common/data/rows/sparse_rows.h"
#include "common/data/rows/tokens.h"

namespace mariana {
namespace {

class LibffmParser : public RowParser {
 public:
  explicit LibffmParser(const RowParserInputs& in)
      : RowParser(in.plan, in.files, in.part, in.bad), rows_(plan(), encoder()) {
    delimiters_ = {{' ', '\t', ':'}};
  }

 private:
  bool ParseRow(const RowLine& line, RowMarks* marks, std::string* what) override {
    rows_.Begin();
    Tokens tokens(line);
    Token token;
    if (!tokens.Next(&token)) {
      *what = "no label; expected LABEL FIELD:FEATURE:VALUE ...";
      return false;
    }
    if (!ParseLabel(token.p, token.n, &marks->label, what)) return false;
    while (tokens.Next(&token)) {
      if (!Feature(token, marks, what)) return false;
    }
    rows_.Finish();
    return true;
  }

  bool Feature(const Token& token, RowMarks* marks, std::string* what) {
    float value = 1;
    if (token.colons != 2 || token.colon[0] == 0 || token.LengthAfter(0) == 0 ||
        !ParsePaddedReal(token.After(1), token.LengthAfter(1), &value)) {
      *what = "feature " + ShownText(token.p, token.n) +
              "; expected FIELD:FEATURE:VALUE, VALUE a number";
      return false;
    }
    const auto targets = rows_.Find(token.p, token.colon[0]);
    for (const auto* t = targets.begin; t != targets.end; ++t) {
      const SparseRows::Targets one{t, t + 1};
      const bool number = t->kind == SparseRows::Target::kNumber;
      if (number ? !rows_.Number(one, token.After(1), token.LengthAfter(1), value, marks, what)
                 : !rows_.Text(one, token.After(0), token.LengthAfter(0), value, marks, what)) {
        return false;
      }
    }
    if (targets) return true;
    if (rows_.has_other()) {
      rows_.Other(CombineHashes(HashPadded(token.p, token.colon[0]),
                                HashPadded(token.After(0), token.LengthAfter(0))),
                  value);
    } else if (plan().spec().fields.empty()) {
      *what = StrCat("field ", ShownText(token.p, token.colon[0]),
                     "; expected a number below field_count (", plan().spec().field_count, ")");
      return false;
    }
    return true;
  }

  SparseRows rows_;
};

}  // namespace

std::unique_ptr<RowParser> MakeLibffmParser(const RowParserInputs& inputs) {
  return std::make_unique<LibffmParser>(inputs);
}

}  // namespace mariana
