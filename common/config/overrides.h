// ApplyOverride: puts "train.epochs=5" into the tree. Thread-compatible.
#pragma once

#include <string>

#include "common/config/mistakes.h"

namespace mariana {

// The value is YAML (so lists and maps work); an empty one is an empty text. A number in the path
// is an index into a list that is there. `source` is the place of `text` among the overrides,
// from 1. Unknown keys are left to the reader.
void ApplyOverride(const std::string& text, int source, Node* root, Mistakes* mistakes);

// The part before the '='.
std::string OverridePath(const std::string& text);

}  // namespace mariana
