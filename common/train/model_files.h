// Models as files, whatever they model: what the verbs `export` and `inspect` of all programs do.
// Free functions; thread-safe.
#pragma once

#include <functional>
#include <string>

#include "common/config/fields.h"
#include "common/train/command_line.h"

namespace mariana {

bool EndsWith(const std::string& text, const std::string& end);

// Copies the model (a run directory, a checkpoint, a file; see LoadModel) into one .safetensors
// file; returns where it was read from.
std::string ExportSafetensors(const std::string& from, const std::string& to);

// Tensors and metadata of a model, to stdout.
void PrintModel(const std::string& path);

// The one argument of a verb on a path that must be there. `kinds`: "a run directory, ...".
std::string PathArgument(const CommandLine& command_line, const std::string& kinds);

// The verb `document markdown|schema`: the reference of a program's config.
int DocumentJob(const CommandLine& command_line, const std::function<void(Fields*)>& describe);

}  // namespace mariana
