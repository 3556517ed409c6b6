#include "common/device/plugin/plugin.h"

#include <dlfcn.h>

#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <vector>

#include "common/base/error.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

constexpr char kFile[] = "libmariana_cuda.so";
constexpr char kInBuild[] = "common/device/cuda/libmariana_cuda.so";

// Where it may be, the first choice first.
std::vector<fs::path> Candidates() {
  std::error_code ignored;
  const fs::path program = fs::read_symlink("/proc/self/exe", ignored);
  const fs::path folder = program.parent_path();
  std::vector<fs::path> found{folder / kFile, folder.parent_path() / "lib" / kFile};
  for (fs::path up = folder; up.has_relative_path(); up = up.parent_path()) {
    found.push_back(up / kInBuild);
  }
  return found;
}

fs::path Find(std::string* why) {
  if (const char* given = std::getenv("MARIANA_CUDA_PLUGIN"); given != nullptr && *given != 0) {
    if (fs::exists(given)) return given;
    *why = StrCat("MARIANA_CUDA_PLUGIN=", given, " is not there");
    return {};
  }
  for (const fs::path& path : Candidates()) {
    std::error_code ignored;
    if (fs::exists(path, ignored)) return path;
  }
  *why = StrCat(kFile, " is not beside the program (bazel build --config=opt //", "common/device/",
                "cuda:", kFile, " makes it where a CUDA toolkit is)");
  return {};
}

}  // namespace

const CudaPlugin* OpenCudaPlugin(std::string* why) {
  const fs::path path = Find(why);
  if (path.empty()) return nullptr;
  void* library = dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    *why = StrCat("the CUDA plug-in does not open: ", dlerror());
    return nullptr;
  }
  using Entry = const CudaPlugin* (*)();
  const auto entry = reinterpret_cast<Entry>(dlsym(library, kCudaEntry));
  if (entry == nullptr) {
    *why = StrCat(path.string(), " is no plug-in of Mariana");
    return nullptr;
  }
  const CudaPlugin* plugin = entry();
  if (std::strcmp(plugin->interface, kDeviceInterface) != 0) {
    *why = StrCat(path.string(), " is of another version (interface ", plugin->interface,
                  ", the program's is ", kDeviceInterface, "): build both again");
    return nullptr;
  }
  return plugin;
}

int UsableCudaDevices(std::string* why) {
  const CudaPlugin* plugin = OpenCudaPlugin(why);
  return plugin == nullptr ? 0 : plugin->count(why);
}

namespace {

// The plug-in, which has this GPU.
const CudaPlugin* Usable(int ordinal) {
  std::string why;
  const CudaPlugin* plugin = OpenCudaPlugin(&why);
  const int count = plugin == nullptr ? 0 : plugin->count(&why);
  if (count == 0) throw Fail(ExitCode::kUsage, "--device=cuda: ", why);
  if (ordinal >= count) {
    throw Fail(ExitCode::kUsage, "--device=cuda: there is no GPU ", ordinal, ": ", count,
               count == 1 ? " is usable" : " are usable");
  }
  return plugin;
}

}  // namespace

std::vector<GpuPlace> PlacesOfCudaDevices(int count) {
  const CudaPlugin* const plugin = Usable(count - 1);
  std::vector<GpuPlace> places;
  for (int i = 0; i < count; ++i) places.push_back(plugin->place(i, count));
  return places;
}

std::unique_ptr<Device> OpenCudaDevice(int ordinal, bool strict) {
  return std::unique_ptr<Device>(Usable(ordinal)->make(ordinal, strict));
}

}  // namespace mariana
