// CleanText: the checks on a config's bytes that come before YAML. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "common/config/mistakes.h"

namespace mariana {

// Without byte order mark and with \n line ends. Nothing, after a mistake, when the text is too
// large, not UTF-8, or holds control characters (yaml-cpp stops silently at some); tabs in
// indentation are a mistake each, but do not stop.
std::optional<std::string> CleanText(const std::string& text, int source, Mistakes* mistakes);

}  // namespace mariana
