#include <filesystem>

#include "common/base/error.h"
#include "common/data/images/image_file.h"
#include "common/data/images/open_images.h"
#include "common/data/images/tar_index.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

class TarImages : public StoredImages {
 public:
  TarImages(const std::string& pattern, ImageTarget target, const std::string& index_folder,
            SetProblems* problems)
      : numbers_(target == ImageTarget::kNumber) {
    const std::vector<std::string> shards = ExpandPattern(pattern);
    for (const std::string& shard : shards) {
      AddShard(shard, LoadTarIndex(shard, index_folder), problems);
    }
    EndBlocks();
    if (numbers_) return;
    NumberClasses();
    const fs::path names = fs::path(shards[0]).parent_path() / "classes.txt";
    if (fs::exists(names)) UseClasses(ReadLines(names.string()), names.string());
  }

  std::string id(int64_t i) const override {
    const Record& r = records_[static_cast<size_t>(i)];
    return StrCat(fs::path(files_[r.shard]->path()).filename().string(), "/", r.key);
  }
  std::string where(int64_t i) const override {
    const Record& r = records_[static_cast<size_t>(i)];
    return StrCat(files_[r.shard]->path(), ": sample \"", r.key, "\"");
  }
  void Read(int64_t i, ImageBytes* bytes) const override {
    const Record& r = records_[static_cast<size_t>(i)];
    bytes->channels = bytes->width = bytes->height = 0;
    files_[r.shard]->Read(r.offset, r.size, where(i), &bytes->bytes);
  }

 private:
  struct Record {
    std::string key;
    size_t shard;
    int64_t offset, size;
  };

  void AddShard(const std::string& path, const TarIndex& index, SetProblems* problems) {
    files_.push_back(std::make_unique<InputFile>(path));
    if (!index.problem.empty()) problems->Add(index.problem);
    BeginBlock();
    for (const TarSample& s : index.samples) {
      const std::string problem = AddSample(s);
      if (!problem.empty()) {
        problems->Add(StrCat(path, ": sample \"", s.key, "\": ", problem));
      }
    }
  }

  // What is wrong with it, or "".
  std::string AddSample(const TarSample& s) {
    if (s.size == 0) return "has no image (.jpg, .png, ...)";
    if (numbers_) {
      float value = 0;
      if (s.target.empty()) return "has no .target (a number)";
      if (!ParseTarget(s.target, &value)) return StrCat("target \"", s.target, "\" is no number");
      AddTarget(value);
    } else {
      if (s.label.empty()) return "has no .cls (a class number)";
      const int32_t label = ParseClass(s.label);
      if (label < 0) return StrCat("class \"", s.label, "\" is no number from 0");
      AddClass(label);
    }
    records_.push_back({s.key, files_.size() - 1, s.offset, s.size});
    return "";
  }

  const bool numbers_;
  std::vector<std::unique_ptr<InputFile>> files_;
  std::vector<Record> records_;
};

}  // namespace

std::unique_ptr<StoredImages> OpenTarShards(const std::string& pattern, ImageTarget target,
                                            const std::string& index_folder,
                                            SetProblems* problems) {
  return std::make_unique<TarImages>(pattern, target, index_folder, problems);
}

}  // namespace mariana
