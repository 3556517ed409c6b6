// What makes two starts the same run: the values that --resume must find unchanged, as the YAML
// that PrintConfig makes of them, kept in every checkpoint. Pure functions; thread-safe.
#pragma once

#include <string>

namespace mariana {

// The first difference of two of them: "train.batch_size was 256 and is now 128".
std::string FirstChange(const std::string& before, const std::string& now);

// Throws Error(kUsage) naming `checkpoint` and the first difference, if there is one.
void CheckIdentity(const std::string& before, const std::string& now,
                   const std::string& checkpoint);

}  // namespace mariana
