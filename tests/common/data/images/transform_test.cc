#include "common/data/images/transform.h"

#include <catch2/catch.hpp>
#include <cstring>
#include <nlohmann/json.hpp>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/images/augmentation.h"
#include "common/data/images/pixel_kernels.h"
#include "common/data/images/resampling.h"
#include "tests/common/data/images/golden_images.h"

namespace mariana {
namespace {

// Of two results of the same arithmetic.
constexpr double kExact = 1e-3;

TransformSpec Crop(CropKind kind, int64_t resize = 0) {
  TransformSpec t;
  t.crop = kind;
  t.resize = resize;
  return t;
}

ImageBytes Gradient(int width, int height) {
  ImageBytes image;
  image.width = width;
  image.height = height;
  image.channels = 3;
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      for (const int v : {x * 5 + y, y * 7 + 30, 255 - x * 3 - y * 2}) {
        image.bytes.push_back(static_cast<uint8_t>(std::clamp(v, 0, 255)));
      }
    }
  }
  return image;
}

ImageBytes Cut(const ImageBytes& image, const PixelBox& box) {
  ImageBytes part = image;
  part.width = static_cast<int>(box.width());
  part.height = static_cast<int>(box.height());
  part.bytes.clear();
  for (int64_t y = box.top; y < box.bottom; ++y) {
    const auto row = image.bytes.begin() + y * image.width * 3;
    part.bytes.insert(part.bytes.end(), row + box.left * 3, row + box.right * 3);
  }
  return part;
}

TEST_CASE("resizing is within one level of Pillow's") {
  const ImageBytes photo = ReadGolden("photo.jpg");
  for (const std::string name : {"down", "up", "mixed"}) {
    INFO(name);
    const ImageBytes expected = ReadPpm("resize_" + name + ".ppm");
    const auto d =
        Compare(Levels(photo, InputOf(expected.height, expected.width), {}), expected.bytes);
    CHECK(d.max <= 1.001);
    CHECK(d.mean < 0.4);
  }
  const auto grey = Levels(photo, InputOf(32, 40, 1), {});
  CHECK(Compare(grey, ReadPpm("resize_grey.pgm").bytes).max < 2);
}

TEST_CASE("the centre crop is within one level of torchvision's, padded where it must be") {
  const ImageBytes photo = ReadGolden("photo.jpg");
  const auto check = [](const ImageBytes& image, int64_t resize, const char* name) {
    INFO(name);
    const ImageBytes expected = ReadPpm(name);
    const auto seen =
        Levels(image, InputOf(expected.height, expected.width), Crop(CropKind::kCenter, resize));
    CHECK(Compare(seen, expected.bytes).max <= 1.001);
  };
  check(photo, 40, "center.ppm");
  check(photo, 20, "center_padded.ppm");
  check(ReadGolden("wide.png"), 24, "wide.ppm");
}

TEST_CASE("decoding at half the size stays near torchvision's") {
  const auto seen = Levels(ReadGolden("large.jpg"), InputOf(48, 48), Crop(CropKind::kCenter, 54));
  const auto d = Compare(seen, ReadPpm("large.ppm").bytes);
  CHECK(d.max < 8);
  CHECK(d.mean < 0.5);
}

TEST_CASE(
    "a random-resized crop is its box resized as an image of its own, flipped half the time") {
  const ImageBytes image = Gradient(40, 30);
  TransformSpec t = Crop(CropKind::kRandomResized);
  t.flip = true;
  int flips = 0;
  for (int64_t sample = 0; sample < 200; ++sample) {
    RandomSequence random(1, kImageStream + static_cast<uint64_t>(sample));
    const Augmentation a = DrawAugmentation(t, InputOf(12, 16), {40, 30}, &random);
    auto expected = Levels(Cut(image, a.placement.box), InputOf(12, 16), {});
    for (int64_t y = 0; a.flip && y < 12; ++y) {
      for (int64_t x = 0; x < 8; ++x) {
        std::swap_ranges(&expected[(y * 16 + x) * 3], &expected[(y * 16 + x) * 3 + 3],
                         &expected[(y * 16 + 15 - x) * 3]);
      }
    }
    flips += a.flip ? 1 : 0;
    CHECK(Compare(Levels(image, InputOf(12, 16), t, sample), expected).max < kExact);
  }
  CHECK(flips > 70);
  CHECK(flips < 130);
}

TEST_CASE("a JPEG decoded in part or reduced gives what its pixels give") {
  const ImageBytes jpeg = ReadGolden("large.jpg");
  ImageBytes raw = ReadGolden("large.jpg");
  raw.bytes.clear();
  for (const float v : Levels(jpeg, InputOf(240, 320), {})) {
    raw.bytes.push_back(static_cast<uint8_t>(std::lround(v)));
  }
  raw.channels = 3;
  raw.width = 320;
  raw.height = 240;
  const TransformSpec t = Crop(CropKind::kRandomResized);
  for (int64_t sample = 0; sample < 40; ++sample) {
    const auto whole = Levels(raw, InputOf(200, 200), t, sample);
    CHECK(Compare(Levels(jpeg, InputOf(200, 200), t, sample), whole).max < kExact);
    const auto small = Levels(raw, InputOf(32, 32), t, sample);
    CHECK(Compare(Levels(jpeg, InputOf(32, 32), t, sample), small).mean < 2);
  }
}

TEST_CASE("random-resized crops have torchvision's distribution") {
  const TransformSpec t = Crop(CropKind::kRandomResized);
  const PixelSize image{500, 375};
  double area = 0, log_aspect = 0;
  int left = 0, bottom = 0;
  constexpr int kDraws = 20000;
  RandomSequence random(7, 0);
  for (int i = 0; i < kDraws; ++i) {
    const PixelBox b = DrawAugmentation(t, InputOf(224, 224), image, &random).placement.box;
    REQUIRE((b.left >= 0 && b.top >= 0 && b.right <= 500 && b.bottom <= 375));
    const double share = b.width() * b.height() / (500.0 * 375);
    const double aspect = static_cast<double>(b.width()) / static_cast<double>(b.height());
    REQUIRE((share > 0.078 && share <= 1 && aspect > 0.72 && aspect < 1.38));
    area += share;
    log_aspect += std::log(aspect);
    left += b.left == 0 ? 1 : 0;
    bottom += b.bottom == 375 ? 1 : 0;
  }
  // torchvision's own, over 200,000 draws: large boxes of another aspect do not fit.
  CHECK(area / kDraws == Approx(0.4339).margin(0.006));
  CHECK(log_aspect / kDraws == Approx(0.0308).margin(0.005));
  CHECK(left > kDraws / 300);
  CHECK(bottom > kDraws / 300);
}

TEST_CASE("where no box fits the largest in the middle is taken") {
  const TransformSpec t = Crop(CropKind::kRandomResized);
  RandomSequence random(7, 0);
  const auto box = [&](int64_t width, int64_t height) {
    const PixelBox b = DrawAugmentation(t, InputOf(8, 8), {width, height}, &random).placement.box;
    return std::vector<int64_t>{b.left, b.top, b.right, b.bottom};
  };
  CHECK(box(3000, 30) == std::vector<int64_t>{1480, 0, 1520, 30});
  CHECK(box(30, 3000) == std::vector<int64_t>{0, 1480, 30, 1520});
  CHECK(box(1, 1) == std::vector<int64_t>{0, 0, 1, 1});
}

TEST_CASE("a padded random crop shows every offset and black beyond the image") {
  ImageBytes image = Gradient(8, 8);
  std::fill(image.bytes.begin(), image.bytes.end(), uint8_t{200});
  TransformSpec t = Crop(CropKind::kRandom);
  t.padding = 2;
  std::vector<int> rows(5), columns(5);
  for (int64_t sample = 0; sample < 500; ++sample) {
    const auto seen = Levels(image, InputOf(8, 8), t, sample);
    RandomSequence random(1, kImageStream + static_cast<uint64_t>(sample));
    const Placement p = DrawAugmentation(t, InputOf(8, 8), {8, 8}, &random).placement;
    REQUIRE((p.x >= -2 && p.x <= 2 && p.y >= -2 && p.y <= 2));
    ++columns[p.x + 2];
    ++rows[p.y + 2];
    bool right = true;
    for (int64_t i = 0; i < 64; ++i) {
      const int64_t y = i / 8 + p.y, x = i % 8 + p.x;
      const bool inside = y >= 0 && y < 8 && x >= 0 && x < 8;
      right = right && std::abs(seen[3 * i] - (inside ? 200 : 0)) < kExact;
    }
    CHECK(right);
  }
  CHECK(*std::min_element(rows.begin(), rows.end()) > 60);
  CHECK(*std::min_element(columns.begin(), columns.end()) > 60);
}

TEST_CASE("any image fits any input") {
  const std::pair<int, int> sizes[] = {{1, 1}, {1, 700}, {700, 1}, {2, 3}, {64, 64}, {301, 7}};
  for (const CropKind kind :
       {CropKind::kNone, CropKind::kCenter, CropKind::kRandom, CropKind::kRandomResized}) {
    for (const auto& [width, height] : sizes) {
      ImageBytes image = Gradient(width, height);
      std::fill(image.bytes.begin(), image.bytes.end(), uint8_t{255});
      TransformSpec t = Crop(kind);
      if (kind == CropKind::kRandom) t.padding = 20;
      for (int64_t sample = 0; sample < 20; ++sample) {
        const auto seen = Levels(image, InputOf(19, 33), t, sample);
        const auto [low, high] = std::minmax_element(seen.begin(), seen.end());
        CHECK(*low >= 0);
        CHECK(*high < 255 + kExact);
        if (kind != CropKind::kRandom) CHECK(*low > 255 - kExact);
      }
    }
  }
}

TEST_CASE("values are normalised by channel, in either float type and by every instruction set") {
  ImageInputSpec input = InputOf(8, 8);
  input.mean = {0.5, 0.25, 0};
  input.std = {0.5, 2, 1};
  const ImageBytes image = Gradient(8, 8);
  std::vector<float> wide(8 * 8 * 3);
  std::vector<uint16_t> narrow(wide.size());
  ImageTransformer(input, {}, Dtype::kF32).Transform(image, 1, 0, wide.data());
  ImageTransformer(input, {}, Dtype::kBF16).Transform(image, 1, 0, narrow.data());
  for (size_t i = 0; i < wide.size(); ++i) {
    const double expected = (image.bytes[i] / 255.0 - input.mean[i % 3]) / input.std[i % 3];
    CHECK(wide[i] == Approx(expected).margin(1e-6));
    uint32_t bits = uint32_t{narrow[i]} << 16;
    float rounded;
    std::memcpy(&rounded, &bits, sizeof(rounded));
    CHECK(std::abs(rounded - wide[i]) <= std::abs(wide[i]) / 256 + 1e-7);
  }
}

std::vector<float> Changed(const PixelKernels& k, const std::string& change, float factor,
                           std::vector<float> x) {
  const auto n = static_cast<int64_t>(x.size());
  if (change == "brightness") k.brighten(x.data(), factor, n);
  if (change == "saturation") k.saturate(x.data(), factor, n / 3);
  if (change == "contrast") {
    k.toward(x.data(), factor, static_cast<float>(k.mean_grey(x.data(), 3, n / 3)), n);
  }
  return x;
}

TEST_CASE("changes of colour equal torchvision's, by every instruction set") {
  const auto golden = nlohmann::json::parse(std::ifstream("tests/golden/images/colours.json"));
  const auto levels = [](const nlohmann::json& values) {
    std::vector<float> v = values;
    for (float& x : v) x *= 255;
    return v;
  };
  for (const char* isa : {"avx2", "avx512"}) {
    const PixelKernels* k = FindPixelKernels(isa);
    if (k == nullptr) continue;
    for (const auto& c : golden["cases"]) {
      INFO(isa << " " << c["change"] << " " << c["factor"]);
      const auto seen = Changed(*k, c["change"], c["factor"], levels(golden["pixels"]));
      CHECK(Compare(seen, levels(c["pixels"])).max < 0.05);
    }
  }
}

TEST_CASE("colours change by what was drawn, in the order drawn, within the ranges given") {
  TransformSpec t;
  t.brightness = 0.4;
  t.contrast = 0.3;
  t.saturation = 1.5;  // factors from 0, not from -0.5
  const ImageBytes image = Gradient(20, 10);
  const auto plain = Levels(image, InputOf(10, 20), {});
  std::array<std::array<int, 3>, 3> place = {};
  for (int64_t sample = 0; sample < 300; ++sample) {
    RandomSequence random(1, kImageStream + static_cast<uint64_t>(sample));
    const Augmentation a = DrawAugmentation(t, InputOf(10, 20), {20, 10}, &random);
    REQUIRE(a.changes == 3);
    auto expected = plain;
    for (int i = 0; i < 3; ++i) {
      const auto change = static_cast<size_t>(a.change[i]);
      const char* name[] = {"brightness", "contrast", "saturation"};
      const float low[] = {0.6f, 0.7f, 0}, high[] = {1.4f, 1.3f, 2.5f};
      CHECK(a.factor[i] >= low[change]);
      CHECK(a.factor[i] <= high[change]);
      ++place[change][i];
      expected = Changed(BestPixelKernels(), name[change], a.factor[i], expected);
    }
    CHECK(Compare(Levels(image, InputOf(10, 20), t, sample), expected).max < 0.01);
  }
  for (const auto& counts : place) CHECK(*std::min_element(counts.begin(), counts.end()) > 70);
}

TEST_CASE("a grey net's colours change as far as grey has any") {
  TransformSpec t;
  t.brightness = t.contrast = t.saturation = 0.5;
  ImageBytes image = ReadPpm("resize_grey.pgm");
  for (int64_t sample = 0; sample < 20; ++sample) {
    const auto one = Levels(image, InputOf(32, 40, 1), t, sample);
    const auto three = Levels(image, InputOf(32, 40, 3), t, sample);
    double most = 0;
    for (size_t i = 0; i < one.size(); ++i) {
      most = std::max<double>(most, std::abs(one[i] - three[3 * i]));
    }
    CHECK(most < 0.05);
  }
}

TEST_CASE("draws depend on seed and sample alone, not on what the transformer did before") {
  TransformSpec t = Crop(CropKind::kRandomResized);
  t.flip = true;
  t.brightness = t.contrast = t.saturation = 0.4;
  const ImageBytes image = ReadGolden("photo.jpg"), other = ReadGolden("wide.png");
  ImageTransformer used(InputOf(16, 16), t, Dtype::kF32);
  std::vector<float> first(16 * 16 * 3), again(first.size()), another(first.size());
  used.Transform(image, 5, 17, first.data());
  used.Transform(other, 5, 18, again.data());
  used.Transform(image, 5, 18, another.data());
  used.Transform(image, 5, 17, again.data());
  CHECK(again == first);
  CHECK(another != first);
  used.Transform(image, 6, 17, another.data());
  CHECK(another != first);
  ImageTransformer(InputOf(16, 16), t, Dtype::kF32).Transform(image, 5, 17, again.data());
  CHECK(again == first);
}

std::string Mistake(const std::string& yaml) {
  ImageInputSpec input;
  TransformSpec transform;
  try {
    LoadConfigText(yaml, "f.yaml", ".", {}, [&](Fields* f) {
      f->Section("input", &input, "");
      f->Section("transform", &transform, "");
    });
  } catch (const Error& e) {
    return e.message().substr(e.message().find(' ') + 1);
  }
  return "";
}

TEST_CASE("what does not go together in a config is refused") {
  CHECK(Mistake("input: {channels: 2}") == "input.channels: must be 1 or 3");
  CHECK(Mistake("input: {mean: [0.5, 0.5]}") ==
        "input.mean: needs one number, or one for each channel");
  CHECK(Mistake("input: {channels: 1, mean: 0.5, std: 0.25}") == "");
  CHECK(Mistake("transform: {crop: random_resized, min_area: 0.5, max_area: 0.2}") ==
        "transform.min_area: must not be above max_area");
  CHECK(Mistake("transform: {resize: 256}") == "transform.resize: is for crop: center or random");
  CHECK(Mistake("transform: {crop: center, padding: 4}") ==
        "transform.padding: is for crop: random");
}

}  // namespace
}  // namespace mariana
