// Paths in a config: ${VAR} expands, $$ is a $, relative ones are joined to a folder, inputs must
// exist. Functions return "" or what is wrong. Thread-safe (reads the environment).
#pragma once

#include <string>

#include "common/config/fields.h"
#include "common/config/node.h"

namespace mariana {

// The result is absolute, or "" for an empty text.
std::string ParsePath(const Node& node, const std::string& folder, PathKind kind,
                      std::string* value);
// The same for a path without variables.
std::string ResolvePath(const std::string& path, const std::string& folder, PathKind kind,
                        std::string* value);
// What ParsePath reads back as `path`.
std::string EscapePath(const std::string& path);

}  // namespace mariana
