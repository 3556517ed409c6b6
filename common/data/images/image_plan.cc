#include "common/data/images/image_plan.h"

#include <glog/logging.h>

#include <algorithm>
#include <numeric>
#include <utility>

#include "common/base/random.h"

namespace mariana {
namespace {

template <class T>
void Permute(RandomSequence random, std::vector<T>* v) {
  for (size_t i = v->size(); i > 1; --i) std::swap((*v)[i - 1], (*v)[random.Below(i)]);
}

}  // namespace

ImagePlan::ImagePlan(const ImageSource& source, const Options& options)
    : source_(source), options_(options), starts_{0}, first_{0} {
  CHECK_GT(options.window, 0);
  CHECK_LT(source.blocks(), int64_t{INT32_MAX});
  blocks_.resize(static_cast<size_t>(source.blocks()));
  std::iota(blocks_.begin(), blocks_.end(), 0);
  if (options.shuffle) {
    const Philox4 own =
        Philox(options.seed, kShuffleStream, static_cast<uint64_t>(options.epoch) << 32);
    Permute(RandomSequence((uint64_t{own.v[0]} << 32) | own.v[1], kShuffleStream), &blocks_);
  }
  const auto end_window = [&](int64_t position, size_t blocks) {
    starts_.push_back(position);
    first_.push_back(static_cast<int64_t>(blocks));
  };
  int64_t position = 0;
  for (size_t k = 0; k < blocks_.size(); ++k) {
    const int64_t b = blocks_[k];
    position += source.block_begin(b + 1) - source.block_begin(b);
    if (position - starts_.back() >= options.window) end_window(position, k + 1);
  }
  if (position > starts_.back()) end_window(position, blocks_.size());
}

int64_t ImagePlan::WindowOf(int64_t position) const {
  return std::upper_bound(starts_.begin(), starts_.end(), position) - starts_.begin() - 1;
}

std::vector<int64_t> ImagePlan::Order(int64_t w) const {
  std::vector<int64_t> records;
  records.reserve(static_cast<size_t>(start(w + 1) - start(w)));
  for (int64_t k = first_[static_cast<size_t>(w)]; k < first_[static_cast<size_t>(w) + 1]; ++k) {
    const int64_t b = blocks_[static_cast<size_t>(k)];
    for (int64_t i = source_.block_begin(b); i < source_.block_begin(b + 1); ++i) {
      records.push_back(i);
    }
  }
  if (options_.shuffle) {
    const Philox4 own =
        Philox(options_.seed, kShuffleStream,
               (static_cast<uint64_t>(options_.epoch) << 32) + static_cast<uint64_t>(w) + 1);
    Permute(RandomSequence((uint64_t{own.v[0]} << 32) | own.v[1], kShuffleStream), &records);
  }
  return records;
}

}  // namespace mariana
