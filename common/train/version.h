// The version of the programs, as --version and summary.json tell it.
#pragma once

namespace mariana {

inline constexpr char kVersion[] = "0.1.0";

}  // namespace mariana
