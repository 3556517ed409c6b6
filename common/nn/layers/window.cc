#include "common/nn/layers/window.h"

#include <algorithm>

namespace mariana {
namespace {

constexpr int64_t kMostPixels = 1 << 16;

// The height or width of a list of one or two.
int64_t Of(const std::vector<int64_t>& list, size_t i) { return list[list.size() == 1 ? 0 : i]; }

bool OneOrTwo(const std::vector<int64_t>& list) { return list.size() == 1 || list.size() == 2; }

void PadSame(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t* begin,
             int64_t* end) {
  const int64_t out = (in + stride - 1) / stride;
  const int64_t all = std::max<int64_t>((out - 1) * stride + dilation * (kernel - 1) + 1 - in, 0);
  *begin = all / 2;
  *end = all - *begin;
}

int64_t Extent(int64_t in, int64_t kernel, int64_t stride, int64_t dilation, int64_t begin,
               int64_t end, bool ceil_mode, const char* what) {
  const int64_t reach = dilation * (kernel - 1) + 1, room = in + begin + end - reach;
  if (room < 0) {
    throw Fail(ExitCode::kUsage, "kernel: covers ", reach, " pixels of ", what,
               ", but its input has ", in,
               begin + end > 0 ? StrCat(" and ", begin + end, " of padding") : std::string());
  }
  int64_t out = (room + (ceil_mode ? stride - 1 : 0)) / stride + 1;
  if (ceil_mode && (out - 1) * stride >= in + begin) --out;
  return out;
}

}  // namespace

void WindowOptions::Describe(Fields* f, const char* stride_doc) {
  f->IntList("kernel", &kernel, "Size in pixels: one number, or [height, width].",
             Rule().Min(1).Max(kMostPixels));
  f->IntList("stride", &stride, stride_doc, Rule().Min(1).Max(kMostPixels));
  f->IntListOr("padding", &padding, "same",
               "Pixels around the image: one number, [height, width] or [top, bottom, left, "
               "right]; `same`: as many as make the output ceil(input / stride) pixels.",
               Rule().Min(0).Max(kMostPixels));
  f->Require(OneOrTwo(kernel), "kernel", "must be one number or [height, width]");
  f->Require(stride.empty() || OneOrTwo(stride), "stride", "must be one number or [height, width]");
  f->Require(padding.empty() || OneOrTwo(padding) || padding.size() == 4, "padding",
             "must be one number, [height, width], [top, bottom, left, right] or same");
}

void WindowOptions::DescribeDilation(Fields* f) {
  f->IntList("dilation", &dilation, "Pixels from one tap of the kernel to the next.",
             Rule().Min(1).Max(kMostPixels));
  f->Require(OneOrTwo(dilation), "dilation", "must be one number or [height, width]");
}

Window WindowOptions::Over(const ImageSize& in) const {
  Window w;
  w.kernel_h = Of(kernel, 0);
  w.kernel_w = Of(kernel, 1);
  const std::vector<int64_t>& steps = stride.empty() ? kernel : stride;
  w.stride_h = Of(steps, 0);
  w.stride_w = Of(steps, 1);
  w.dilation_h = Of(dilation, 0);
  w.dilation_w = Of(dilation, 1);
  if (padding.empty()) {
    PadSame(in.height, w.kernel_h, w.stride_h, w.dilation_h, &w.top, &w.bottom);
    PadSame(in.width, w.kernel_w, w.stride_w, w.dilation_w, &w.left, &w.right);
  } else if (padding.size() == 4) {
    w.top = padding[0], w.bottom = padding[1], w.left = padding[2], w.right = padding[3];
  } else {
    w.top = w.bottom = Of(padding, 0);
    w.left = w.right = Of(padding, 1);
  }
  return w;
}

ImageSize ImageOf(const Shape& shape) {
  if (!IsImage(shape)) {
    throw Fail(ExitCode::kUsage, "needs an image [height, width, channels], but its input is ",
               shape.ToString());
  }
  return {shape[0], shape[1], shape[2]};
}

void SetExtent(const Window& w, const ImageSize& in, bool ceil_mode, ImageSize* out) {
  out->height =
      Extent(in.height, w.kernel_h, w.stride_h, w.dilation_h, w.top, w.bottom, ceil_mode, "height");
  out->width =
      Extent(in.width, w.kernel_w, w.stride_w, w.dilation_w, w.left, w.right, ceil_mode, "width");
}

std::vector<OpAttribute> WindowAttributes(const Window& w) {
  using Ints = OpAttribute::Ints;
  return {{"kernel_shape", Ints{w.kernel_h, w.kernel_w}},
          {"strides", Ints{w.stride_h, w.stride_w}},
          {"pads", Ints{w.top, w.left, w.bottom, w.right}}};
}

}  // namespace mariana
