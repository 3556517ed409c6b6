#include "common/train/model_files.h"

#include <cstdio>
#include <filesystem>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/config/config.h"
#include "common/train/checkpoint.h"

namespace mariana {

bool EndsWith(const std::string& text, const std::string& end) {
  return text.size() >= end.size() && text.compare(text.size() - end.size(), end.size(), end) == 0;
}

std::string ExportSafetensors(const std::string& from, const std::string& to) {
  const LoadedModel model = LoadModel(from);
  FileWriter writer(to);
  WriteSafetensors(&writer, model.tensors, model.metadata);
  writer.Finish();
  return model.path;
}

void PrintModel(const std::string& path) {
  const LoadedModel model = LoadModel(path);
  int64_t elements = 0;
  std::printf("%s\n", model.path.c_str());
  for (const HostTensor& t : model.tensors) {
    std::printf("  %-40s %-5s %s\n", t.name.c_str(), Name(t.dtype), t.shape.ToString().c_str());
    elements += t.shape.elements();
  }
  std::printf("  %zu tensors, %lld elements\n", model.tensors.size(),
              static_cast<long long>(elements));
  for (const auto& [key, value] : model.metadata) {
    const bool long_text = value.find('\n') != std::string::npos;
    std::printf("%s:%s%s\n", key.c_str(), long_text ? "\n" : " ", value.c_str());
  }
}

std::string PathArgument(const CommandLine& cl, const std::string& kinds) {
  if (cl.arguments.size() != 1) {
    throw Fail(ExitCode::kUsage, cl.verb, ": give one PATH: ", kinds);
  }
  const std::string& path = cl.arguments[0];
  if (!std::filesystem::exists(path)) {
    throw Fail(ExitCode::kBadData, path, ": no such file or folder");
  }
  return path;
}

int DocumentJob(const CommandLine& cl, const std::function<void(Fields*)>& describe) {
  const std::string what = cl.arguments.empty() ? "" : cl.arguments[0];
  if (what == "markdown") {
    std::fputs(DocumentConfig(cl.program, describe).c_str(), stdout);
  } else if (what == "schema") {
    std::fputs(ConfigJsonSchema(cl.program, describe).c_str(), stdout);
  } else {
    throw Fail(ExitCode::kUsage, "document: say `markdown` or `schema`, not \"", what, "\"");
  }
  return 0;
}

}  // namespace mariana
