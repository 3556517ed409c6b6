// Scalars: what the text of one YAML value means. Each Parse* returns "" and sets *value, or says
// what is wrong and what would be right. Thread-safe.
//
// Stricter than YAML where readers disagree: 010 is refused (8 in YAML 1.1, 10 in 1.2), numbers are
// plain decimals, finite and unquoted, whole numbers have no point and no exponent, booleans are
// true and false.
#pragma once

#include <cstdint>
#include <string>

#include "common/config/fields.h"
#include "common/config/node.h"

namespace mariana {

std::string ParseInt(const Node& node, int64_t* value);
std::string ParseReal(const Node& node, double* value);
std::string ParseBool(const Node& node, bool* value);
// Any single value is text as it stands there, quoted or not.
std::string ParseText(const Node& node, std::string* value);
std::string ParseBytes(const Node& node, int64_t* value);
std::string ParseSeconds(const Node& node, double* value);

// The shortest text that reads back as `value`.
std::string FormatReal(double value);
// A value as messages show it: 3.0, "5", a list.
std::string Shown(const Node& node);

inline constexpr char kByteUnitNames[] = "B, kB, MB, GB, TB, KiB, MiB, GiB, TiB";
inline constexpr char kSecondUnitNames[] = "ms, s, min, h, d";

}  // namespace mariana
