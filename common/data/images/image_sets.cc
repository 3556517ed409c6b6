#include "common/data/images/image_sets.h"

#include <glog/logging.h>

#include <unordered_map>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/data/images/open_images.h"

namespace mariana {
namespace {

// Which of `parts` an image belongs to: FNV-1a of its id, mixed, as neighbouring names differ in
// their last characters only.
int64_t PartOf(const std::string& id, int64_t parts) {
  uint64_t h = 14695981039346656037u;
  for (unsigned char c : id) h = (h ^ c) * 1099511628211u;
  return static_cast<int64_t>(Philox(h, kShuffleStream, 0).v[0] % static_cast<uint64_t>(parts));
}

// Some images of a set, by index.
class ImageSubset : public ImageSource {
 public:
  ImageSubset(std::unique_ptr<ImageSource> all, const HoldoutSpec& spec) : all_(std::move(all)) {
    for (int64_t b = 0; b < all_->blocks(); ++b) {
      const size_t before = kept_.size();
      for (int64_t i = all_->block_begin(b); i < all_->block_begin(b + 1); ++i) {
        if ((PartOf(all_->id(i), spec.of) == spec.part) == spec.take_part) kept_.push_back(i);
      }
      if (kept_.size() > before) block_begin_.push_back(static_cast<int64_t>(before));
    }
    block_begin_.push_back(size());
  }

  int64_t size() const override { return static_cast<int64_t>(kept_.size()); }
  std::string id(int64_t i) const override { return all_->id(At(i)); }
  std::string where(int64_t i) const override { return all_->where(At(i)); }
  int32_t label(int64_t i) const override { return all_->label(At(i)); }
  float target(int64_t i) const override { return all_->target(At(i)); }
  const std::vector<std::string>& classes() const override { return all_->classes(); }
  int64_t blocks() const override { return static_cast<int64_t>(block_begin_.size()) - 1; }
  int64_t block_begin(int64_t b) const override { return block_begin_[static_cast<size_t>(b)]; }
  void Read(int64_t i, ImageBytes* bytes) const override { all_->Read(At(i), bytes); }

 private:
  int64_t At(int64_t i) const { return kept_[static_cast<size_t>(i)]; }

  std::unique_ptr<ImageSource> all_;
  std::vector<int64_t> kept_, block_begin_;
};

std::unique_ptr<StoredImages> OpenStorage(const ImageSetSpec& spec,
                                          const OpenImagesOptions& options, SetProblems* problems) {
  switch (spec.type) {
    case ImageSetType::kFolder: return OpenImageFolder(spec.path, problems);
    case ImageSetType::kList: return OpenImageList(spec.path, spec.target, problems);
    case ImageSetType::kIdx: return OpenIdx(spec.path, spec.labels);
    case ImageSetType::kCifar10:
    case ImageSetType::kCifar100:
    case ImageSetType::kCifar100Coarse: return OpenCifar(spec.path, spec.type);
    case ImageSetType::kLmdb: return OpenLmdb(spec.path, problems);
    case ImageSetType::kTar:
      return OpenTarShards(spec.path, spec.target, options.index_folder, problems);
  }
  LOG(FATAL) << "image set type " << static_cast<int>(spec.type);
}

std::vector<std::string> ReadClasses(const std::string& path) {
  std::vector<std::string> names = ReadLines(path);
  std::unordered_map<std::string, size_t> lines;
  for (size_t n = 0; n < names.size(); ++n) {
    if (names[n].empty()) {
      throw Fail(ExitCode::kBadData, path, ":", n + 1, ": an empty line, expected a class a line");
    }
    const auto [it, added] = lines.emplace(names[n], n + 1);
    if (!added) {
      throw Fail(ExitCode::kBadData, path, ":", n + 1, ": class \"", names[n], "\" stands in line ",
                 it->second, " already");
    }
  }
  if (names.empty()) throw Fail(ExitCode::kBadData, path, ": names no classes");
  return names;
}

}  // namespace

void HoldoutSpec::Describe(Fields* f) {
  f->Int("of", &of, "Parts that the set is cut into, by a hash of image ids; 0: it is not cut.",
         Rule().Min(0).Max(1000000));
  f->Int("part", &part, "The part that is held out, from 0.", Rule().Min(0));
  bool* take = &take_part;
  f->Choice("use", take, {{"rest", false}, {"part", true}},
            "Which side this set is: rest to train on, part to evaluate on.");
  f->Require(of != 1, "of", "must be 0 or at least 2");
  f->Require(of == 0 || part < of, "part", StrCat("must be below `of`, ", of));
}

void ImageSetSpec::Describe(Fields* f) {
  f->Choice("type", &type,
            {{"folder", ImageSetType::kFolder},
             {"list", ImageSetType::kList},
             {"idx", ImageSetType::kIdx},
             {"cifar10", ImageSetType::kCifar10},
             {"cifar100", ImageSetType::kCifar100},
             {"cifar100_coarse", ImageSetType::kCifar100Coarse},
             {"lmdb", ImageSetType::kLmdb},
             {"tar", ImageSetType::kTar}},
            "folder: PATH/CLASS/NAME.jpg. list: lines `path label`. idx: MNIST's files, also .gz. "
            "cifar*: the binary version. lmdb: Caffe's Datum records, or image files under keys "
            "CLASS/NAME. tar: WebDataset shards of NAME.jpg and NAME.cls.");
  f->Path(
      "path", &path, PathKind::kOutput,
      "The folder or file; for tar and cifar also a pattern: train-{000..146}.tar, train-*.tar.");
  f->Path("labels", &labels, PathKind::kInput, "Labels of an idx set.");
  f->Path("classes", &classes, PathKind::kInput,
          "Class names, one a line: their order where labels are names, their names where labels "
          "are numbers.");
  f->Choice("target", &target, {{"class", ImageTarget::kClass}, {"number", ImageTarget::kNumber}},
            "What labels are; number (clicks, rates) for logistic and squared losses, in a list "
            "or in .target files of tar shards.");
  f->Section("holdout", &holdout, "Cuts a set that comes without a split.");
  f->Real("max_bad_fraction", &max_bad_fraction,
          "Share of bad images that is put up with and named; more is an error.",
          Rule().Min(0).Max(1));
  f->Require((type == ImageSetType::kIdx) == !labels.empty() || path.empty(), "labels",
             "goes with type: idx, and that with it");
  f->Require(
      target == ImageTarget::kClass || type == ImageSetType::kList || type == ImageSetType::kTar,
      "target", "number needs type: list or tar");
  f->Require(target == ImageTarget::kClass || classes.empty(), "classes",
             "has no meaning where targets are numbers");
}

std::unique_ptr<ImageSource> CutImages(std::unique_ptr<ImageSource> all, const HoldoutSpec& spec) {
  return std::make_unique<ImageSubset>(std::move(all), spec);
}

ImageSet OpenImages(const ImageSetSpec& spec, const OpenImagesOptions& options) {
  SetProblems problems;
  std::unique_ptr<StoredImages> stored = OpenStorage(spec, options, &problems);
  problems.Check(spec.path, stored->size(), spec.max_bad_fraction);
  if (!spec.classes.empty()) stored->UseClasses(ReadClasses(spec.classes), spec.classes);
  if (options.classes != nullptr) stored->UseClasses(*options.classes, "the model");
  ImageSet set;
  set.warnings = problems.Lines();
  set.bad = problems.bad();
  set.images = std::move(stored);
  if (spec.holdout.of > 0) {
    set.images = CutImages(std::move(set.images), spec.holdout);
    if (set.images->size() == 0) {
      throw Fail(ExitCode::kBadData, spec.path, ": no image is left by holdout, part ",
                 spec.holdout.part, " of ", spec.holdout.of);
    }
  }
  return set;
}

}  // namespace mariana
