#include "common/data/rows/csv_line.h"

#include "common/base/error.h"

namespace mariana {
namespace {

// The value that begins with the quote at `i`; returns where it ends (after its closing quote), or
// npos when it does not end.
size_t Unquote(std::string_view record, size_t i, std::string* scratch, CsvValue* value) {
  const size_t begin = ++i, kept = scratch->size();
  bool doubled = false;
  for (; i < record.size(); ++i) {
    if (record[i] == '"') {
      if (i + 1 >= record.size() || record[i + 1] != '"') {
        *value = doubled ? CsvValue{scratch->data() + kept, scratch->size() - kept}
                         : CsvValue{record.data() + begin, i - begin};
        if (!doubled) scratch->resize(kept);
        return i + 1;
      }
      doubled = true;
      ++i;
    }
    scratch->push_back(record[i]);
  }
  return std::string_view::npos;
}

}  // namespace

std::string SplitCsv(std::string_view record, char delimiter, std::string* scratch,
                     std::vector<CsvValue>* values) {
  scratch->clear();
  values->clear();
  for (size_t i = 0;; ++i) {
    CsvValue value{record.data() + i, 0};
    if (i < record.size() && record[i] == '"') {
      i = Unquote(record, i, scratch, &value);
      if (i == std::string_view::npos) {
        return StrCat("the quote of value ", values->size() + 1, " is not closed in this line");
      }
      if (i < record.size() && record[i] != delimiter) {
        return StrCat("value ", values->size() + 1,
                      " goes on after its closing quote; double the quotes inside a quoted value");
      }
    } else {
      const size_t end = std::min(record.find(delimiter, i), record.size());
      value.n = end - i;
      if (record.substr(i, value.n).find('"') != std::string_view::npos) {
        return StrCat("value ", values->size() + 1,
                      " has a quote inside but is not quoted; quote it and double the quote");
      }
      i = end;
    }
    values->push_back(value);
    if (i >= record.size()) return "";
  }
}

std::vector<std::string> SplitCsvLine(const std::string& line, char delimiter) {
  std::string scratch;
  scratch.reserve(line.size());
  std::vector<CsvValue> values;
  std::vector<std::string> names;
  if (!SplitCsv(line, delimiter, &scratch, &values).empty()) return {line};
  for (const CsvValue& v : values) names.emplace_back(v.p, v.n);
  return names;
}

}  // namespace mariana
