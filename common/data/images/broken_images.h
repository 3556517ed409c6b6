// BrokenImages: the images of a set that turned out to be unreadable while a run read it, over all
// epochs. Each is told once; more than the allowed share of the set ends the run.
//
// Threading: thread-safe.
#pragma once

#include <cstdint>
#include <functional>
#include <mutex>
#include <set>
#include <string>

#include "common/data/images/image_source.h"

namespace mariana {

class BrokenImages {
 public:
  // `say` gets a line for each of the first few, on the thread that met it; all are logged. May be
  // null. `bad_before`: records that opening the set left out: they count, too.
  BrokenImages(const ImageSource& source, double max_bad_fraction,
               std::function<void(const std::string&)> say, int64_t bad_before = 0);

  // `message` is "WHERE: what". Throws Error(kBadData) when there are too many now.
  void Add(int64_t record, const std::string& message);
  int64_t count() const;  // different images

 private:
  const int64_t size_, bad_before_;
  const double max_bad_fraction_;
  const std::function<void(const std::string&)> say_;
  mutable std::mutex mutex_;
  std::set<int64_t> records_;
  std::string first_;
};

}  // namespace mariana
