// Image sets by config: which storage a set of images has, how it is named, and opening it.
//
// Threading: OpenImages may be called from any thread; what it opens is an ImageSource.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/config/fields.h"
#include "common/data/images/image_source.h"

namespace mariana {

enum class ImageSetType {
  kFolder,  // CLASS/.../NAME.jpg
  kList,    // text lines `path label`
  kIdx,     // MNIST
  kCifar10,
  kCifar100,
  kCifar100Coarse,  // its 20 coarse labels
  kLmdb,            // Caffe Datum, or encoded images under keys CLASS/NAME
  kTar,             // WebDataset shards
};

enum class ImageTarget {
  kClass,   // an integer or a name
  kNumber,  // a float: a click, a rate
};

// Cuts a set that comes without a split: by a hash of the image's id, so that an image stays on
// its side when others come or go.
struct HoldoutSpec {
  int64_t of = 0;  // parts; 0: the set is not cut
  int64_t part = 0;
  bool take_part = false;  // this set is the part, not the rest
  void Describe(Fields* f);
};

// One set of images: `data.train:`, `data.valid:`.
struct ImageSetSpec {
  ImageSetType type = ImageSetType::kFolder;
  std::string path;     // may be a pattern where a set has several files
  std::string labels;   // of IDX
  std::string classes;  // text file of class names
  ImageTarget target = ImageTarget::kClass;
  HoldoutSpec holdout;
  double max_bad_fraction = 0;
  bool empty() const { return path.empty(); }  // a set that was not given
  void Describe(Fields* f);
};

struct OpenImagesOptions {
  // Classes of a model (or of the training set): the set's are brought into this order, and one
  // that is not among them is a mistake. Null: the set's own.
  const std::vector<std::string>* classes = nullptr;
  // Where the indices of tar shards are kept; empty: beside each shard, if that can be written.
  std::string index_folder;
};

struct ImageSet {
  std::unique_ptr<ImageSource> images;
  // One line per bad record (the first 20, then a count), and what else deserves to be known.
  std::vector<std::string> warnings;
  int64_t bad = 0;  // records left out
};

// Throws Error(kBadData) when more than max_bad_fraction of the records are bad, or none is left.
ImageSet OpenImages(const ImageSetSpec& spec, const OpenImagesOptions& options = {});

}  // namespace mariana
