#include <cstdio>

#include "common/base/error.h"
#include "mariana_dnn/job.h"
#include "mariana_dnn/verbs.h"

namespace mariana {

int DocumentVerb(const CommandLine& cl) {
  JobSpec spec;
  const auto describe = [&spec](Fields* f) { spec.Describe(f); };
  const std::string what = cl.arguments.empty() ? "" : cl.arguments[0];
  if (what == "markdown") {
    std::fputs(DocumentConfig("mariana_dnn", describe).c_str(), stdout);
  } else if (what == "schema") {
    std::fputs(ConfigJsonSchema("mariana_dnn", describe).c_str(), stdout);
  } else {
    throw Fail(ExitCode::kUsage, "document: say `markdown` or `schema`, not \"", what, "\"");
  }
  return 0;
}

}  // namespace mariana
