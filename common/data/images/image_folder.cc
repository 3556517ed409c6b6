#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <map>

#include "common/base/error.h"
#include "common/data/images/image_file.h"
#include "common/data/images/open_images.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

class ImageFolder : public StoredImages {
 public:
  ImageFolder(std::string path, SetProblems* problems) : path_(std::move(path)) {
    const std::map<std::string, std::vector<std::string>> by_class = Scan(problems);
    std::vector<std::string> names;
    for (const auto& [name, files] : by_class) {
      if (files.empty()) {
        problems->Warn(StrCat(path_, "/", name, ": holds no images, so it is no class"));
        continue;
      }
      for (const std::string& file : files) {
        AddClass(static_cast<int32_t>(names.size()));
        files_.push_back(file);
      }
      names.push_back(name);
    }
    NameClasses(std::move(names));
    if (ignored_ > 0) problems->Warn(StrCat(path_, ": ", ignored_, " files that are not images"));
    if (outside_ > 0) {
      const std::string line = StrCat(path_, ": ", outside_,
                                      " images lie outside the folders of classes "
                                      "(expected ",
                                      path_, "/CLASS/NAME.jpg)");
      if (files_.empty()) throw Error(ExitCode::kBadData, line);
      problems->Warn(line);
    }
  }

  std::string id(int64_t i) const override { return files_[static_cast<size_t>(i)]; }
  std::string where(int64_t i) const override { return path_ + "/" + id(i); }
  void Read(int64_t i, ImageBytes* bytes) const override { ReadImageFile(where(i), bytes); }

 private:
  // Which folders we are in: a link back to one of them would never end.
  using Ancestors = std::vector<std::pair<dev_t, ino_t>>;

  std::map<std::string, std::vector<std::string>> Scan(SetProblems* problems) {
    std::map<std::string, std::vector<std::string>> by_class;
    Ancestors above;
    ForEach(path_, &above, [&](const std::string& name, bool is_folder) {
      if (!is_folder) {
        ++(IsImageExtension(ExtensionOf(name)) ? outside_ : ignored_);
        return;
      }
      std::vector<std::string>& files = by_class[name];
      Collect(name, &above, &files, problems);
      std::sort(files.begin(), files.end());
    });
    return by_class;
  }

  void Collect(const std::string& folder, Ancestors* above, std::vector<std::string>* files,
               SetProblems* problems) {
    ForEach(path_ + "/" + folder, above, [&](const std::string& name, bool is_folder) {
      const std::string relative = folder + "/" + name;
      if (is_folder) {
        Collect(relative, above, files, problems);
      } else if (IsImageExtension(ExtensionOf(name))) {
        files->push_back(relative);
      } else {
        ++ignored_;
      }
    });
  }

  // Calls f(name, is a folder) for what lies in `folder`; hidden files are left out.
  template <class F>
  void ForEach(const std::string& folder, Ancestors* above, F f) {
    struct stat info;
    std::error_code error;
    if (stat(folder.c_str(), &info) != 0) {
      throw Fail(ExitCode::kBadData, folder, ": cannot open: ", strerror(errno));
    }
    if (!S_ISDIR(info.st_mode)) {
      throw Fail(ExitCode::kBadData, folder, ": is a file, expected a folder of classes");
    }
    const std::pair<dev_t, ino_t> self{info.st_dev, info.st_ino};
    if (std::find(above->begin(), above->end(), self) != above->end()) {
      throw Fail(ExitCode::kBadData, folder, ": is a link to a folder that it lies in");
    }
    above->push_back(self);
    for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
      const std::string name = it->path().filename().string();
      if (name.empty() || name[0] == '.') continue;
      std::error_code broken;  // a link to nothing is a file that cannot be read
      f(name, it->is_directory(broken));
    }
    if (error) throw Fail(ExitCode::kBadData, folder, ": cannot list: ", error.message());
    above->pop_back();
  }

  const std::string path_;
  std::vector<std::string> files_;
  int64_t ignored_ = 0, outside_ = 0;
};

}  // namespace

std::unique_ptr<StoredImages> OpenImageFolder(const std::string& path, SetProblems* problems) {
  return std::make_unique<ImageFolder>(path, problems);
}

}  // namespace mariana
