#include "common/data/images/transform.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/base/error.h"
#include "common/base/random.h"
#include "common/data/images/augmentation.h"
#include "common/data/images/pixel_kernels.h"
#include "common/data/images/resampling.h"

namespace mariana {
namespace {

// One axis of a placement: [begin, end) of an image's extent, of which the decoder gives `scaled`.
AxisSpec Axis(int64_t begin, int64_t end, int64_t extent, int64_t scaled) {
  const double scale = static_cast<double>(scaled) / static_cast<double>(extent);
  AxisSpec axis;
  axis.begin = static_cast<double>(begin) * scale;
  axis.end = end == extent ? static_cast<double>(scaled) : static_cast<double>(end) * scale;
  return axis;
}

PixelSize Scaled(PixelSize size, int denominator) {
  return {(size.width + denominator - 1) / denominator,
          (size.height + denominator - 1) / denominator};
}

double ByChannel(const std::vector<double>& values, size_t channel, double otherwise) {
  if (values.empty()) return otherwise;
  return values.size() == 1 ? values[0] : values[channel];
}

bool FitsChannels(const std::vector<double>& values, int64_t channels) {
  return values.size() <= 1 || values.size() == static_cast<size_t>(channels);
}

}  // namespace

void TransformSpec::Describe(Fields* f) {
  f->Choice("crop", &crop,
            {{"none", CropKind::kNone},
             {"center", CropKind::kCenter},
             {"random", CropKind::kRandom},
             {"random_resized", CropKind::kRandomResized}},
            "What is seen of an image: the whole (resized if it differs from the input), the "
            "middle after a resize, a window anywhere after padding, or a box of random area and "
            "aspect.");
  f->Int("resize", &resize,
         "Shorter side, in pixels, that center and random crops are cut from. 0: for center the "
         "input's larger extent / 0.875, for random the image as it is.",
         Rule().Min(0).Max(16384));
  f->Int("padding", &padding, "Black pixels around an image before a random crop.",
         Rule().Min(0).Max(4096));
  f->Real("min_area", &min_area, "Smallest share of the image in a random_resized crop.",
          Rule().Above(0).Max(1));
  f->Real("max_area", &max_area, "Largest share of the image in a random_resized crop.",
          Rule().Above(0).Max(1));
  f->Real("min_aspect", &min_aspect, "Smallest width / height of a random_resized crop.",
          Rule().Min(0.01).Max(100));
  f->Real("max_aspect", &max_aspect, "Largest width / height of a random_resized crop.",
          Rule().Min(0.01).Max(100));
  f->Bool("flip", &flip, "Mirror half of the images, left to right.");
  const Rule amount = Rule().Min(0).Max(10);
  f->Real("brightness", &brightness, "Brightness by a factor within 1 +- this; 0: not changed.",
          amount);
  f->Real("contrast", &contrast, "Contrast by a factor within 1 +- this; 0: not changed.", amount);
  f->Real("saturation", &saturation, "Saturation by a factor within 1 +- this; 0: not changed.",
          amount);
  f->Require(min_area <= max_area, "min_area", "must not be above max_area");
  f->Require(min_aspect <= max_aspect, "min_aspect", "must not be above max_aspect");
  f->Require(resize == 0 || crop == CropKind::kCenter || crop == CropKind::kRandom, "resize",
             "is for crop: center or random");
  f->Require(padding == 0 || crop == CropKind::kRandom, "padding", "is for crop: random");
}

void ImageInputSpec::Describe(Fields* f) {
  const Rule extent = Rule().Min(1).Max(8192);
  f->Int("height", &height, "Rows of pixels that the net sees.", extent);
  f->Int("width", &width, "Columns of pixels that the net sees.", extent);
  f->Int("channels", &channels, "1: grey, 3: red, green, blue.", Rule().Min(1).Max(3));
  f->RealList("mean", &mean,
              "Subtracted from values in [0, 1], by channel (or one for all); default 0.");
  f->RealList("std", &std, "Then divided by, by channel (or one for all); default 1.",
              Rule().Above(0));
  f->Require(channels != 2, "channels", "must be 1 or 3");
  f->Require(FitsChannels(mean, channels), "mean", "needs one number, or one for each channel");
  f->Require(FitsChannels(std, channels), "std", "needs one number, or one for each channel");
}

class ImageTransformer::Impl {
 public:
  Impl(const ImageInputSpec& input, const TransformSpec& transform, Dtype output,
       int64_t max_pixels)
      : input_(input),
        transform_(transform),
        output_(output),
        kernels_(BestPixelKernels()),
        max_pixels_(max_pixels),
        jpeg_(MakeJpegDecoder(max_pixels)),
        others_(MakeOpenCvDecoder(max_pixels)) {
    CHECK(output == Dtype::kF32 || output == Dtype::kBF16);
    CHECK(input.channels == 1 || input.channels == 3);
    CHECK(FitsChannels(input.mean, input.channels) && FitsChannels(input.std, input.channels));
    row_values_ = input.width * input.channels;
    for (int64_t i = 0; i < row_values_; ++i) {
      const auto c = static_cast<size_t>(i % input.channels);
      const double std = ByChannel(input.std, c, 1);
      scale_.push_back(static_cast<float>(1 / (255 * std)));
      shift_.push_back(static_cast<float>(-ByChannel(input.mean, c, 0) / std));
    }
  }

  void Transform(const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out) {
    RandomSequence random(seed, kImageStream + static_cast<uint64_t>(sample));
    if (bytes.channels != 0) {
      SeeRaw(bytes, &random);
    } else {
      SeeEncoded(bytes.bytes, &random);
    }
    const bool colours = augmentation_.changes > 0;
    Grow(&image_, (colours ? input_.height : 1) * row_values_);
    for (int64_t y = 0; y < input_.height; ++y) {
      float* row = image_.data() + (colours ? y * row_values_ : 0);
      ResizeRow(y, row);
      if (!colours) StoreRow(row, y, out);
    }
    if (!colours) return;
    ChangeColours();
    for (int64_t y = 0; y < input_.height; ++y) {
      StoreRow(image_.data() + y * row_values_, y, out);
    }
  }

 private:
  // Both leave in pixels_ what the taps refer to, in the input's channels.
  void SeeRaw(const ImageBytes& bytes, RandomSequence* random) {
    const PixelSize size{bytes.width, bytes.height};
    CheckImageSize(size, max_pixels_);
    if ((bytes.channels != 1 && bytes.channels != 3) ||
        static_cast<int64_t>(bytes.bytes.size()) != size.width * size.height * bytes.channels) {
      throw Fail(ExitCode::kBadData, bytes.bytes.size(), " bytes are not ", size.height, " x ",
                 size.width, " pixels of ", bytes.channels, " channels");
    }
    augmentation_ = DrawAugmentation(transform_, input_, size, random);
    MakeAxes(size, size);
    const bool fits = bytes.channels == input_.channels;
    Pixels* raw = fits ? &pixels_ : &decoded_;
    raw->Reset({0, 0, size.width, size.height}, bytes.channels);
    std::copy(bytes.bytes.begin(), bytes.bytes.end(), raw->bytes.begin());
    if (!fits) ConvertChannels(input_.channels, decoded_, &pixels_);
  }

  void SeeEncoded(const std::vector<uint8_t>& bytes, RandomSequence* random) {
    ImageDecoder* decoder = IsJpeg(bytes.data(), bytes.size()) ? jpeg_.get() : others_.get();
    decoder->Open(bytes.data(), bytes.size());
    const int orientation = decoder->orientation();
    const PixelSize upright = Turned(orientation, decoder->size());
    augmentation_ = DrawAugmentation(transform_, input_, upright, random);
    const int denominator = decoder->scales() ? Denominator() : 1;
    const PixelSize stored = Scaled(decoder->size(), denominator);
    MakeAxes(upright, Turned(orientation, stored));
    const PixelBox seen{columns_.source_begin, rows_.source_begin, columns_.source_end,
                        rows_.source_end};
    Pixels* decoded = orientation == 1 ? &pixels_ : &decoded_;
    decoder->Decode(denominator, StoredBox(orientation, seen, stored), input_.channels, decoded);
    if (orientation != 1) Turn(orientation, decoded_, stored, &pixels_);
  }

  // The largest at which what is resized stays large enough to look the same.
  int Denominator() const {
    const Placement& p = augmentation_.placement;
    const int64_t reserve = transform_.crop == CropKind::kRandomResized ? 1 : 2;
    for (const int d : {8, 4, 2}) {
      if (p.box.width() >= d * reserve * p.full.width &&
          p.box.height() >= d * reserve * p.full.height) {
        return d;
      }
    }
    return 1;
  }

  void MakeAxes(PixelSize image, PixelSize scaled) {
    const Placement& p = augmentation_.placement;
    AxisSpec x = Axis(p.box.left, p.box.right, image.width, scaled.width);
    x.full = p.full.width;
    x.offset = p.x;
    x.count = input_.width;
    x.reversed = augmentation_.flip;
    MakeTaps(x, &columns_);
    AxisSpec y = Axis(p.box.top, p.box.bottom, image.height, scaled.height);
    y.full = p.full.height;
    y.offset = p.y;
    y.count = input_.height;
    MakeTaps(y, &rows_);
    for (int32_t& first : columns_.first) first -= static_cast<int32_t>(columns_.source_begin);
    blended_values_ = (columns_.source_end - columns_.source_begin) * input_.channels;
    Grow(&blended_, blended_values_ + columns_.width * input_.channels);
  }

  static void Grow(std::vector<float>* values, int64_t n) {
    const auto size = static_cast<size_t>(n + kRowSlack);
    if (values->size() < size) values->resize(size);
  }

  // Row y of the input, [width, channels], in [0, 255].
  void ResizeRow(int64_t y, float* row) {
    const uint8_t* source =
        pixels_.row(rows_.first[y]) + (columns_.source_begin - pixels_.box.left) * input_.channels;
    kernels_.blend_rows(source, pixels_.row_bytes(), &rows_.weight[y * rows_.width], rows_.count[y],
                        blended_.data(), blended_values_);
    kernels_.blend_columns(blended_.data(), columns_.first.data(), columns_.weight.data(),
                           columns_.width, input_.channels, row, input_.width);
  }

  void StoreRow(const float* row, int64_t y, void* out) const {
    auto* to = static_cast<uint8_t*>(out) + y * row_values_ * SizeOf(output_);
    kernels_.normalize(row, scale_.data(), shift_.data(), to, output_, row_values_);
  }

  void ChangeColours() {
    const int64_t pixels = input_.height * input_.width, n = pixels * input_.channels;
    float* x = image_.data();
    for (int i = 0; i < augmentation_.changes; ++i) {
      const float factor = augmentation_.factor[i];
      switch (augmentation_.change[i]) {
        case ColourChange::kBrightness: kernels_.brighten(x, factor, n); break;
        case ColourChange::kContrast: {
          const double mean = kernels_.mean_grey(x, input_.channels, pixels);
          kernels_.toward(x, factor, static_cast<float>(mean), n);
          break;
        }
        case ColourChange::kSaturation:
          if (input_.channels == 3) kernels_.saturate(x, factor, pixels);
          break;
      }
    }
  }

  const ImageInputSpec input_;
  const TransformSpec transform_;
  const Dtype output_;
  const PixelKernels& kernels_;
  const int64_t max_pixels_;
  const std::unique_ptr<ImageDecoder> jpeg_, others_;
  int64_t row_values_ = 0;
  std::vector<float> scale_, shift_;  // of a row's values

  // Of the image at hand.
  Augmentation augmentation_;
  Taps columns_, rows_;
  Pixels decoded_, pixels_;  // decoded_: before it is turned or its channels are converted
  int64_t blended_values_ = 0;
  std::vector<float> blended_;  // a row of the source's columns
  std::vector<float> image_;    // a row of the input's, or all of it
};

ImageTransformer::ImageTransformer(const ImageInputSpec& input, const TransformSpec& transform,
                                   Dtype output, int64_t max_pixels)
    : impl_(std::make_unique<Impl>(input, transform, output, max_pixels)) {}

ImageTransformer::~ImageTransformer() = default;

void ImageTransformer::Transform(const ImageBytes& bytes, uint64_t seed, int64_t sample,
                                 void* out) {
  impl_->Transform(bytes, seed, sample, out);
}

}  // namespace mariana
