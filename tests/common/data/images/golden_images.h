// Files of tests/golden/images, and images to compare.
#pragma once

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

#include "common/data/images/transform.h"

namespace mariana {

inline ImageBytes ReadGolden(const std::string& name) {
  std::ifstream in("tests/golden/images/" + name, std::ios::binary);
  ImageBytes image;
  image.bytes.assign(std::istreambuf_iterator<char>(in), {});
  return image;
}

// A PPM or PGM file of 8 bits a sample.
inline ImageBytes ReadPpm(const std::string& name) {
  std::ifstream in("tests/golden/images/" + name, std::ios::binary);
  ImageBytes image;
  std::string kind;
  int most = 0;
  in >> kind >> image.width >> image.height >> most;
  in.get();
  image.channels = kind == "P6" ? 3 : 1;
  image.bytes.assign(std::istreambuf_iterator<char>(in), {});
  return image;
}

inline ImageInputSpec InputOf(int64_t height, int64_t width, int64_t channels = 3) {
  ImageInputSpec input;
  input.height = height;
  input.width = width;
  input.channels = channels;
  return input;
}

// Transformed with mean 0 and deviation 1, in levels of 0 to 255.
inline std::vector<float> Levels(const ImageBytes& image, const ImageInputSpec& input,
                                 const TransformSpec& transform, int64_t sample = 0) {
  std::vector<float> out(static_cast<size_t>(input.height * input.width * input.channels));
  ImageTransformer(input, transform, Dtype::kF32).Transform(image, 1, sample, out.data());
  for (float& v : out) v *= 255;
  return out;
}

struct Difference {
  double mean = 0, max = 0;
};

template <class A, class B>
Difference Compare(const A& a, const B& b) {
  if (a.size() != b.size()) return {1e9, 1e9};
  Difference d;
  for (size_t i = 0; i < a.size(); ++i) {
    const double distance = std::abs(static_cast<double>(a[i]) - static_cast<double>(b[i]));
    d.mean += distance / static_cast<double>(a.size());
    d.max = std::max(d.max, distance);
  }
  return d;
}

}  // namespace mariana
