// ImageSource: a set of labelled images that can be read in any order, whatever holds them: a
// folder a class, LMDB, tar shards, IDX or CIFAR files, a list with targets.
//
// Threading: const methods are thread-safe. Opening reads names, labels and places, no pixels.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

namespace mariana {

// What one record holds: an encoded file (JPEG, PNG, ...), or pixels as they are.
struct ImageBytes {
  std::vector<uint8_t> bytes;
  // 0: encoded. 1 or 3: raw pixels, [height, width, channels], channels in the order R, G, B.
  int channels = 0;
  int width = 0, height = 0;  // of raw pixels
};

class ImageSource {
 public:
  virtual ~ImageSource() = default;

  virtual int64_t size() const = 0;
  // Unique in the set and stable: "cat/0001.jpg", "train-000003.tar/n0148_22", "60123".
  virtual std::string id(int64_t i) const = 0;
  // "FILE" or "FILE: record N": where a mistake in this record is to be looked for.
  virtual std::string where(int64_t i) const = 0;
  // Class, from 0; -1 in a set with targets.
  virtual int32_t label(int64_t i) const = 0;
  // Of a list with targets (clicks); 0 in a set with classes.
  virtual float target(int64_t i) const = 0;
  // Names by class; empty for a set with targets. Without names they are "0", "1", ...
  virtual const std::vector<std::string>& classes() const = 0;

  // Records that lie together in storage, [begin(b), begin(b + 1)): a shard's, or one image of a
  // folder. Shuffling permutes these first, so that storage is read in long runs.
  virtual int64_t blocks() const = 0;
  virtual int64_t block_begin(int64_t b) const = 0;  // block_begin(blocks()) = size()

  // Throws Error(kBadData) "WHERE: what" for a record that cannot be read, Error(kIo) when storage
  // fails.
  virtual void Read(int64_t i, ImageBytes* bytes) const = 0;
};

}  // namespace mariana
