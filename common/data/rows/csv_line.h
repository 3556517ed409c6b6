// One record of RFC 4180: values between delimiters, in double quotes where they hold delimiters,
// quotes (doubled) or line breaks. Thread-safe: pure functions.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace mariana {

// A value of a record: a piece of the record's text, or of `unquoted` where quotes were doubled.
struct CsvValue {
  const char* p;
  size_t n;
};

// Splits a record (without its line break). Values that need no rewriting stay where they are, the
// others go to `scratch`, whose capacity must be at least that of the record already. Returns ""
// or what is wrong.
std::string SplitCsv(std::string_view record, char delimiter, std::string* scratch,
                     std::vector<CsvValue>* values);

// A header's names; a broken one is a single name.
std::vector<std::string> SplitCsvLine(const std::string& line, char delimiter);

}  // namespace mariana
