// LoadConfig: a YAML job spec (anchors, `<<` merge keys, ${VAR}, `include: FILE`) plus
// `key.path=value` overrides
// -> a described struct. Unknown keys, duplicate keys, wrong types, ranges and units are
// collected and reported together, each as
//   file:line:column: path: what is wrong; did you mean ...
// and mistakes in overrides, after the file's, as
//   override "train.epcohs=5": train.epcohs: unknown key; did you mean "train.epochs"?
// Keys "x-..." at the top hold anchors and are not read. Numbers are YAML 1.2's plain decimals;
// what readers disagree about (010, yes, 1_000, tags) is refused rather than guessed.
// Thread-safe: no shared state.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "common/config/fields.h"

namespace mariana {

struct ConfigSource {
  std::string path;                    // the YAML file
  std::vector<std::string> overrides;  // "train.epochs=5", applied in order, highest priority
};

// What was read, beside the struct itself.
struct EffectiveConfig {
  std::string yaml;  // every field with its value; a comment names the origin of each:
                     // default, file:line, or the override
  std::string hash;  // 16 hex digits over the effective values (not over origins)
};

// Reads into whatever `describe` describes. Throws Error(kUsage) whose message holds one line
// per mistake, in file order.
EffectiveConfig LoadConfig(const ConfigSource& source,
                           const std::function<void(Fields*)>& describe);
// The same from text, which includes no files; `name` stands for the file in messages, `folder` for
// its folder.
EffectiveConfig LoadConfigText(const std::string& text, const std::string& name,
                               const std::string& folder, const std::vector<std::string>& overrides,
                               const std::function<void(Fields*)>& describe);

// The current values of a described struct as YAML, without origins (job.yaml of a model file).
std::string PrintConfig(const std::function<void(Fields*)>& describe);

// Markdown table of every field (docs/config/), and JSON Schema (draft 2020-12).
std::string DocumentConfig(const std::string& title, const std::function<void(Fields*)>& describe);
std::string ConfigJsonSchema(const std::string& title,
                             const std::function<void(Fields*)>& describe);

// The candidate nearest to `word` in edit distance, or "" if none is near.
std::string DidYouMean(const std::string& word, const std::vector<std::string>& candidates);

}  // namespace mariana
