// JPEG through libjpeg-turbo's libjpeg interface: TurboJPEG's own has no partial decoding before
// version 3. libjpeg reports errors by a longjmp, so functions that call it keep no object that
// needs a destructor.
#include <csetjmp>
#include <cstdio>
#include <cstring>
// clang-format off: jpeglib.h needs size_t and FILE
#include <jerror.h>
#include <jpeglib.h>
// clang-format on

#include <algorithm>
#include <string>

#include "common/base/error.h"
#include "common/data/images/decode.h"

namespace mariana {
namespace {

constexpr int kMaxScans = 200;  // of a progressive JPEG; real ones have about 10
// Upsampled chroma depends on the neighbouring pixel, which is decoded too.
constexpr int64_t kMargin = 2;
constexpr int kExif = JPEG_APP0 + 1;
constexpr char kExifName[] = "Exif\0";  // and the literal's own zero

// A warning that says nothing about the pixels.
bool Harmless(int warning) {
  return warning == JWRN_EXTRANEOUS_DATA || warning == JWRN_JFIF_MAJOR ||
         warning == JWRN_ADOBE_XFORM || warning == JWRN_TOO_MUCH_DATA;
}

struct Jpeg {
  jpeg_decompress_struct info;
  jpeg_error_mgr errors;
  jpeg_progress_mgr progress;
  std::jmp_buf jump;
  char message[JMSG_LENGTH_MAX];
};

Jpeg* Of(j_common_ptr info) { return static_cast<Jpeg*>(info->client_data); }

[[noreturn]] void Throw(j_common_ptr info) {
  Jpeg* jpeg = Of(info);
  info->err->format_message(info, jpeg->message);
  std::longjmp(jpeg->jump, 1);
}

void Message(j_common_ptr info, int level) {
  if (level < 0 && !Harmless(info->err->msg_code)) Throw(info);
}

void Progress(j_common_ptr info) {
  const Jpeg* jpeg = Of(info);
  if (jpeg->info.input_scan_number <= kMaxScans) return;
  std::snprintf(Of(info)->message, sizeof(jpeg->message), "more than %d scans", kMaxScans);
  std::longjmp(Of(info)->jump, 1);
}

bool Create(Jpeg* jpeg) {
  std::memset(jpeg, 0, sizeof(*jpeg));
  jpeg->info.err = jpeg_std_error(&jpeg->errors);
  jpeg->info.client_data = jpeg;
  jpeg->errors.error_exit = Throw;
  jpeg->errors.emit_message = Message;
  jpeg->progress.progress_monitor = Progress;
  if (setjmp(jpeg->jump) != 0) return false;
  jpeg_create_decompress(&jpeg->info);
  jpeg->info.client_data = jpeg;
  jpeg->info.progress = &jpeg->progress;
  jpeg_save_markers(&jpeg->info, kExif, 0xFFFF);
  return true;
}

bool ReadHeader(Jpeg* jpeg, const uint8_t* bytes, size_t size) {
  if (setjmp(jpeg->jump) != 0) return false;
  jpeg_abort_decompress(&jpeg->info);
  jpeg_mem_src(&jpeg->info, bytes, size);
  jpeg_read_header(&jpeg->info, TRUE);
  return true;
}

J_COLOR_SPACE OutputSpace(const jpeg_decompress_struct& info, int64_t channels) {
  if (info.jpeg_color_space == JCS_CMYK || info.jpeg_color_space == JCS_YCCK) return JCS_CMYK;
  return channels == 1 ? JCS_GRAYSCALE : JCS_RGB;
}

// Starts at this scale; info.output_width and so on are known then.
bool Start(Jpeg* jpeg, int denominator, int64_t channels) {
  if (setjmp(jpeg->jump) != 0) return false;
  jpeg->info.scale_num = 1;
  jpeg->info.scale_denom = static_cast<unsigned>(denominator);
  jpeg->info.out_color_space = OutputSpace(jpeg->info, channels);
  jpeg_start_decompress(&jpeg->info);
  return true;
}

// Columns first .. first + count of every row, rounded outwards to whole blocks.
bool CropColumns(Jpeg* jpeg, JDIMENSION* first, JDIMENSION* count) {
  if (setjmp(jpeg->jump) != 0) return false;
  jpeg_crop_scanline(&jpeg->info, first, count);
  return true;
}

// Rows top .. top + rows into `to`, and no further.
bool ReadRows(Jpeg* jpeg, JDIMENSION top, JDIMENSION rows, uint8_t* to, int64_t row_bytes) {
  if (setjmp(jpeg->jump) != 0) return false;
  if (top > 0) jpeg_skip_scanlines(&jpeg->info, top);
  while (jpeg->info.output_scanline < top + rows) {
    JSAMPROW row = to + (jpeg->info.output_scanline - top) * row_bytes;
    jpeg_read_scanlines(&jpeg->info, &row, 1);
  }
  jpeg_abort_decompress(&jpeg->info);
  return true;
}

// A part of a CMYK image, Adobe's kind: 255 means no ink.
void CmykToRgb(const uint8_t* cmyk, int64_t pixels, uint8_t* rgb) {
  for (int64_t i = 0; i < pixels; ++i) {
    const int black = cmyk[4 * i + 3];
    for (int c = 0; c < 3; ++c) {
      rgb[3 * i + c] = static_cast<uint8_t>((cmyk[4 * i + c] * black + 127) / 255);
    }
  }
}

class JpegDecoder : public ImageDecoder {
 public:
  explicit JpegDecoder(int64_t max_pixels) : max_pixels_(max_pixels) { Check(Create(&jpeg_)); }
  ~JpegDecoder() override { jpeg_destroy_decompress(&jpeg_.info); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  void Open(const uint8_t* bytes, size_t size) override {
    Check(ReadHeader(&jpeg_, bytes, size));
    size_ = {jpeg_.info.image_width, jpeg_.info.image_height};
    CheckImageSize(size_, max_pixels_);
    CheckEnd(bytes + size);
    orientation_ = 1;
    for (auto* m = jpeg_.info.marker_list; m != nullptr; m = m->next) {
      constexpr size_t kName = sizeof(kExifName);
      if (m->marker == kExif && m->data_length > kName &&
          std::memcmp(m->data, kExifName, kName) == 0) {
        orientation_ = ParseOrientation(m->data + kName, m->data_length - kName);
        break;
      }
    }
  }

  PixelSize size() const override { return size_; }
  int orientation() const override { return orientation_; }
  bool scales() const override { return true; }

  void Decode(int denominator, const PixelBox& box, int64_t channels, Pixels* pixels) override {
    Check(Start(&jpeg_, denominator, channels));
    const int64_t width = jpeg_.info.output_width, height = jpeg_.info.output_height;
    const int64_t top = std::max<int64_t>(box.top - kMargin, 0);
    const int64_t bottom = std::min(box.bottom + kMargin, height);
    auto first = static_cast<JDIMENSION>(std::max<int64_t>(box.left - kMargin, 0));
    auto count = static_cast<JDIMENSION>(std::min(box.right + kMargin, width) - first);
    if (count < width) Check(CropColumns(&jpeg_, &first, &count));

    const bool cmyk = jpeg_.info.out_color_space == JCS_CMYK;
    Pixels* decoded = cmyk ? &cmyk_ : pixels;
    decoded->Reset({first, top, first + count, bottom}, cmyk ? 4 : channels);
    Check(ReadRows(&jpeg_, static_cast<JDIMENSION>(top), static_cast<JDIMENSION>(bottom - top),
                   decoded->bytes.data(), decoded->row_bytes()));
    if (!cmyk) return;
    Pixels* rgb = channels == 3 ? pixels : &rgb_;
    rgb->Reset(cmyk_.box, 3);
    CmykToRgb(cmyk_.bytes.data(), cmyk_.box.width() * cmyk_.box.height(), rgb->bytes.data());
    if (channels == 1) ConvertChannels(1, rgb_, pixels);
  }

 private:
  void Check(bool ok) {
    if (ok) return;
    const std::string why = jpeg_.message;
    jpeg_abort_decompress(&jpeg_.info);
    throw Fail(ExitCode::kBadData, "not readable as JPEG: ", why);
  }

  // The image's data, behind the header, must hold an end marker; within the data itself a byte
  // FF is always followed by 00 or a restart marker.
  void CheckEnd(const uint8_t* end) const {
    const uint8_t* begin = jpeg_.info.src->next_input_byte;
    for (const uint8_t* p = end - 1; p > begin; --p) {
      if (p[0] == JPEG_EOI && p[-1] == 0xFF) return;
    }
    throw Error(ExitCode::kBadData, "truncated JPEG: it has no end-of-image marker");
  }

  const int64_t max_pixels_;
  Jpeg jpeg_;
  PixelSize size_;
  int orientation_ = 1;
  Pixels cmyk_, rgb_;
};

}  // namespace

bool IsJpeg(const uint8_t* bytes, size_t size) {
  return size >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF;
}

std::unique_ptr<ImageDecoder> MakeJpegDecoder(int64_t max_pixels) {
  return std::make_unique<JpegDecoder>(max_pixels);
}

void CheckImageSize(PixelSize size, int64_t max_pixels) {
  if (size.width < 1 || size.height < 1) throw Error(ExitCode::kBadData, "an image of no pixels");
  if (size.width > max_pixels / size.height) {
    throw Fail(ExitCode::kBadData, "an image of ", size.width, " x ", size.height,
               " pixels; the most is ", max_pixels, " pixels");
  }
}

}  // namespace mariana
