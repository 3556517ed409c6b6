#include <algorithm>
#include <filesystem>
#include <map>
#include <unordered_map>

#include "common/base/error.h"
#include "common/data/images/image_file.h"
#include "common/data/images/open_images.h"

namespace mariana {
namespace {

class ImageList : public StoredImages {
 public:
  ImageList(const std::string& path, ImageTarget target, SetProblems* problems)
      : path_(path), folder_(std::filesystem::path(path).parent_path().string()) {
    const std::vector<std::string> lines = ReadLines(path);
    std::vector<std::string> labels;
    for (size_t n = 0; n < lines.size(); ++n) {
      const std::string problem = AddLine(lines[n], static_cast<int32_t>(n) + 1, target, &labels);
      if (!problem.empty()) problems->Add(StrCat(path, ":", n + 1, ": ", problem));
    }
    if (target == ImageTarget::kClass) SetLabels(labels);
    std::unordered_map<std::string, int> seen;
    for (Item& item : items_) item.repeat = seen[item.path]++;
  }

  // One image may come more than once: shown, and clicked or not.
  std::string id(int64_t i) const override {
    const Item& item = items_[static_cast<size_t>(i)];
    return item.repeat == 0 ? item.path : StrCat(item.path, "#", item.repeat);
  }
  std::string where(int64_t i) const override {
    const Item& item = items_[static_cast<size_t>(i)];
    return StrCat(path_, ":", item.line, ": ", item.path);
  }
  void Read(int64_t i, ImageBytes* bytes) const override {
    const std::string& path = items_[static_cast<size_t>(i)].path;
    ReadImageFile(path[0] == '/' || folder_.empty() ? path : folder_ + "/" + path, bytes);
  }

 private:
  struct Item {
    std::string path;
    int32_t line = 0;
    int32_t repeat = 0;
  };

  // What is wrong with the line, or "".
  std::string AddLine(const std::string& line, int32_t number, ImageTarget target,
                      std::vector<std::string>* labels) {
    constexpr char kBlank[] = " \t";
    const size_t first = line.find_first_not_of(kBlank);
    if (first == std::string::npos) return "";
    const size_t last = line.find_last_not_of(kBlank);
    // Names may hold spaces: a tab, if there is one, parts them from the label.
    size_t at = line.rfind('\t', last);
    if (at == std::string::npos || at < first) at = line.rfind(' ', last);
    if (at == std::string::npos || at < first) {
      return StrCat("\"", line, "\" has no label; expected `path label`");
    }
    const std::string label = line.substr(at + 1, last - at);
    const size_t end = line.find_last_not_of(kBlank, at);
    if (target == ImageTarget::kNumber) {
      float value = 0;
      if (!ParseTarget(label, &value)) return StrCat("\"", label, "\" is not a number");
      AddTarget(value);
    } else {
      labels->push_back(label);
    }
    items_.push_back({line.substr(first, end + 1 - first), number, 0});
    return "";
  }

  void SetLabels(const std::vector<std::string>& labels) {
    const bool numbers = std::all_of(labels.begin(), labels.end(),
                                     [](const std::string& l) { return ParseClass(l) >= 0; });
    std::map<std::string, int32_t> index;
    if (!numbers) {
      for (const std::string& label : labels) index[label] = 0;
      int32_t next = 0;
      for (auto& [_, number] : index) number = next++;
    }
    for (const std::string& label : labels) {
      AddClass(numbers ? ParseClass(label) : index[label]);
    }
    if (numbers) return NumberClasses();
    std::vector<std::string> names;
    for (const auto& [name, _] : index) names.push_back(name);
    NameClasses(std::move(names));
  }

  const std::string path_, folder_;
  std::vector<Item> items_;
};

}  // namespace

std::unique_ptr<StoredImages> OpenImageList(const std::string& path, ImageTarget target,
                                            SetProblems* problems) {
  return std::make_unique<ImageList>(path, target, problems);
}

}  // namespace mariana
