// ResolveIncludes: `include: FILE` in any section brings in the keys of another YAML file, as `<<`
// does those of a map: keys at hand win. Relative paths are relative to the folder of the file that
// says so (of an override: to the current one), ${VAR} expands. Thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/config/mistakes.h"

namespace mariana {

// Leaves no `include` in the tree. `folder` is the config file's. Returns the folders of all files:
// [0] is `folder`, [i] of places with source -i.
std::vector<std::string> ResolveIncludes(const std::string& folder, Node* root, Mistakes* mistakes);

}  // namespace mariana
