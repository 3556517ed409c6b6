// ParseYaml: text -> Node tree, with what yaml-cpp 0.7 leaves undone: `<<` merged (a map or a list
// of maps; keys at hand win, then earlier maps), duplicate keys, tags, second documents and keys
// that are not plain text refused, aliases expanded within a budget, depth limited. Thread-safe.
#pragma once

#include <optional>
#include <string>

#include "common/config/mistakes.h"

namespace mariana {

// Nothing, after a mistake, where the text cannot be read to its end. An empty text is a null.
std::optional<Node> ParseYaml(const std::string& text, int source, Mistakes* mistakes);

}  // namespace mariana
