// The keys of a window that slides over an image (kernel, stride, padding, dilation), shared by
// conv and the poolings, and what they make of an image's extent. Values; thread-compatible.
#pragma once

#include <vector>

#include "common/config/fields.h"
#include "common/nn/layer.h"

namespace mariana {

struct WindowOptions {
  std::vector<int64_t> kernel{3};    // one number, or [height, width]
  std::vector<int64_t> stride{1};    // likewise
  std::vector<int64_t> dilation{1};  // likewise
  // One number, [height, width] or [top, bottom, left, right]; empty: "same".
  std::vector<int64_t> padding{0};

  // The keys kernel, stride and padding; `stride_doc` says what its default means.
  void Describe(Fields* f, const char* stride_doc);
  void DescribeDilation(Fields* f);

  // Over an image of this extent. Under "same" the output has ceil(extent / stride) pixels, and an
  // odd rest of padding goes to the bottom and right.
  Window Over(const ImageSize& in) const;
};

// kernel_shape, strides and pads of an ONNX operator.
std::vector<OpAttribute> WindowAttributes(const Window& window);

// Of an image's shape; throws Error(kUsage) when it is none.
ImageSize ImageOf(const Shape& shape);
inline Shape ShapeOf(const ImageSize& s) { return {s.height, s.width, s.channels}; }

// Sets the height and width of `out` that the window takes over `in`. Ceil mode counts a last
// window that hangs over the end, unless it would start beyond the image and its padding (PyTorch's
// rule). Throws Error(kUsage) when the window is larger than the padded image.
void SetExtent(const Window& window, const ImageSize& in, bool ceil_mode, ImageSize* out);

}  // namespace mariana
