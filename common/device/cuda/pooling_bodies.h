// Pooling, as bodies.h: forward a pixel of the output, backward a pixel of the input that gathers
// what the windows over it send. What is largest, and what an average is divided by, as on the CPU.
#pragma once

#include "common/device/cuda/packs.h"

namespace mariana::cuda {

// The part of a window that begins at `start` which lies in [0, size).
struct WindowSpan {
  int begin, end;
};
MARIANA_HOST_DEVICE inline WindowSpan Inside(int start, int kernel, int size) {
  return {start < 0 ? 0 : start, start + kernel < size ? start + kernel : size};
}
// Outputs of [0, out) whose windows contain coordinate i.
MARIANA_HOST_DEVICE inline WindowSpan Over(int i, int pad, int kernel, int stride, int out) {
  const int first = i + pad - kernel + 1, end = (i + pad) / stride + 1;
  return {first <= 0 ? 0 : (first + stride - 1) / stride, end < out ? end : out};
}

// PoolSpec in ints, as kernels want it.
struct PoolShape {
  int in_h, in_w, out_h, out_w, channels;
  int kernel_h, kernel_w, stride_h, stride_w, top, bottom, left, right;
  bool max, count_padding;

  static PoolShape Of(const PoolSpec& s) {
    const auto i = [](int64_t v) { return static_cast<int>(v); };
    const Window& w = s.window;
    return {i(s.in.height),   i(s.in.width),
            i(s.out.height),  i(s.out.width),
            i(s.in.channels), i(w.kernel_h),
            i(w.kernel_w),    i(w.stride_h),
            i(w.stride_w),    i(w.top),
            i(w.bottom),      i(w.left),
            i(w.right),       s.kind == PoolKind::kMax,
            s.count_padding};
  }
  // 1 / what the average at (oh, ow) is divided by; counted padding ends where the padding does.
  MARIANA_HOST_DEVICE float Scale(int oh, int ow) const {
    return 1.0f / static_cast<float>(Extent(oh * stride_h - top, kernel_h, in_h, bottom) *
                                     Extent(ow * stride_w - left, kernel_w, in_w, right));
  }
  MARIANA_HOST_DEVICE int Extent(int start, int kernel, int size, int after) const {
    if (!count_padding) {
      const WindowSpan inside = Inside(start, kernel, size);
      return inside.end - inside.begin;
    }
    return (start + kernel < size + after ? start + kernel : size + after) - start;
  }
};

// The row is a pixel of the output over all images, the column W channels.
template <int W, class T>
struct PoolForward {
  PoolShape s;
  const T* x;
  T* y;
  uint8_t* saved;  // max: place in the window, by output
  MARIANA_HOST_DEVICE void operator()(int64_t pixel, int64_t column) const {
    const uint32_t p = static_cast<uint32_t>(pixel), line = p / static_cast<uint32_t>(s.out_w);
    const int ow = static_cast<int>(p - line * s.out_w), oh = static_cast<int>(line % s.out_h);
    const int64_t image = line / s.out_h;
    const int h0 = oh * s.stride_h - s.top, w0 = ow * s.stride_w - s.left;
    const WindowSpan rows = Inside(h0, s.kernel_h, s.in_h), cols = Inside(w0, s.kernel_w, s.in_w);
    const T* from = x + image * s.in_h * s.in_w * s.channels + column * W;
    Pack<float, W> best{};
    Pack<uint8_t, W> place{};
    bool first = true;
    for (int h = rows.begin; h < rows.end; ++h) {
      for (int w = cols.begin; w < cols.end; ++w) {
        const Pack<float, W> v = LoadPack<W>(from + (int64_t{h} * s.in_w + w) * s.channels);
        const uint8_t at = static_cast<uint8_t>((h - h0) * s.kernel_w + w - w0);
        for (int k = 0; k < W; ++k) {
          if (!s.max) {
            best.v[k] += v.v[k];
          } else if (first || v.v[k] > best.v[k] || v.v[k] != v.v[k]) {  // first of equals; or NaN
            best.v[k] = v.v[k];
            place.v[k] = at;
          }
        }
        first = false;
      }
    }
    const int64_t to = pixel * s.channels + column * W;
    if (s.max) {
      for (int k = 0; k < W; ++k) saved[to + k] = place.v[k];
    } else {
      const float scale = s.Scale(oh, ow);
      for (int k = 0; k < W; ++k) best.v[k] *= scale;
    }
    StorePack<W>(best, y + to);
  }
};

// The row is a pixel of the input over all images, the column W channels.
template <int W, class T>
struct PoolBackward {
  PoolShape s;
  const T* dy;
  const uint8_t* saved;
  T* dx;
  MARIANA_HOST_DEVICE void operator()(int64_t pixel, int64_t column) const {
    const uint32_t p = static_cast<uint32_t>(pixel), line = p / static_cast<uint32_t>(s.in_w);
    const int w = static_cast<int>(p - line * s.in_w), h = static_cast<int>(line % s.in_h);
    const int64_t image = line / s.in_h;
    const WindowSpan rows = Over(h, s.top, s.kernel_h, s.stride_h, s.out_h);
    const WindowSpan cols = Over(w, s.left, s.kernel_w, s.stride_w, s.out_w);
    Pack<float, W> sum{};
    for (int oh = rows.begin; oh < rows.end; ++oh) {
      for (int ow = cols.begin; ow < cols.end; ++ow) {
        const int64_t at = ((image * s.out_h + oh) * s.out_w + ow) * s.channels + column * W;
        const Pack<float, W> d = LoadPack<W>(dy + at);
        const uint8_t place = static_cast<uint8_t>((h - oh * s.stride_h + s.top) * s.kernel_w + w -
                                                   ow * s.stride_w + s.left);
        const float scale = s.max ? 1.0f : s.Scale(oh, ow);
        for (int k = 0; k < W; ++k) {
          sum.v[k] += !s.max ? d.v[k] * scale : saved[at + k] == place ? d.v[k] : 0.0f;
        }
      }
    }
    StorePack<W>(sum, dx + pixel * s.channels + column * W);
  }
};

}  // namespace mariana::cuda
