// LoadConfigText on any bytes: an Error or a config that prints, and reads back to the same hash.
// The first line, when it starts with '!', holds overrides separated by '!'.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/config/config.h"
#include "tests/common/config/sample_spec.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using mariana::SampleJob;
  std::string text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string> overrides;
  if (!text.empty() && text[0] == '!') {
    const size_t end = std::min(text.find('\n'), text.size());
    for (size_t start = 1; start < end;) {
      const size_t next = std::min(text.find('!', start), end);
      overrides.push_back(text.substr(start, next - start));
      start = next + 1;
    }
    text.erase(0, end);
  }
  mariana::EffectiveConfig first;
  try {
    SampleJob job;
    first = mariana::LoadConfigText(text, "fuzz.yaml", "/", overrides,
                                    [&](mariana::Fields* f) { job.Describe(f); });
  } catch (const mariana::Error&) {
    return 0;
  }
  SampleJob again;  // an Error from here on is a bug
  const auto second = mariana::LoadConfigText(first.yaml, "job.yaml", "/elsewhere", {},
                                              [&](mariana::Fields* f) { again.Describe(f); });
  if (second.hash != first.hash) std::abort();
  return 0;
}
