#include "common/config/scalars.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <optional>
#include <string_view>
#include <vector>

#include "common/base/error.h"
#include "common/config/mistakes.h"

namespace mariana {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

bool AllDigits(std::string_view s) {
  return !s.empty() && std::all_of(s.begin(), s.end(), IsDigit);
}

std::string_view WithoutSign(std::string_view s) {
  if (!s.empty() && (s[0] == '-' || s[0] == '+')) s.remove_prefix(1);
  return s;
}

bool IsWhole(std::string_view s) { return AllDigits(WithoutSign(s)); }

bool HasLeadingZero(std::string_view s) {
  s = WithoutSign(s);
  return s.size() > 1 && s[0] == '0' && IsDigit(s[1]);
}

// [-+]? (digits [. digits?] | . digits) ([eE] [-+]? digits)?
bool IsDecimal(std::string_view s) {
  s = WithoutSign(s);
  const size_t e = s.find_first_of("eE");
  if (e != s.npos && !IsWhole(s.substr(e + 1))) return false;
  const std::string_view mantissa = s.substr(0, e);
  const size_t point = mantissa.find('.');
  if (point == mantissa.npos) return AllDigits(mantissa);
  const std::string_view before = mantissa.substr(0, point), after = mantissa.substr(point + 1);
  return (before.empty() || AllDigits(before)) && (after.empty() || AllDigits(after)) &&
         !(before.empty() && after.empty());
}

// from_chars knows no '+'.
template <class T>
std::errc FromText(std::string_view s, T* value) {
  if (!s.empty() && s[0] == '+') s.remove_prefix(1);
  return std::from_chars(s.data(), s.data() + s.size(), *value).ec;
}

std::string Lower(std::string_view s) {
  std::string lower;
  for (const char c : s) lower += c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return lower;
}

bool IsInfinityOrNan(std::string_view text) {
  std::string s = Lower(WithoutSign(text));
  if (!s.empty() && s[0] == '.') s.erase(0, 1);
  return s == "inf" || s == "infinity" || s == "nan";
}

// "write 1000" for what is nearly a number, or "".
std::string NumberHint(const Node& node, bool whole) {
  const std::string& text = node.text;
  const auto fits = [whole](const std::string& s) { return whole ? IsWhole(s) : IsDecimal(s); };
  if (node.quoted) return fits(text) ? "; remove the quotes" : "";
  std::string plain;
  for (const char c : text) {
    if (c != '_' && c != ',') plain += c;
  }
  const bool separators = plain.size() != text.size();
  if (!whole && std::count(text.begin(), text.end(), ',') == 1) {
    std::string point = text;
    point[point.find(',')] = '.';
    if (fits(point)) return "; write " + point;
  }
  if (separators && fits(plain) && !HasLeadingZero(plain)) return "; write " + plain;
  double real = 0;
  if (whole && IsDecimal(text) && FromText(text, &real) == std::errc() &&
      real == std::floor(real) && std::abs(real) < 1e15) {
    return "; write " + FormatReal(real);
  }
  uint64_t hex = 0;
  if (text.size() > 2 && text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
    const char* end = text.data() + text.size();
    const auto read = std::from_chars(text.data() + 2, end, hex, 16);
    if (read.ec == std::errc() && read.ptr == end) return "; write " + std::to_string(hex);
  }
  return "";
}

std::string Expected(const char* what, const Node& node, const std::string& hint = "") {
  return StrCat("expected ", what, ", got ", Shown(node), hint);
}

std::string LeadingZero(const std::string& text) {
  return text + " has a leading zero, which some readers take for octal; write it without";
}

struct Unit {
  const char* name;
  double factor;
};

const std::vector<Unit>& ByteUnits() {
  static const std::vector<Unit> units{
      {"B", 1},     {"kB", 1e3},   {"KB", 1e3},      {"MB", 1e6},         {"GB", 1e9},
      {"TB", 1e12}, {"KiB", 1024}, {"MiB", 1048576}, {"GiB", 1073741824}, {"TiB", 1099511627776}};
  return units;
}

const std::vector<Unit>& SecondUnits() {
  static const std::vector<Unit> units{
      {"ms", 1e-3}, {"s", 1}, {"min", 60}, {"h", 3600}, {"d", 86400}};
  return units;
}

// "1.5 GiB" -> number and factor. Returns "" or what is wrong.
std::string ParseQuantity(const Node& node, const char* what, const std::vector<Unit>& units,
                          const char* unit_names, std::string* number, double* factor) {
  if (node.kind != Node::Kind::kScalar) return Expected(what, node);
  const std::string& text = node.text;
  // The unit is what follows the number; an 'e' within a number belongs to the number.
  size_t end = text.find_last_of("0123456789.");
  end = end == text.npos ? 0 : end + 1;
  *number = text.substr(0, end);
  const size_t unit_start = text.find_first_not_of(' ', end);
  const std::string unit = unit_start == text.npos ? "" : text.substr(unit_start);
  if (IsInfinityOrNan(text)) return StrCat("must be finite, is ", Shown(node));
  if (!IsDecimal(*number)) {
    return Expected(what, node, unit.empty() ? NumberHint(node, false) : "");
  }
  if (HasLeadingZero(*number)) return LeadingZero(*number);
  *factor = 1;
  if (unit.empty()) return node.quoted ? Expected(what, node, NumberHint(node, false)) : "";
  for (const Unit& known : units) {
    if (unit == known.name) {
      *factor = known.factor;
      return "";
    }
  }
  return StrCat("has an unknown unit \"", OneLine(unit, 20), "\"; units are ", unit_names);
}

}  // namespace

std::string Shown(const Node& node) {
  switch (node.kind) {
    case Node::Kind::kNull: return "nothing";
    case Node::Kind::kList: return "a list";
    case Node::Kind::kMap: return "a section";
    case Node::Kind::kScalar: break;
  }
  const std::string text = OneLine(node.text, 40);
  return node.quoted ? "\"" + text + "\"" : text;
}

std::string FormatReal(double value) {
  if (value == std::floor(value) && std::abs(value) < 1e15) {
    return std::to_string(static_cast<int64_t>(value));
  }
  char text[32];
  return std::string(text, std::to_chars(text, text + sizeof text, value).ptr);
}

std::string ParseInt(const Node& node, int64_t* value) {
  const char* what = "a whole number";
  if (node.kind != Node::Kind::kScalar) return Expected(what, node);
  if (node.quoted || !IsWhole(node.text)) return Expected(what, node, NumberHint(node, true));
  if (HasLeadingZero(node.text)) return LeadingZero(Shown(node));
  if (FromText(node.text, value) != std::errc()) return Shown(node) + " does not fit 64 bits";
  return "";
}

std::string ParseReal(const Node& node, double* value) {
  const char* what = "a number";
  if (node.kind != Node::Kind::kScalar) return Expected(what, node);
  if (!node.quoted && IsInfinityOrNan(node.text)) {
    return StrCat("must be finite, is ", Shown(node));
  }
  if (node.quoted || !IsDecimal(node.text)) return Expected(what, node, NumberHint(node, false));
  if (HasLeadingZero(node.text)) return LeadingZero(Shown(node));
  if (FromText(node.text, value) != std::errc()) {
    return Shown(node) + " is too large or too small for a 64-bit number";
  }
  return "";
}

std::string ParseBool(const Node& node, bool* value) {
  const char* what = "true or false";
  if (node.kind != Node::Kind::kScalar) return Expected(what, node);
  const std::string& text = node.text;
  const bool is_true = text == "true" || text == "True" || text == "TRUE";
  const bool is_false = text == "false" || text == "False" || text == "FALSE";
  if (node.quoted) return Expected(what, node, is_true || is_false ? "; remove the quotes" : "");
  if (!is_true && !is_false) {
    const std::string lower = Lower(text);
    const auto among = [&](const std::vector<std::string>& words) {
      return std::find(words.begin(), words.end(), lower) != words.end();
    };
    std::string hint;
    if (among({"yes", "on", "y", "1", "t"})) hint = "; write true";
    if (among({"no", "off", "n", "0", "f"})) hint = "; write false";
    return Expected(what, node, hint);
  }
  *value = is_true;
  return "";
}

std::string ParseText(const Node& node, std::string* value) {
  if (node.kind != Node::Kind::kScalar) return Expected("text", node);
  *value = node.text;
  return "";
}

std::string ParseBytes(const Node& node, int64_t* value) {
  std::string number;
  double factor = 1, real = 0;
  std::string wrong = ParseQuantity(node, "a number of bytes such as 512MB or 1.5 GiB", ByteUnits(),
                                    kByteUnitNames, &number, &factor);
  if (!wrong.empty()) return wrong;
  if (factor == 1 && IsWhole(number)) {  // exact, beyond a double's 53 bits
    if (FromText(number, value) != std::errc()) return Shown(node) + " does not fit 64 bits";
  } else {
    const bool fits = FromText(number, &real) == std::errc() && std::abs(real * factor) < 9e18;
    if (!fits) return Shown(node) + " does not fit 64 bits";
    if (factor == 1 && real != std::floor(real)) {
      return Shown(node) + " is not a whole number of bytes";
    }
    *value = static_cast<int64_t>(std::llround(real * factor));
  }
  return *value < 0 ? StrCat("is ", Shown(node), "; must not be negative") : "";
}

std::string ParseSeconds(const Node& node, double* value) {
  std::string number;
  double factor = 1;
  std::string wrong = ParseQuantity(node, "a time such as 90s or 10min", SecondUnits(),
                                    kSecondUnitNames, &number, &factor);
  if (!wrong.empty()) return wrong;
  const bool fits = FromText(number, value) == std::errc() && std::isfinite(*value * factor);
  if (!fits) return Shown(node) + " is too large or too small for a 64-bit number";
  // Dividing keeps 300ms at 0.3.
  *value = factor < 1 ? *value / std::round(1 / factor) : *value * factor;
  return "";
}

}  // namespace mariana
