// One function for each kind of storage: see image_sets.h. Bad records go to `problems`.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "common/data/images/image_sets.h"
#include "common/data/images/stored_images.h"

namespace mariana {

// Image files below PATH/CLASS; classes are the folders' names, sorted. Links are followed.
std::unique_ptr<StoredImages> OpenImageFolder(const std::string& path, SetProblems* problems);
// Lines `path<TAB or spaces>label`, paths relative to the list's folder. Labels are classes by
// number where all of them are numbers, else by name (names sorted).
std::unique_ptr<StoredImages> OpenImageList(const std::string& path, ImageTarget target,
                                            SetProblems* problems);
// MNIST's files, plain or gzip: unsigned bytes [n, height, width] or [n, height, width, 1 or 3].
std::unique_ptr<StoredImages> OpenIdx(const std::string& images, const std::string& labels);
// CIFAR's "binary version": one file, a pattern, or a folder of data_batch_*.bin or train.bin.
std::unique_ptr<StoredImages> OpenCifar(const std::string& path, ImageSetType type);
std::unique_ptr<StoredImages> OpenLmdb(const std::string& path, SetProblems* problems);
std::unique_ptr<StoredImages> OpenTarShards(const std::string& pattern, ImageTarget target,
                                            const std::string& index_folder, SetProblems* problems);

// The files that a pattern names, sorted: {000..009} counts, {a,b} lists, * and ? match. Throws
// Error(kBadData) where a part of it names no file.
std::vector<std::string> ExpandPattern(const std::string& pattern);

// The images of `all` on one side of the cut, in the same order and blocks.
std::unique_ptr<ImageSource> CutImages(std::unique_ptr<ImageSource> all, const HoldoutSpec& spec);

}  // namespace mariana
