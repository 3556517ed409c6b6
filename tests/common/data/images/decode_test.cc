#include "common/data/images/decode.h"

#include <catch2/catch.hpp>

#include "common/base/random.h"
#include "tests/common/data/images/golden_images.h"
#include "tests/common/data/scratch.h"

namespace mariana {
namespace {

std::vector<float> Whole(const ImageBytes& image, int64_t channels = 3, int64_t height = 18,
                         int64_t width = 24) {
  return Levels(image, InputOf(height, width, channels), TransformSpec());
}

std::string Refusal(const ImageBytes& image, int64_t max_pixels = kMaxImagePixels) {
  ImageTransformer transformer(InputOf(8, 8), TransformSpec(), Dtype::kF32, max_pixels);
  std::vector<float> out(8 * 8 * 3);
  return BadData([&] { transformer.Transform(image, 1, 0, out.data()); });
}

// Two grey 16-bit or 8-bit values equal, but for float rounding.
constexpr double kExact = 1e-3;

TEST_CASE("PNG, BMP and WebP of every kind are read exactly") {
  for (const char* name : {"rgb.png", "alpha.png", "rgb16.png", "rgb.bmp", "rgb.webp"}) {
    INFO(name);
    CHECK(Compare(Whole(ReadGolden(name)), ReadPpm("base.ppm").bytes).max < kExact);
  }
  for (const char* name : {"grey.png", "grey16.png"}) {
    INFO(name);
    CHECK(Compare(Whole(ReadGolden(name)), ReadPpm("grey.ppm").bytes).max < kExact);
  }
  CHECK(Compare(Whole(ReadGolden("palette.png")), ReadPpm("palette.ppm").bytes).max < kExact);
}

TEST_CASE("JPEGs come out as Pillow's: colour, grey, CMYK, progressive, full chroma") {
  for (const std::string name : {"444", "grey", "progressive", "cmyk"}) {
    INFO(name);
    const auto d = Compare(Whole(ReadGolden(name + ".jpg")), ReadPpm(name + "_jpg.ppm").bytes);
    CHECK(d.max <= (name == "cmyk" ? 1.001 : kExact));
  }
}

TEST_CASE("a net of one channel sees luma, one of three sees grey thrice") {
  std::vector<uint8_t> grey;
  const ImageBytes expected = ReadPpm("grey.ppm");
  for (size_t i = 0; i < expected.bytes.size(); i += 3) grey.push_back(expected.bytes[i]);
  CHECK(Compare(Whole(ReadGolden("rgb.png"), 1), grey).max < kExact);
  CHECK(Compare(Whole(ReadPpm("base.ppm"), 1), grey).max < kExact);
  CHECK(Compare(Whole(ReadGolden("444.jpg"), 1), grey).mean < 2);
  CHECK(Compare(Whole(ReadGolden("cmyk.jpg"), 1), grey).mean < 4);
  ImageBytes raw;
  raw.bytes = grey;
  raw.channels = 1;
  raw.width = 24;
  raw.height = 18;
  CHECK(Compare(Whole(raw), expected.bytes).max < kExact);
}

TEST_CASE("all eight EXIF orientations stand upright, whole and cropped") {
  TransformSpec crop;
  crop.crop = CropKind::kRandomResized;
  for (int orientation = 1; orientation <= 8; ++orientation) {
    INFO(orientation);
    const ImageBytes image = ReadGolden("exif_" + std::to_string(orientation) + ".jpg");
    CHECK(Compare(Whole(image), ReadPpm("base.ppm").bytes).mean < 3.5);
    for (int64_t sample = 0; sample < 10; ++sample) {
      const auto seen = Levels(image, InputOf(9, 7), crop, sample);
      CHECK(Compare(seen, Levels(ReadPpm("base.ppm"), InputOf(9, 7), crop, sample)).mean < 3.5);
    }
  }
  for (const char* name : {"exif_6.png", "exif_6.webp"}) {
    INFO(name);
    CHECK(Compare(Whole(ReadGolden(name)), ReadPpm("base.ppm").bytes).max < kExact);
  }
}

TEST_CASE("an orientation is read in both byte orders, and nonsense is none") {
  const std::vector<uint8_t> little = {'I', 'I', 42, 0, 8, 0, 0, 0, 1, 0, 0x12,
                                       1,   3,   0,  1, 0, 0, 0, 6, 0, 0, 0};
  const std::vector<uint8_t> big = {'M',  'M', 0, 42, 0, 0, 0, 8, 0, 1, 1,
                                    0x12, 0,   3, 0,  0, 0, 1, 0, 8, 0, 0};
  const auto parse = [](std::vector<uint8_t> bytes, size_t at = 0, uint8_t value = 0) {
    if (at > 0) bytes[at] = value;
    return ParseOrientation(bytes.data(), bytes.size());
  };
  CHECK(parse(little) == 6);
  CHECK(parse(big) == 8);
  CHECK(parse(little, 18, 9) == 1);     // beyond 8
  CHECK(parse(little, 12, 4) == 1);     // not a short
  CHECK(parse(little, 10, 0x13) == 1);  // another tag
  CHECK(parse(little, 4, 200) == 1);    // a directory beyond the end
  CHECK(parse(little, 9, 0xFF) == 6);   // more entries than bytes
  CHECK(parse(little, 2, 43) == 1);
  CHECK(ParseOrientation(little.data(), 7) == 1);
  CHECK(ParseOrientation(little.data(), 17) == 1);
}

TEST_CASE("a box of a JPEG is what the whole has there, at every scale and place") {
  const ImageBytes image = ReadGolden("large.jpg");
  const auto decoder = MakeJpegDecoder(kMaxImagePixels);
  for (const int denominator : {1, 2, 4, 8}) {
    const int64_t width = 320 / denominator, height = 240 / denominator;
    Pixels whole, part;
    decoder->Open(image.bytes.data(), image.bytes.size());
    decoder->Decode(denominator, {0, 0, width, height}, 3, &whole);
    REQUIRE((whole.box.width() == width && whole.box.height() == height));
    RandomSequence random(1, static_cast<uint64_t>(denominator));
    for (int trial = 0; trial < 40; ++trial) {
      PixelBox box;
      box.left = static_cast<int64_t>(random.Below(static_cast<uint64_t>(width)));
      box.top = static_cast<int64_t>(random.Below(static_cast<uint64_t>(height)));
      box.right = box.left + 1 +
                  static_cast<int64_t>(random.Below(static_cast<uint64_t>(width - box.left)));
      box.bottom =
          box.top + 1 + static_cast<int64_t>(random.Below(static_cast<uint64_t>(height - box.top)));
      decoder->Open(image.bytes.data(), image.bytes.size());
      decoder->Decode(denominator, box, 3, &part);
      bool equal = part.box.left <= box.left && part.box.right >= box.right &&
                   part.box.top <= box.top && part.box.bottom >= box.bottom;
      for (int64_t y = box.top; equal && y < box.bottom; ++y) {
        equal =
            std::equal(part.row(y) + 3 * (box.left - part.box.left),
                       part.row(y) + 3 * (box.right - part.box.left), whole.row(y) + 3 * box.left);
      }
      INFO("1/" << denominator << " at " << box.left << ", " << box.top << " to " << box.right
                << ", " << box.bottom);
      CHECK(equal);
    }
  }
}

TEST_CASE("truncated files are errors at every length, whatever the crop") {
  TransformSpec crop;
  crop.crop = CropKind::kRandomResized;
  for (const char* name : {"photo.jpg", "progressive.jpg", "rgb.png", "rgb.webp", "rgb.bmp"}) {
    const ImageBytes whole = ReadGolden(name);
    ImageTransformer transformer(InputOf(4, 4), crop, Dtype::kF32);
    std::vector<float> out(4 * 4 * 3);
    for (size_t length = 0; length + 3 < whole.bytes.size(); length += 37) {
      ImageBytes cut = whole;
      cut.bytes.resize(length);
      INFO(name << " cut to " << length);
      CHECK(BadData([&] { transformer.Transform(cut, 1, 0, out.data()); }) != "");
    }
    CHECK_NOTHROW(transformer.Transform(whole, 1, 0, out.data()));
  }
}

TEST_CASE("each mistake in a file is one clear line") {
  ImageBytes image;
  CHECK(Refusal(image) == "an empty file");
  image.bytes.assign(50, 'x');
  CHECK(Refusal(image) == "not a JPEG, PNG, BMP or WebP image");
  image = ReadGolden("photo.jpg");
  image.bytes.resize(image.bytes.size() / 2);
  CHECK(Refusal(image) == "truncated JPEG: it has no end-of-image marker");
  CHECK(Refusal(ReadGolden("photo.jpg"), 93 * 71 - 1) ==
        "an image of 93 x 71 pixels; the most is 6602 pixels");
  CHECK(Refusal(ReadGolden("photo.jpg"), 93 * 71) == "");
  CHECK(Refusal(ReadGolden("rgb.webp"), 100) ==
        "an image of 24 x 18 pixels; the most is 100 pixels");
  CHECK(Refusal(ReadGolden("rgb.bmp"), 100) ==
        "an image of 24 x 18 pixels; the most is 100 pixels");
  image = ReadGolden("rgb.png");
  image.bytes[17] = 0xFF;
  CHECK(Refusal(image) == "damaged PNG image: a checksum is wrong");
  image = ReadGolden("rgb.png");
  std::fill(image.bytes.begin() + 60, image.bytes.end() - 60, 0);
  CHECK(Refusal(image) == "damaged PNG image: a checksum is wrong");
  for (const std::string name : {"PNG", "WebP", "BMP"}) {
    image = ReadGolden(name == "PNG" ? "rgb.png" : name == "WebP" ? "rgb.webp" : "rgb.bmp");
    image.bytes.resize(image.bytes.size() - 20);
    CHECK(Refusal(image) == "truncated " + name + " image");
  }
  image = ReadGolden("rgb.webp");
  std::fill(image.bytes.begin() + 40, image.bytes.end(), 0xFF);
  CHECK(Refusal(image) == "a damaged image");
  image = ReadGolden("photo.jpg");
  image.bytes[1000] = 0xFF;
  image.bytes[1001] = 0xC0;
  CHECK(Refusal(image).find("not readable as JPEG: Corrupt JPEG data") == 0);
  image.channels = 3;
  image.width = 3;
  image.height = 4;
  image.bytes.resize(35);
  CHECK(Refusal(image) == "35 bytes are not 4 x 3 pixels of 3 channels");
  image.height = 0;
  CHECK(Refusal(image) == "an image of no pixels");
}

TEST_CASE("bytes behind the end of a JPEG do no harm, nor does a damaged one before it") {
  ImageBytes image = ReadGolden("photo.jpg"), damaged = image;
  const auto expected = Whole(image, 3, 71, 93);
  image.bytes.insert(image.bytes.end(), 1000, 'x');
  damaged.bytes.resize(700);
  ImageTransformer transformer(InputOf(71, 93), TransformSpec(), Dtype::kF32);
  std::vector<float> out(71 * 93 * 3);
  for (int i = 0; i < 3; ++i) {
    CHECK_THROWS_AS(transformer.Transform(damaged, 1, 0, out.data()), Error);
    transformer.Transform(image, 1, 0, out.data());
    CHECK(std::equal(out.begin(), out.end(), expected.begin(),
                     [](float a, float b) { return std::abs(255 * a - b) < kExact; }));
  }
}

}  // namespace
}  // namespace mariana
