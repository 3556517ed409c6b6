#include "common/config/config.h"

#include <cstdio>
#include <filesystem>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/includes.h"
#include "common/config/mistakes.h"
#include "common/config/overrides.h"
#include "common/config/printer.h"
#include "common/config/reader.h"
#include "common/config/yaml_tree.h"

namespace mariana {
namespace {

// FNV-1a, 64 bits.
std::string HashOf(const std::string& text) {
  uint64_t hash = 0xCBF29CE484222325u;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001B3u;
  char digits[17];
  std::snprintf(digits, sizeof digits, "%016llx", static_cast<unsigned long long>(hash));
  return digits;
}

// "net.include=zoo/alexnet.yaml"
bool SetsInclude(const std::string& override_path) {
  return override_path.substr(override_path.rfind('.') + 1) == "include";
}

EffectiveConfig Load(const std::string& text, const std::string& name, const std::string& folder,
                     const std::vector<std::string>& overrides, bool may_include,
                     const std::function<void(Fields*)>& describe) {
  Mistakes mistakes(name, overrides);
  std::optional<Node> root = ParseYaml(text, 0, &mistakes);
  if (!root) mistakes.Throw();
  std::vector<std::string> override_paths;
  for (const std::string& o : overrides) override_paths.push_back(OverridePath(o));
  // What is included comes before what changes it.
  const auto apply = [&](bool includes) {
    for (size_t i = 0; i < overrides.size(); ++i) {
      if ((may_include && SetsInclude(override_paths[i])) != includes) continue;
      ApplyOverride(overrides[i], static_cast<int>(i) + 1, &*root, &mistakes);
    }
  };
  apply(true);
  std::vector<std::string> folders{folder};
  if (may_include) folders = ResolveIncludes(folder, &*root, &mistakes);
  apply(false);
  Reader reader(folders, override_paths, &mistakes);
  reader.Read(*root, describe);
  mistakes.Throw();

  Printer printer([&](const std::string& path) {
    const Place* place = reader.OriginOf(path);
    return place ? mistakes.OriginOf(*place) : std::string("default");
  });
  describe(&printer);
  return {printer.text(), HashOf(PrintConfig(describe))};
}

}  // namespace

EffectiveConfig LoadConfig(const ConfigSource& source,
                           const std::function<void(Fields*)>& describe) {
  std::string text;
  try {
    text = ReadFile(source.path);
  } catch (const Error& error) {
    throw Error(ExitCode::kUsage, error.message());
  }
  const std::string folder = std::filesystem::path(source.path).parent_path().string();
  return Load(text, source.path, folder, source.overrides, /*may_include=*/true, describe);
}

EffectiveConfig LoadConfigText(const std::string& text, const std::string& name,
                               const std::string& folder, const std::vector<std::string>& overrides,
                               const std::function<void(Fields*)>& describe) {
  return Load(text, name, folder, overrides, /*may_include=*/false, describe);
}

std::string PrintConfig(const std::function<void(Fields*)>& describe) {
  Printer printer(nullptr);
  describe(&printer);
  return printer.text();
}

}  // namespace mariana
