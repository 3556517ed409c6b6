#include "common/data/rows/row_spec.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "common/base/error.h"

namespace mariana {
namespace {

// The first word that comes twice, or "".
std::string FirstRepeated(const std::vector<std::string>& words) {
  std::set<std::string> seen;
  for (const std::string& w : words) {
    if (!seen.insert(w).second) return w;
  }
  return "";
}

std::string Quoted(const std::string& text) { return "\"" + text + "\""; }

std::string CrossName(const CrossSpec& cross) {
  if (!cross.name.empty()) return cross.name;
  std::string name;
  for (const std::string& f : cross.fields) name += (name.empty() ? "" : "*") + f;
  return name;
}

// Mistakes between the parts of a spec. All are said at once, in one message at the fields' place.
class FieldMistakes {
 public:
  explicit FieldMistakes(const RowSpec& spec) : spec_(spec), fields_(EffectiveFields(spec)) {
    CheckNames();
    CheckColumns();
    for (const CrossSpec& cross : spec.crosses) CheckCross(cross);
    const bool random = spec.held_out.kind == HeldOutKind::kRandom;
    Need(!random || spec.held_out.by != HeldOutBy::kGroup || !spec.group.empty(),
         "held_out.by is group, but there is no group column");
    Need(!random || spec.held_out.by != HeldOutBy::kId || !spec.id.empty(),
         "held_out.by is id, but there is no id column");
  }
  const std::string& text() const { return text_; }

 private:
  void Need(bool right, const std::string& what) {
    if (!right) text_ += (text_.empty() ? "" : "; ") + what;
  }

  void CheckNames() {
    std::vector<std::string> names;
    for (const RowFieldSpec& field : fields_) names.push_back(field.name);
    for (const CrossSpec& cross : spec_.crosses) names.push_back(CrossName(cross));
    const std::string twice = FirstRepeated(names);
    Need(twice.empty(), StrCat("two fields (or crosses) are named ", Quoted(twice)));
    Need(names.size() <= 65535, StrCat(names.size(), " fields are too many; 65535 is most"));
    Need(!fields_.empty(), "format csv needs fields: which columns are features");
  }

  void CheckColumns() {
    const bool criteo = spec_.format == RowFormat::kCriteo;
    const std::vector<std::string> known = criteo ? CriteoColumns() : spec_.columns;
    const bool table = criteo || spec_.format == RowFormat::kCsv;
    for (const RowFieldSpec& field : fields_) {
      if (!table) continue;
      Need(field.column != "*",
           StrCat("field ", Quoted(field.name), ": column \"*\" is for libsvm, libffm and vw"));
      Need(known.empty() || Contains(known, field.column),
           StrCat("field ", Quoted(field.name), ": there is no column ", Quoted(field.column)));
    }
  }

  void CheckCross(const CrossSpec& cross) {
    for (const std::string& name : cross.fields) {
      const auto found = std::find_if(fields_.begin(), fields_.end(),
                                      [&](const RowFieldSpec& f) { return f.name == name; });
      Need(found != fields_.end(),
           StrCat("cross ", CrossName(cross), ": ", Quoted(name), " is not among the fields"));
      Need(
          found == fields_.end() || found->kind != RowFieldKind::kNumeric || found->bucket,
          StrCat("cross ", CrossName(cross), ": the number ", Quoted(name), " needs bucket: true"));
    }
  }

  static bool Contains(const std::vector<std::string>& words, const std::string& word) {
    return std::find(words.begin(), words.end(), word) != words.end();
  }

  const RowSpec& spec_;
  const std::vector<RowFieldSpec> fields_;
  std::string text_;
};

void CheckTable(const RowSpec& spec, Fields* f) {
  const char delimiter = SingleByte(spec.delimiter);
  f->Require(delimiter != 0 && delimiter != '"' && delimiter != '\n' && delimiter != '\r',
             "delimiter", "must be one character other than a quote, or one of: tab, space");
  f->Require(spec.format != RowFormat::kCsv || spec.header || !spec.columns.empty(), "columns",
             "must name the columns of files without a header");
  const std::string twice = FirstRepeated(spec.columns);
  f->Require(twice.empty(), "columns", StrCat("has ", Quoted(twice), " twice"));
}

}  // namespace

void RowFieldSpec::Describe(Fields* f) {
  f->Text("name", &name, "Its name; keys are made of it.", Rule().Required());
  f->Text("column", &column, "Where rows have it; empty: the name.");
  f->Choice("kind", &kind,
            {{"categorical", RowFieldKind::kCategorical},
             {"multi", RowFieldKind::kMulti},
             {"numeric", RowFieldKind::kNumeric}},
            "categorical: one value; multi: any number of values; numeric: a number.");
  f->Text("separator", &separator, "Between the values of a multi field: a character, tab, space.");
  f->Bool("dense", &dense, "A number becomes a dense input of nets.");
  f->Bool("bucket", &bucket, "A number becomes a categorical feature: its bucket.");
  f->Bool("value", &value, "A number becomes a sparse feature whose value it is.");
  f->Bool("log", &log, "sign(x) log(1 + |x|) of the number, dense and value.");
  f->Bool("standardise", &standardise, "Then less the mean, over the deviation.");
  f->Real("mean", &mean, "Of the numbers (of their logarithms with log); read with deviation.");
  f->Real("deviation", &deviation, "0: mean and deviation are measured on the training data.",
          Rule().Min(0));
  f->RealList("boundaries", &boundaries, "Bucket i holds numbers from boundary i - 1 on, below i.");
  f->Int("quantiles", &quantiles,
         "Boundaries that cut the training data's non-zero numbers into so many equal parts; "
         "every number its own bucket where there are fewer than 64.",
         Rule().Min(0).Max(65535));
  f->Real("missing", &missing, "The dense input where the number is missing.");
  const char single = SingleByte(separator);
  f->Require(single != 0 && single != '\n' && single != '\r' && single != '"', "separator",
             "must be one character other than a quote, or one of: tab, space");
  f->Require(!bucket || !boundaries.empty() || quantiles > 0, "bucket",
             "needs boundaries or quantiles");
  f->Require(std::is_sorted(boundaries.begin(), boundaries.end()), "boundaries", "must ascend");
  f->Require(kind == RowFieldKind::kNumeric || !(log || standardise || bucket || value), "kind",
             "must be numeric for log, standardise, bucket and value");
  f->Require(kind != RowFieldKind::kNumeric || dense || bucket || value, "dense",
             "or bucket or value must be true: the number becomes nothing");
}

void CrossSpec::Describe(Fields* f) {
  f->Text("name", &name, "Its name; keys are made of it. Empty: the fields, joined by *.");
  f->TextList("fields", &fields, "Two or three fields; a feature is a combination of values.",
              Rule().Required());
  f->Require(fields.size() == 2 || fields.size() == 3, "fields", "must be two or three fields");
}

void NegativesSpec::Describe(Fields* f) {
  f->Real("keep", &keep, "Share of the training rows without a click that is kept, at random.",
          Rule().Above(0).Max(1));
  f->Choice("correct", &correct,
            {{"weight", NegativeCorrection::kWeight}, {"bias", NegativeCorrection::kBias}},
            "weight: those kept count 1 / keep; bias: predictions are corrected by log(keep).");
  f->Int("seed", &seed, "Other rows for another seed.", Rule().Min(0));
}

void HeldOutSpec::Describe(Fields* f) {
  f->Choice("kind", &kind,
            {{"none", HeldOutKind::kNone},
             {"random", HeldOutKind::kRandom},
             {"last", HeldOutKind::kLast},
             {"after", HeldOutKind::kAfter}},
            "Which training rows are kept for evaluation. random: a share chosen by hash; last: "
            "the end of the logs, in the order of the files; after: from a time on.");
  f->Real("fraction", &fraction, "Their share, of rows (random) or bytes (last).",
          Rule().Above(0).Below(1));
  f->Choice("by", &by,
            {{"row", HeldOutBy::kRow}, {"group", HeldOutBy::kGroup}, {"id", HeldOutBy::kId}},
            "random: what is chosen. A row is known by its place, group and id by their values.");
  f->Int("seed", &seed, "random: others for another seed.", Rule().Min(0));
  f->Text("column", &column, "after: the column of times.");
  f->Text("after", &after, "after: rows with this time or a later one; whole numbers or text.");
  f->Require(kind != HeldOutKind::kAfter || (!column.empty() && !after.empty()), "column",
             "and after must be given for kind after");
}

void RowSpec::Describe(Fields* f) {
  f->Choice("format", &format,
            {{"criteo", RowFormat::kCriteo},
             {"csv", RowFormat::kCsv},
             {"libsvm", RowFormat::kLibsvm},
             {"libffm", RowFormat::kLibffm},
             {"vw", RowFormat::kVw}},
            "The text format; any may be gzip or zstd.");
  f->Bool("header", &header, "csv: the first line of each file names its columns.");
  f->TextList("columns", &columns, "csv: names of the columns, where there is no header.");
  f->Text("delimiter", &delimiter, "csv: between columns: a character, tab, space.");
  f->Bool("multiline", &multiline,
          "csv: quoted values may hold line breaks; files are then not read in parts.");
  f->TextList("missing", &missing, "Texts that stand for a missing value besides none, like NA.");
  f->Choice("labels", &labels, {{"binary", LabelKind::kBinary}, {"number", LabelKind::kNumber}},
            "binary: 1 a click, 0 or -1 none; number: anything, for squared losses.");
  f->Text("label", &label, "csv: the column of labels; empty: rows have none.");
  f->Text("positive", &positive, "csv: the text that means a click; any other means none.");
  f->Text("weight", &weight, "Column of the row's importance.");
  f->Text("group", &group, "Column that GAUC groups by (a user, a query).");
  f->Text("id", &id, "Column that joined features go by; \"tag\" is vw's tag.");
  f->List("fields", &fields,
          "What becomes a feature. None: criteo's 39 columns; in libffm a field for each number, "
          "in libsvm and vw one for all.");
  f->List("crosses", &crosses, "Features made of combinations of fields.");
  f->Int("field_count", &field_count, "libffm without fields: field numbers are below this.",
         Rule().Min(1).Max(65535));
  f->Section("negatives", &negatives, "Training on a part of the rows without a click.");
  f->Section("held_out", &held_out, "Rows kept apart for evaluation.");
  f->Real("max_bad_fraction", &max_bad_fraction,
          "Share of malformed rows above which the run ends; below it they are skipped.",
          Rule().Min(0).Max(1));
  f->Bytes("line_limit", &line_limit, "Longer lines are malformed.", Rule().Min(64).Max(1 << 28));
  CheckTable(*this, f);
  const std::string mistakes = FieldMistakes(*this).text();
  f->Require(mistakes.empty(), "fields", mistakes);
}

std::vector<std::string> CriteoColumns() {
  std::vector<std::string> names{"label"};
  for (int i = 1; i <= 13; ++i) names.push_back(StrCat("I", i));
  for (int i = 1; i <= 26; ++i) names.push_back(StrCat("C", i));
  return names;
}

char SingleByte(const std::string& text) {
  if (text == "tab") return '\t';
  if (text == "space") return ' ';
  return text.size() == 1 ? text[0] : '\0';
}

std::vector<RowFieldSpec> EffectiveFields(const RowSpec& spec) {
  std::vector<RowFieldSpec> fields = spec.fields;
  const auto add = [&](const std::string& name, const std::string& column, RowFieldKind kind) {
    RowFieldSpec f;
    f.name = name;
    f.column = column;
    f.kind = kind;
    fields.push_back(f);
    return &fields.back();
  };
  if (fields.empty() && spec.format == RowFormat::kCriteo) {
    for (const std::string& name : CriteoColumns()) {
      if (name == "label") continue;
      const bool number = name[0] == 'I';
      add(name, name, number ? RowFieldKind::kNumeric : RowFieldKind::kCategorical)->log = number;
    }
  } else if (fields.empty() && spec.format == RowFormat::kLibffm) {
    for (int64_t i = 0; i < spec.field_count; ++i) {
      add(std::to_string(i), std::to_string(i), RowFieldKind::kCategorical);
    }
  } else if (fields.empty() && spec.format != RowFormat::kCsv) {
    add("features", "*", RowFieldKind::kCategorical);
  }
  for (RowFieldSpec& f : fields) {
    if (f.column.empty()) f.column = f.name;
  }
  return fields;
}

}  // namespace mariana
