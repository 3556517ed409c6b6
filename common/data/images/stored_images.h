// StoredImages: what the image sources of this folder share: labels or targets, class names, and
// blocks in memory; a derived class knows names, places and pixels. And SetProblems, the mistakes
// found while one is opened.
//
// Threading: filled by one thread, const after that.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "common/data/images/image_source.h"

namespace mariana {

// Bad records of a set while it is opened: they are left out and named. Used by one thread.
class SetProblems {
 public:
  // "WHERE: what is wrong"
  void Add(const std::string& line);
  void Warn(const std::string& line) { warnings_.push_back(line); }  // not a bad record
  int64_t bad() const { return bad_; }
  // Throws when too many records of `set` are bad, or when none is good.
  void Check(const std::string& set, int64_t good, double max_bad_fraction) const;
  std::vector<std::string> Lines() const;

 private:
  int64_t bad_ = 0;
  std::vector<std::string> first_, warnings_;
};

class StoredImages : public ImageSource {
 public:
  static constexpr int32_t kMaxClasses = 1000000;

  int64_t size() const override { return static_cast<int64_t>(labels_.size()); }
  int32_t label(int64_t i) const override { return labels_[static_cast<size_t>(i)]; }
  float target(int64_t i) const override {
    return targets_.empty() ? 0 : targets_[static_cast<size_t>(i)];
  }
  const std::vector<std::string>& classes() const override { return classes_; }
  // Without blocks of its own every image is one.
  int64_t blocks() const override {
    return block_begin_.empty() ? size() : static_cast<int64_t>(block_begin_.size()) - 1;
  }
  int64_t block_begin(int64_t b) const override {
    return block_begin_.empty() ? b : block_begin_[static_cast<size_t>(b)];
  }

  // Brings labels into the order of `names`: by name where the storage names its classes, by
  // number where it does not. `whose` is for messages. Throws Error(kBadData).
  void UseClasses(const std::vector<std::string>& names, const std::string& whose);

 protected:
  // Records are added in order.
  void AddClass(int32_t label) { labels_.push_back(label); }
  void AddTarget(float target) {
    labels_.push_back(-1);
    targets_.push_back(target);
  }
  // From here on a new block begins.
  void BeginBlock() { block_begin_.push_back(size()); }
  void EndBlocks() { block_begin_.push_back(size()); }
  // Called last. Without names the classes are "0", "1", ... up to the largest label.
  void NameClasses(std::vector<std::string> names);
  void NumberClasses();

 private:
  std::vector<int32_t> labels_;
  std::vector<float> targets_;
  std::vector<std::string> classes_;
  bool named_ = false;
  std::vector<int64_t> block_begin_;
};

// A whole number in [0, kMaxClasses), decimal digits alone; -1 for anything else.
int32_t ParseClass(const std::string& text);
// A finite number; false for anything else.
bool ParseTarget(const std::string& text, float* value);
// Lower-case "jpg" of "a/b.JPG"; empty without one.
std::string ExtensionOf(const std::string& path);
// Whether files of that (lower-case) extension are images that can be decoded.
bool IsImageExtension(const std::string& extension);
// "jpg", "png", ... of encoded bytes by their first ones; empty when it is no known image format.
std::string ImageFormat(const uint8_t* bytes, size_t size);
// The lines of a text file without the end of line (or CR LF) and without empty ones at the end.
std::vector<std::string> ReadLines(const std::string& path);

}  // namespace mariana
