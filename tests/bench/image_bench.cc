// image_bench FOLDER [SECONDS]: images a second and core from JPEG files (all below FOLDER) to a
// net's input, by CPU time of one thread: decoding alone, the training transform (random-resized
// crop to 224 x 224, flip, normalise) with and without colour jitter and from decoded pixels, and
// the evaluation transform. One line each: NAME IMAGES_PER_SECOND.
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <string>
#include <vector>

#include "common/data/images/transform.h"

namespace mariana {
namespace {

double Cpu() {
  timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
}

std::vector<ImageBytes> ReadJpegs(const char* folder) {
  std::vector<std::string> paths;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(folder)) {
    const std::string extension = entry.path().extension();
    if (extension == ".jpg" || extension == ".jpeg") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  std::vector<ImageBytes> images;
  for (const std::string& path : paths) {
    std::ifstream in(path, std::ios::binary);
    images.emplace_back();
    images.back().bytes.assign(std::istreambuf_iterator<char>(in), {});
  }
  return images;
}

ImageBytes Decoded(const ImageBytes& image) {
  const auto decoder = MakeJpegDecoder(kMaxImagePixels);
  decoder->Open(image.bytes.data(), image.bytes.size());
  const PixelSize size = decoder->size();
  Pixels pixels;
  decoder->Decode(1, {0, 0, size.width, size.height}, 3, &pixels);
  ImageBytes raw;
  raw.bytes.assign(pixels.bytes.begin(), pixels.bytes.end() - kPixelSlack);
  raw.channels = 3;
  raw.width = static_cast<int>(size.width);
  raw.height = static_cast<int>(size.height);
  return raw;
}

struct Case {
  const char* name;
  std::function<void(size_t image, int64_t sample)> work;
  std::vector<double> rates = {};
};

// A case over images, all of which live as long as it does.
Case Transforming(const char* name, const std::vector<ImageBytes>& images,
                  const TransformSpec& spec, Dtype output) {
  ImageInputSpec input;
  input.mean = {0.485, 0.456, 0.406};
  input.std = {0.229, 0.224, 0.225};
  const auto transformer = std::make_shared<ImageTransformer>(input, spec, output);
  const auto out = std::make_shared<std::vector<float>>(224 * 224 * 3);
  return {name, [&images, transformer, out](size_t image, int64_t sample) {
            transformer->Transform(images[image], 1, sample, out->data());
          }};
}

int Main(int argc, char** argv) {
  if (argc < 2 || argc > 3) {
    std::fprintf(stderr, "usage: image_bench FOLDER [SECONDS]\n");
    return 64;
  }
  const double seconds = argc == 3 ? std::atof(argv[2]) : 5;
  const std::vector<ImageBytes> images = ReadJpegs(argv[1]);
  if (images.empty()) {
    std::fprintf(stderr, "image_bench: no .jpg files in %s\n", argv[1]);
    return 65;
  }
  std::vector<ImageBytes> raw;
  for (const ImageBytes& image : images) raw.push_back(Decoded(image));

  TransformSpec train, jitter, valid;
  train.crop = CropKind::kRandomResized;
  train.flip = true;
  jitter = train;
  jitter.brightness = jitter.contrast = jitter.saturation = 0.4;
  valid.crop = CropKind::kCenter;
  const auto decoder = MakeJpegDecoder(kMaxImagePixels);
  Pixels pixels;
  std::vector<Case> cases;
  cases.push_back({"decode", [&](size_t i, int64_t) {
                     decoder->Open(images[i].bytes.data(), images[i].bytes.size());
                     const PixelSize size = decoder->size();
                     decoder->Decode(1, {0, 0, size.width, size.height}, 3, &pixels);
                   }});
  cases.push_back(Transforming("train", images, train, Dtype::kF32));
  cases.push_back(Transforming("train_bf16", images, train, Dtype::kBF16));
  cases.push_back(Transforming("train_jitter", images, jitter, Dtype::kF32));
  cases.push_back(Transforming("train_decoded", raw, train, Dtype::kF32));
  cases.push_back(Transforming("valid", images, valid, Dtype::kF32));

  int64_t sample = 0;
  for (const double start = Cpu(); Cpu() - start < seconds || cases[0].rates.size() < 3;) {
    for (Case& c : cases) {
      const double begin = Cpu();
      for (size_t i = 0; i < images.size(); ++i) c.work(i, sample++);
      c.rates.push_back(static_cast<double>(images.size()) / (Cpu() - begin));
    }
  }
  for (Case& c : cases) {
    std::sort(c.rates.begin(), c.rates.end());
    std::printf("%s %.0f\n", c.name, c.rates[c.rates.size() / 2]);
  }
  return 0;
}

}  // namespace
}  // namespace mariana

int main(int argc, char** argv) { return mariana::Main(argc, argv); }
