// RowSpec: what a job says of its click logs: their format, what of a row becomes which feature,
// which rows are for training. Plain values; thread-compatible.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/config/fields.h"

namespace mariana {

enum class RowFormat { kCriteo, kCsv, kLibsvm, kLibffm, kVw };
enum class RowFieldKind { kCategorical, kMulti, kNumeric };
enum class LabelKind { kBinary, kNumber };

// A field: one thing known about each row. Its column is where the text has it:
//   criteo   label, I1 to I13, C1 to C26;
//   csv      a name of the header or of `columns`;
//   libsvm   the name before a colon, COLUMN:TEXT, or COLUMN=TEXT:WEIGHT;
//   libffm   the first of COLUMN:TEXT:WEIGHT (numeric: COLUMN:anything:NUMBER);
//   vw       a namespace, |COLUMN TEXT:WEIGHT; or a feature of any namespace, |ns COLUMN:TEXT.
// In the last three, column "*" takes what no other field takes.
// A categorical feature's key is hash(hash(name), hash(TEXT)), whatever the format.
struct RowFieldSpec {
  std::string name, column;  // column: the name when empty
  RowFieldKind kind = RowFieldKind::kCategorical;
  std::string separator = ",";  // of a multi-value field
  // Of a numeric field: what it becomes, and how.
  bool dense = true, bucket = false, value = false;
  bool log = false, standardise = false;
  double mean = 0, deviation = 0;  // deviation 0: measured on the training data
  int64_t quantiles = 0;
  std::vector<double> boundaries;
  double missing = 0;
  void Describe(Fields* f);
};

struct CrossSpec {
  std::string name;  // fields joined by "*" when empty
  std::vector<std::string> fields;
  void Describe(Fields* f);
};

enum class NegativeCorrection { kWeight, kBias };

struct NegativesSpec {
  double keep = 1;
  NegativeCorrection correct = NegativeCorrection::kWeight;
  int64_t seed = 1;
  void Describe(Fields* f);
};

enum class HeldOutKind { kNone, kRandom, kLast, kAfter };
enum class HeldOutBy { kRow, kGroup, kId };

struct HeldOutSpec {
  HeldOutKind kind = HeldOutKind::kNone;
  double fraction = 0.1;           // random, last
  HeldOutBy by = HeldOutBy::kRow;  // random
  int64_t seed = 1;                // random
  std::string column, after;       // after
  void Describe(Fields* f);
};

struct RowSpec {
  RowFormat format = RowFormat::kCriteo;
  bool header = true, multiline = false;
  std::string delimiter = ",";
  std::vector<std::string> columns, missing;
  LabelKind labels = LabelKind::kBinary;
  std::string label = "label", positive, weight, group, id;
  std::vector<RowFieldSpec> fields;
  std::vector<CrossSpec> crosses;
  int64_t field_count = 64;
  NegativesSpec negatives;
  HeldOutSpec held_out;
  double max_bad_fraction = 0.001;
  int64_t line_limit = 1 << 20;
  void Describe(Fields* f);
};

// The names of Criteo's 40 columns.
std::vector<std::string> CriteoColumns();
// The one byte that a delimiter or separator means ("tab", "space" or itself), or 0 for none.
char SingleByte(const std::string& text);
// The fields of a spec, those that a format implies when none are listed included, columns filled.
std::vector<RowFieldSpec> EffectiveFields(const RowSpec& spec);

}  // namespace mariana
