// ImagePlan: the order of one epoch of images. The source's blocks are permuted and gathered into
// windows of at least `window` images, and the images of each window are permuted. A pure function
// of (seed, epoch) and the source's blocks.
// Thread-safe: const after construction.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/images/image_source.h"

namespace mariana {

class ImagePlan {
 public:
  struct Options {
    uint64_t seed = 0;
    int64_t epoch = 0;
    int64_t window = 1 << 14;
    bool shuffle = true;  // false: the source's own order
  };
  ImagePlan(const ImageSource& source, const Options& options);

  int64_t size() const { return starts_.back(); }
  int64_t windows() const { return static_cast<int64_t>(starts_.size()) - 1; }
  // Positions of the epoch before window w.
  int64_t start(int64_t w) const { return starts_[static_cast<size_t>(w)]; }
  // The window that holds a position of the epoch; windows() when there is none.
  int64_t WindowOf(int64_t position) const;
  // Records of the source at positions start(w), start(w) + 1, ...
  std::vector<int64_t> Order(int64_t w) const;

 private:
  const ImageSource& source_;
  Options options_;
  std::vector<int32_t> blocks_;  // of all windows
  std::vector<int64_t> starts_;  // windows + 1: positions
  std::vector<int64_t> first_;   // windows + 1: into blocks_
};

}  // namespace mariana
