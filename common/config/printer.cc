#include "common/config/printer.h"

#include <cctype>
#include <cstdio>
#include <cstring>

#include "common/config/node.h"
#include "common/config/paths.h"
#include "common/config/scalars.h"

namespace mariana {
namespace {

template <class T, class Format>
std::string FlowList(const std::vector<T>& values, const Format& format) {
  std::string list;
  for (const T& value : values) list += (list.empty() ? "" : ", ") + format(value);
  return "[" + list + "]";
}

std::string Whole(int64_t value) { return std::to_string(value); }

// Letters first, then what cannot mean anything else; not what some reader takes for a boolean,
// a number or nothing.
bool IsPlain(const std::string& text) {
  if (text.empty() || !(std::isalpha(static_cast<unsigned char>(text[0])) || text[0] == '/')) {
    return false;
  }
  for (const char c : text) {
    if (!std::isalnum(static_cast<unsigned char>(c)) && !std::strchr("_-./", c)) return false;
  }
  std::string lower = text;
  for (char& c : lower) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  for (const char* word :
       {"y", "n", "yes", "no", "on", "off", "true", "false", "null", "inf", "nan", "infinity"}) {
    if (lower == word) return false;
  }
  return true;
}

}  // namespace

std::string QuoteYaml(const std::string& text) {
  if (IsPlain(text)) return text;
  std::string quoted = "\"";
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      quoted += '\\';
      quoted += c;
    } else if (c == '\n') {
      quoted += "\\n";
    } else if (byte < 0x20 || byte == 0x7F) {
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\x%02X", byte);
      quoted += escape;
    } else {
      quoted += c;
    }
  }
  return quoted + "\"";
}

void Printer::Line(const std::string& key, const std::string& value) {
  std::string start(indent_, ' ');
  if (dash_) start.replace(indent_ - 2, 2, "- ");
  dash_ = false;
  text_ += start + key + ": " + value;
  if (origin_) text_ += "  # " + origin_(JoinKeys(path_, key));
  text_ += "\n";
}

void Printer::Block(const std::string& key, const char* empty, const std::function<void()>& body) {
  const size_t before = text_.size();
  const std::string path = path_;
  const bool dash = dash_;
  std::string start(indent_, ' ');
  if (dash_) start.replace(indent_ - 2, 2, "- ");
  dash_ = false;
  text_ += start + key + ":\n";
  const size_t size = text_.size();
  path_ = JoinKeys(path_, key);
  indent_ += 2;
  body();
  indent_ -= 2;
  path_ = path;
  if (text_.size() != size) return;
  text_.resize(before);
  dash_ = dash;
  Line(key, empty);
}

void Printer::Element(size_t i, const std::function<void()>& body) {
  const std::string path = path_;
  path_ = JoinKeys(path_, std::to_string(i));
  indent_ += 2;
  dash_ = true;
  body();
  if (dash_) text_ += std::string(indent_ - 2, ' ') + "- {}\n";
  dash_ = false;
  indent_ -= 2;
  path_ = path;
}

void Printer::Int(const char* key, int64_t* value, const char*, Rule) { Line(key, Whole(*value)); }
void Printer::Real(const char* key, double* value, const char*, Rule) {
  Line(key, FormatReal(*value));
}
void Printer::Bool(const char* key, bool* value, const char*) {
  Line(key, *value ? "true" : "false");
}
void Printer::Text(const char* key, std::string* value, const char*, Rule) {
  Line(key, QuoteYaml(*value));
}
void Printer::Path(const char* key, std::string* value, PathKind, const char*, Rule) {
  Line(key, QuoteYaml(EscapePath(*value)));
}
void Printer::Bytes(const char* key, int64_t* value, const char*, Rule) {
  Line(key, Whole(*value));
}
void Printer::Seconds(const char* key, double* value, const char*, Rule) {
  Line(key, FormatReal(*value));
}
void Printer::IntList(const char* key, std::vector<int64_t>* value, const char*, Rule) {
  Line(key, FlowList(*value, Whole));
}
void Printer::IntListOr(const char* key, std::vector<int64_t>* value, const char* word,
                        const char*, Rule) {
  Line(key, value->empty() ? QuoteYaml(word) : FlowList(*value, Whole));
}
void Printer::RealList(const char* key, std::vector<double>* value, const char*, Rule) {
  Line(key, FlowList(*value, FormatReal));
}
void Printer::TextList(const char* key, std::vector<std::string>* value, const char*, Rule) {
  Line(key, FlowList(*value, QuoteYaml));
}
void Printer::DoChoice(const char* key, const std::vector<const char*>& names, int* chosen,
                       const char*) {
  Line(key, QuoteYaml(names[static_cast<size_t>(*chosen)]));
}

void Printer::DoSection(const char* key, const std::function<void(Fields*)>& describe,
                        const char*) {
  Block(key, "{}", [&] { describe(this); });
}

void Printer::DoList(const char* key, size_t size, const std::function<void(size_t)>&,
                     const std::function<void(size_t, Fields*)>& describe,
                     const std::function<void(Fields*)>&, const char*, Rule) {
  Block(key, "[]", [&] {
    for (size_t i = 0; i < size; ++i) Element(i, [&] { describe(i, this); });
  });
}

void Printer::DoVariants(const char* key, const std::vector<VariantRow>&, size_t size,
                         const std::function<void(size_t, size_t)>&, const std::function<void()>&,
                         const std::function<const char*(size_t)>& type_of,
                         const std::function<void(size_t, Fields*)>& describe, const char*, Rule) {
  Block(key, "[]", [&] {
    for (size_t i = 0; i < size; ++i) {
      Element(i, [&] {
        Line("type", QuoteYaml(type_of(i)));
        describe(i, this);
      });
    }
  });
}

}  // namespace mariana
