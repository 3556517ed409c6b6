#include "common/data/images/pack.h"

#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <filesystem>
#include <memory>
#include <numeric>
#include <unordered_set>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/random.h"
#include "common/data/images/stored_images.h"
#include "common/data/images/tar_index.h"
#include "common/data/images/tar_writer.h"

namespace mariana {
namespace {

namespace fs = std::filesystem;

// A folder that takes its name when it is whole, and is removed otherwise.
class NewFolder {
 public:
  explicit NewFolder(std::string path)
      : path_(std::move(path)), building_(StrCat(path_, ".tmp.", getpid())) {
    std::error_code error;
    if (fs::exists(path_, error) &&
        !(fs::is_directory(path_, error) && fs::is_empty(path_, error))) {
      throw Fail(ExitCode::kCannotCreate, path_,
                 ": is there already and not empty; give another folder, or remove it");
    }
    MakeDirectories(building_);
  }
  ~NewFolder() {
    std::error_code ignored;
    if (!building_.empty()) fs::remove_all(building_, ignored);
  }
  NewFolder(const NewFolder&) = delete;
  NewFolder& operator=(const NewFolder&) = delete;

  std::string operator/(const std::string& name) const { return building_ + "/" + name; }
  void Finish() {
    FsyncDirectory(building_);
    if (rename(building_.c_str(), path_.c_str()) != 0) {
      throw Fail(ExitCode::kCannotCreate, "cannot create ", path_, ": ", strerror(errno));
    }
    building_.clear();
    const std::string parent = fs::path(path_).parent_path().string();
    FsyncDirectory(parent.empty() ? "." : parent);
  }

 private:
  const std::string path_;
  std::string building_;
};

// A key is unique, and has no dot after its last slash: what follows the first one is the
// extension.
class Keys {
 public:
  std::string Of(const std::string& id) {
    const std::string extension = ExtensionOf(id);
    std::string key =
        IsImageExtension(extension) ? id.substr(0, id.size() - extension.size() - 1) : id;
    for (size_t at; (at = key.find("..")) != std::string::npos;) key.replace(at, 2, "_");
    key.erase(0, std::min(key.find_first_not_of('/'), key.size()));
    for (size_t at = key.rfind('/') + 1; at < key.size(); ++at) {
      if (key[at] == '.') key[at] = '_';
    }
    if (key.empty() || key.back() == '/') key += "_";
    std::string unique = key;
    for (int n = 2; !seen_.insert(unique).second; ++n) unique = StrCat(key, "-", n);
    return unique;
  }

 private:
  std::unordered_set<std::string> seen_;
};

bool AreNames(const std::vector<std::string>& classes) {
  for (size_t c = 0; c < classes.size(); ++c) {
    if (classes[c] != std::to_string(c)) return true;
  }
  return false;
}

class Packer {
 public:
  Packer(const ImageSource& images, const PackOptions& options)
      : images_(images), options_(options), folder_(options.folder) {}

  PackResult Run() {
    SetProblems problems;
    int64_t done = 0;
    for (int64_t i : Order()) {
      Add(i, &problems);
      if (options_.progress && !options_.progress(++done, images_.size())) {
        result_.stopped = true;
        return result_;
      }
    }
    problems.Check(options_.folder, result_.images, options_.max_bad_fraction);
    FinishShard();
    if (AreNames(images_.classes())) {
      std::string names;
      for (const std::string& name : images_.classes()) names += name + "\n";
      WriteFileAtomic(folder_ / "classes.txt", names);
    }
    folder_.Finish();
    result_.warnings = problems.Lines();
    return result_;
  }

 private:
  std::vector<int64_t> Order() const {
    std::vector<int64_t> order(static_cast<size_t>(images_.size()));
    std::iota(order.begin(), order.end(), 0);
    RandomSequence random(options_.seed, kShuffleStream);
    for (size_t i = order.size(); options_.shuffle && i > 1; --i) {
      std::swap(order[i - 1], order[random.Below(i)]);
    }
    return order;
  }

  void Add(int64_t i, SetProblems* problems) {
    ImageBytes image;
    std::string extension;
    try {
      images_.Read(i, &image);
      extension = Encode(&image);
      if (extension.empty()) {
        throw Fail(ExitCode::kBadData, images_.where(i),
                   ": its bytes are of no known image format");
      }
    } catch (const Error& e) {
      if (e.code() != ExitCode::kBadData) throw;
      return problems->Add(e.message());
    }
    const std::string_view bytes(reinterpret_cast<const char*>(image.bytes.data()),
                                 image.bytes.size());
    if (shard_ && shard_->bytes() + static_cast<int64_t>(bytes.size()) > options_.shard_bytes) {
      FinishShard();
    }
    if (!shard_) {
      char number[16];
      std::snprintf(number, sizeof(number), "%06lld", static_cast<long long>(result_.shards));
      path_ = folder_ / StrCat(options_.name, "-", number, ".tar");
      shard_ = std::make_unique<TarWriter>(path_);
    }
    const std::string key = keys_.Of(images_.id(i));
    if (images_.classes().empty()) {
      char text[32];
      std::snprintf(text, sizeof(text), "%.9g", double{images_.target(i)});
      shard_->Add(key + ".target", text);
    } else {
      shard_->Add(key + ".cls", std::to_string(images_.label(i)));
    }
    shard_->Add(key + "." + extension, bytes);
    ++result_.images;
  }

  // The extension of the image's format; raw pixels are encoded.
  static std::string Encode(ImageBytes* image) {
    if (image->channels == 0) return ImageFormat(image->bytes.data(), image->bytes.size());
    image->bytes = EncodePng(*image);
    return "png";
  }

  void FinishShard() {
    if (!shard_) return;
    shard_->Finish();
    result_.bytes += shard_->bytes();
    ++result_.shards;
    shard_.reset();
    const TarIndex index = LoadTarIndex(path_, "");  // reads back what was written
    if (!index.problem.empty()) throw Error(ExitCode::kIo, index.problem);
  }

  const ImageSource& images_;
  const PackOptions& options_;
  NewFolder folder_;
  Keys keys_;
  std::unique_ptr<TarWriter> shard_;
  std::string path_;  // of the shard
  PackResult result_;
};

}  // namespace

PackResult PackImages(const ImageSource& images, const PackOptions& options) {
  return Packer(images, options).Run();
}

}  // namespace mariana
