// glog, set up once: nothing but warnings and errors on stderr until a run directory is there,
// then everything from INFO on also in RUN_DIR/log, one file a rank and start. A failed CHECK
// prints its message and stack and exits with 70, not by abort.
#pragma once

#include <string>

namespace mariana {

void InitLog(const char* program);  // once, from main
// Files RUN_DIR/log/rank-<rank>.<time>.<pid> from here on.
void LogToFolder(const std::string& folder, int rank);

}  // namespace mariana
