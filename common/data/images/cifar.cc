// CIFAR's binary version (cs.toronto.edu/~kriz/cifar.html): records of one label byte (CIFAR-100:
// coarse, fine) and 32 x 32 pixels, red plane, green plane, blue plane.
#include <filesystem>

#include "common/base/error.h"
#include "common/data/images/image_file.h"
#include "common/data/images/open_images.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

constexpr int kExtent = 32;
constexpr int64_t kPlane = kExtent * kExtent;

// Planes [3, n] to pixels [n, 3].
void Interleave(const uint8_t* planes, int64_t n, uint8_t* pixels) {
  for (int64_t p = 0; p < n; ++p) {
    for (int64_t c = 0; c < 3; ++c) pixels[3 * p + c] = planes[c * n + p];
  }
}

class Cifar : public StoredImages {
 public:
  Cifar(const std::string& path, ImageSetType type)
      : label_bytes_(type == ImageSetType::kCifar10 ? 1 : 2),
        label_at_(type == ImageSetType::kCifar100 ? 1 : 0) {
    const int most = type == ImageSetType::kCifar10    ? 10
                     : type == ImageSetType::kCifar100 ? 100
                                                       : 20;
    for (const std::string& file : Files(path)) AddFile(file, most);
    NumberClasses();
    const char* names = type == ImageSetType::kCifar10    ? "batches.meta.txt"
                        : type == ImageSetType::kCifar100 ? "fine_label_names.txt"
                                                          : "coarse_label_names.txt";
    const fs::path meta = fs::path(files_[0].path).parent_path() / names;
    if (fs::exists(meta)) UseClasses(ReadLines(meta.string()), meta.string());
  }

  std::string id(int64_t i) const override {
    const auto [file, record] = Place(i);
    return StrCat(fs::path(file->path).filename().string(), "/", record);
  }
  std::string where(int64_t i) const override {
    const auto [file, record] = Place(i);
    return StrCat(file->path, ": record ", record);
  }
  void Read(int64_t i, ImageBytes* bytes) const override {
    const auto [file, record] = Place(i);
    bytes->height = bytes->width = kExtent;
    bytes->channels = 3;
    bytes->bytes.resize(3 * kPlane);
    Interleave(file->bytes.data() + record * RecordBytes() + label_bytes_, kPlane,
               bytes->bytes.data());
  }

 private:
  struct File {
    std::string path;
    int64_t first;  // record of the set
    std::vector<uint8_t> bytes;
  };

  int64_t RecordBytes() const { return label_bytes_ + 3 * kPlane; }

  static std::vector<std::string> Files(const std::string& path) {
    if (!fs::is_directory(path)) return ExpandPattern(path);
    const fs::path one = fs::path(path) / "train.bin";
    return fs::exists(one) ? std::vector<std::string>{one.string()}
                           : ExpandPattern((fs::path(path) / "data_batch_*.bin").string());
  }

  void AddFile(const std::string& path, int classes) {
    const InputFile file(path);
    if (file.size() == 0 || file.size() % RecordBytes() != 0) {
      throw Fail(ExitCode::kBadData, path, ": ", file.size(), " bytes, expected records of ",
                 RecordBytes(), " bytes (", label_bytes_ == 1 ? "cifar10" : "cifar100", ")");
    }
    files_.push_back({path, size(), {}});
    std::vector<uint8_t>& bytes = files_.back().bytes;
    bytes.resize(static_cast<size_t>(file.size()));
    if (file.ReadAt(0, bytes.data(), bytes.size()) != bytes.size()) {
      throw Fail(ExitCode::kBadData, path, ": became shorter while it was read");
    }
    for (size_t at = 0; at < bytes.size(); at += static_cast<size_t>(RecordBytes())) {
      const int label = bytes[at + static_cast<size_t>(label_at_)];
      if (label >= classes) {
        throw Fail(ExitCode::kBadData, path, ": record ", at / RecordBytes(), ": label ", label,
                   " is outside 0 to ", classes - 1);
      }
      AddClass(label);
    }
  }

  std::pair<const File*, int64_t> Place(int64_t i) const {
    size_t f = files_.size() - 1;
    while (files_[f].first > i) --f;
    return {&files_[f], i - files_[f].first};
  }

  const int64_t label_bytes_, label_at_;
  std::vector<File> files_;
};

}  // namespace

std::unique_ptr<StoredImages> OpenCifar(const std::string& path, ImageSetType type) {
  return std::make_unique<Cifar>(path, type);
}

}  // namespace mariana
