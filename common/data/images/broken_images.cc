#include "common/data/images/broken_images.h"

#include <glog/logging.h>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr size_t kSaid = 5;

}  // namespace

BrokenImages::BrokenImages(const ImageSource& source, double max_bad_fraction,
                           std::function<void(const std::string&)> say, int64_t bad_before)
    : size_(source.size() + bad_before),
      bad_before_(bad_before),
      max_bad_fraction_(max_bad_fraction),
      say_(std::move(say)) {}

void BrokenImages::Add(int64_t record, const std::string& message) {
  std::unique_lock<std::mutex> lock(mutex_);
  if (!records_.insert(record).second) return;
  if (records_.size() == 1) first_ = message;
  LOG(INFO) << message;
  const size_t known = records_.size();
  const int64_t bad = static_cast<int64_t>(known) + bad_before_;
  if (static_cast<double>(bad) > max_bad_fraction_ * static_cast<double>(size_)) {
    throw Fail(ExitCode::kBadData, first_, "; ", bad, " of ", size_,
               " images are bad, max_bad_fraction allows ", max_bad_fraction_);
  }
  if (say_ == nullptr || known > kSaid) return;
  say_(known < kSaid ? message : message + " (more broken images are in the log alone)");
}

int64_t BrokenImages::count() const {
  std::unique_lock<std::mutex> lock(mutex_);
  return static_cast<int64_t>(records_.size());
}

}  // namespace mariana
