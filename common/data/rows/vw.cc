// Vowpal Wabbit's text: `LABEL IMPORTANCE BASE 'TAG|NAMESPACE:SCALE FEATURE:VALUE ... |NAMESPACE2`.
// Importance (1), base (read and left aside), tag, namespace, scale and values (1) may be left out;
// so may the label where `label` is empty. What features mean:
//   the namespace is a declared column: a categorical field's value is FEATURE, with weight
//     VALUE * SCALE; a numeric field's number is VALUE * SCALE, whatever FEATURE is called;
//   else FEATURE is one: `FEATURE:TEXT`, TEXT the field's value (of a numeric one, times SCALE);
//   else it is a feature of column "*", if a field has it, known by namespace and name.
// Source: github.com/VowpalWabbit/vowpal_wabbit/wiki/Input-format.
#include <cmath>
#include <cstring>

#include "common/base/error.h"
#include "common/data/rows/numbers.h"
#include "common/data/rows/row_parser.h"
#include "common/data/rows/sparse_rows.h"
#include "common/data/rows/tokens.h"

namespace mariana {
namespace {

class VwParser : public RowParser {
 public:
  explicit VwParser(const RowParserInputs& in)
      : RowParser(in.plan, in.files, in.part, in.bad), rows_(plan(), encoder()) {
    delimiters_ = {{' ', '\t', ':'}};
  }

 private:
  // Where features are: a namespace with its meaning.
  struct Namespace {
    SparseRows::Targets targets;
    uint64_t hash = 0;
    float scale = 1;
  };

  bool ParseRow(const RowLine& line, RowMarks* marks, std::string* what) override {
    rows_.Begin();
    const char* begin = line.text + line.begin;
    const char* bar = static_cast<const char*>(memchr(begin, '|', line.end - line.begin));
    if (bar == nullptr) {
      *what = "no | in the line; expected LABEL |NAMESPACE FEATURE FEATURE:VALUE ...";
      return false;
    }
    RowLine head = line, body = line;
    head.end = static_cast<uint32_t>(bar - line.text);
    while (body.count > 0 && *body.at < head.end) {
      ++body.at;
      --body.count;
    }
    body.begin = head.end;
    if (!Head(head, marks, what) || !Body(body, marks, what)) return false;
    rows_.Finish();
    return true;
  }

  bool Head(const RowLine& line, RowMarks* marks, std::string* what) {
    Tokens tokens(line);
    Token token;
    int numbers = 0;
    while (tokens.Next(&token)) {
      // A tag has a quote in front or touches the bar.
      const bool touches = token.p + token.n == line.text + line.end;
      if (*token.p == '\'' || (touches && numbers > 0)) {
        const size_t quote = *token.p == '\'' ? 1 : 0;
        const auto targets = rows_.Find(kTag, 3);
        if (targets && !rows_.Text(targets, token.p + quote, token.n - quote, 1, marks, what)) {
          return false;
        }
        continue;
      }
      float base;
      const bool right = numbers == 0   ? ParseLabel(token.p, token.n, &marks->label, what)
                         : numbers == 1 ? ParseWeight(token.p, token.n, &marks->weight, what)
                                        : ParseReal(token.p, token.n, &base);
      if (right && ++numbers <= 3) continue;
      if (what->empty()) {
        *what = ShownText(token.p, token.n) + " before the |; expected LABEL IMPORTANCE BASE 'TAG";
      }
      return false;
    }
    if (numbers > 0 || plan().spec().label.empty()) return true;
    *what = "no label; expected LABEL |NAMESPACE FEATURE ... (or set label: \"\")";
    return false;
  }

  bool Body(const RowLine& line, RowMarks* marks, std::string* what) {
    Tokens tokens(line);
    Token token;
    Namespace ns;
    while (tokens.Next(&token)) {
      if (*token.p == '|') {
        if (!Open(token, &ns, what)) return false;
      } else if (memchr(token.p, '|', token.n) != nullptr) {
        *what = "a | inside " + ShownText(token.p, token.n) + "; expected a space in front of it";
        return false;
      } else if (!Feature(token, ns, marks, what)) {
        return false;
      }
    }
    return true;
  }

  bool Open(const Token& token, Namespace* ns, std::string* what) {
    *ns = Namespace();
    const size_t end = token.colons > 0 ? token.colon[0] : token.n;
    const size_t n = end - 1;
    if (token.colons > 1 || memchr(token.p + 1, '|', token.n - 1) != nullptr ||
        (token.colons == 1 && !ParseReal(token.After(0), token.LengthAfter(0), &ns->scale))) {
      *what = "namespace " + ShownText(token.p, token.n) + "; expected |NAME or |NAME:NUMBER";
      return false;
    }
    ns->targets = rows_.Find(token.p + 1, n);
    ns->hash = HashPadded(token.p + 1, n);
    return true;
  }

  bool Feature(const Token& token, const Namespace& ns, RowMarks* marks, std::string* what) {
    const size_t name = token.colons > 0 ? token.colon[0] : token.n;
    if (name == 0 || token.colons > 1) return Bad(token, what);
    const char* const value_text = token.p + name + 1;
    const size_t value_n = token.colons > 0 ? token.n - name - 1 : 0;
    if (!ns.targets && token.colons > 0) {
      const auto column = rows_.Find(token.p, name);
      if (column) return Column(column, value_text, value_n, ns.scale, marks, what);
    }
    float value = 1;
    if (token.colons > 0 && !ParsePaddedReal(value_text, value_n, &value)) return Bad(token, what);
    value *= ns.scale;
    if (!std::isfinite(value)) return Bad(token, what);
    if (ns.targets) return rows_.Number(ns.targets, token.p, name, value, marks, what);
    if (rows_.has_other()) rows_.Other(CombineHashes(ns.hash, HashPadded(token.p, name)), value);
    return true;
  }

  // FEATURE:TEXT, FEATURE a column.
  bool Column(SparseRows::Targets targets, const char* p, size_t n, float scale, RowMarks* marks,
              std::string* what) {
    for (const auto* t = targets.begin; t != targets.end; ++t) {
      const SparseRows::Targets one{t, t + 1};
      float x;
      const bool scaled = t->kind == SparseRows::Target::kNumber && ParsePaddedReal(p, n, &x) &&
                          std::isfinite(x * scale);
      if (scaled ? !rows_.Number(one, p, n, x * scale, marks, what)
                 : !rows_.Text(one, p, n, scale, marks, what)) {
        return false;
      }
    }
    return true;
  }

  static bool Bad(const Token& token, std::string* what) {
    *what = "feature " + ShownText(token.p, token.n) + "; expected NAME or NAME:NUMBER";
    return false;
  }

  static constexpr char kTag[kTextPadding + 8] = "tag";
  SparseRows rows_;
};

}  // namespace

std::unique_ptr<RowParser> MakeVwParser(const RowParserInputs& inputs) {
  return std::make_unique<VwParser>(inputs);
}

}  // namespace mariana
