// Pooling of one image, vectorised over channels. The backward pass gathers: every pixel of dx adds
// up what the windows over it send, so it is written once, and sums are fp32 for any element type.
#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

constexpr int64_t kStrip = 256;  // channels whose sums stay in the first cache

// The part of a window that begins at `start` which lies in [0, size).
struct Span {
  int64_t begin, end;
};
Span Inside(int64_t start, int64_t kernel, int64_t size) {
  return {start < 0 ? 0 : start, start + kernel < size ? start + kernel : size};
}

// Outputs of [0, out) whose windows contain coordinate i.
Span Windows(int64_t i, int64_t pad, int64_t kernel, int64_t stride, int64_t out) {
  const int64_t first = i + pad - kernel + 1;
  const int64_t begin = first <= 0 ? 0 : (first + stride - 1) / stride;
  const int64_t end = (i + pad) / stride + 1;
  return {begin, end < out ? end : out};
}

// f(first channel, width).
template <class F>
[[gnu::always_inline]] inline void Strips(int64_t channels, const F& f) {
  for (int64_t c = 0; c < channels; c += kStrip) {
    f(c, channels - c < kStrip ? channels - c : kStrip);
  }
}

// 1 / the number of pixels that the average at output (oh, ow) is divided by, as in PyTorch:
// counted padding ends where the padding does, though the window may reach on.
float AverageScale(const PoolSpec& s, int64_t oh, int64_t ow) {
  const Window& w = s.window;
  const auto extent = [&](int64_t o, int64_t stride, int64_t before, int64_t after, int64_t kernel,
                          int64_t size) {
    const int64_t start = o * stride - before;
    if (!s.count_padding) {
      const Span inside = Inside(start, kernel, size);
      return inside.end - inside.begin;
    }
    return (start + kernel < size + after ? start + kernel : size + after) - start;
  };
  const int64_t pixels = extent(oh, w.stride_h, w.top, w.bottom, w.kernel_h, s.in.height) *
                         extent(ow, w.stride_w, w.left, w.right, w.kernel_w, s.in.width);
  return 1.0f / static_cast<float>(pixels);
}

// f(output pixel, oh, ow, rows and columns of the image under its window)
template <class F>
[[gnu::always_inline]] inline void EachOutput(const PoolSpec& s, const F& f) {
  const Window& w = s.window;
  for (int64_t oh = 0; oh < s.out.height; ++oh) {
    const Span rows = Inside(oh * w.stride_h - w.top, w.kernel_h, s.in.height);
    for (int64_t ow = 0; ow < s.out.width; ++ow) {
      const Span cols = Inside(ow * w.stride_w - w.left, w.kernel_w, s.in.width);
      f(oh * s.out.width + ow, oh, ow, rows, cols);
    }
  }
}

template <class T>
void MaxForward(const PoolSpec& s, const T* x, T* y, uint8_t* saved) {
  const Window& w = s.window;
  const int64_t channels = s.in.channels;
  EachOutput(s, [&](int64_t o, int64_t oh, int64_t ow, Span rows, Span cols) {
    Strips(channels, [&](int64_t c, int64_t width) {
      float best_values[kStrip];
      uint8_t* index = saved + o * channels + c;
      float* best = best_values;
      bool first = true;
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        for (int64_t v = cols.begin; v < cols.end; ++v) {
          const T* p = x + (h * s.in.width + v) * channels + c;
          const uint8_t at = static_cast<uint8_t>((h - oh * w.stride_h + w.top) * w.kernel_w + v -
                                                  ow * w.stride_w + w.left);
          if (first) {
            Each(width, [=](int64_t i) { best[i] = Load(p, i), index[i] = at; });
            first = false;
            continue;
          }
          Each(width, [=](int64_t i) {
            const float value = Load(p, i);
            const bool more = value > best[i] || value != value;  // the first of equals; NaN wins
            best[i] = more ? value : best[i];
            index[i] = more ? at : index[i];
          });
        }
      }
      T* to = y + o * channels + c;
      Each(width, [=](int64_t i) { Store(to, i, best[i]); });
    });
  });
}

template <class T>
void AverageForward(const PoolSpec& s, const T* x, T* y) {
  const int64_t channels = s.in.channels;
  EachOutput(s, [&](int64_t o, int64_t oh, int64_t ow, Span rows, Span cols) {
    const float scale = AverageScale(s, oh, ow);
    Strips(channels, [&](int64_t c, int64_t width) {
      float sums[kStrip] = {};
      float* sum = sums;
      for (int64_t h = rows.begin; h < rows.end; ++h) {
        for (int64_t v = cols.begin; v < cols.end; ++v) {
          const T* p = x + (h * s.in.width + v) * channels + c;
          Each(width, [=](int64_t i) { sum[i] += Load(p, i); });
        }
      }
      T* to = y + o * channels + c;
      Each(width, [=](int64_t i) { Store(to, i, sum[i] * scale); });
    });
  });
}

// dx at every pixel = sum of add(sum of the strip, output pixel, place in its window, ...).
template <class T, class F>
[[gnu::always_inline]] inline void EachInput(const PoolSpec& s, T* dx, const F& add) {
  const Window& w = s.window;
  const int64_t channels = s.in.channels;
  for (int64_t h = 0; h < s.in.height; ++h) {
    const Span rows = Windows(h, w.top, w.kernel_h, w.stride_h, s.out.height);
    for (int64_t v = 0; v < s.in.width; ++v) {
      const Span cols = Windows(v, w.left, w.kernel_w, w.stride_w, s.out.width);
      Strips(channels, [&](int64_t c, int64_t width) {
        float sums[kStrip];
        float* sum = sums;
        Each(width, [=](int64_t i) { sum[i] = 0; });
        for (int64_t oh = rows.begin; oh < rows.end; ++oh) {
          for (int64_t ow = cols.begin; ow < cols.end; ++ow) {
            const int64_t place =
                (h - oh * w.stride_h + w.top) * w.kernel_w + v - ow * w.stride_w + w.left;
            add(sum, oh, ow, static_cast<uint8_t>(place), c, width);
          }
        }
        T* to = dx + (h * s.in.width + v) * channels + c;
        Each(width, [=](int64_t i) { Store(to, i, sum[i]); });
      });
    }
  }
}

template <class T>
void MaxBackward(const PoolSpec& s, const T* dy, const uint8_t* saved, T* dx) {
  EachInput(s, dx,
            [&](float* sum, int64_t oh, int64_t ow, uint8_t place, int64_t c, int64_t width) {
              const int64_t at = (oh * s.out.width + ow) * s.in.channels + c;
              const uint8_t* index = saved + at;
              const T* d = dy + at;
              Each(width, [=](int64_t i) { sum[i] += index[i] == place ? Load(d, i) : 0.0f; });
            });
}

template <class T>
void AverageBackward(const PoolSpec& s, const T* dy, T* dx) {
  EachInput(s, dx, [&](float* sum, int64_t oh, int64_t ow, uint8_t, int64_t c, int64_t width) {
    const T* d = dy + (oh * s.out.width + ow) * s.in.channels + c;
    const float scale = AverageScale(s, oh, ow);
    Each(width, [=](int64_t i) { sum[i] += Load(d, i) * scale; });
  });
}

void Forward(const PoolSpec& s, const void* x, void* y, uint8_t* saved) {
  WithType(s.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (s.kind == PoolKind::kMax) {
      MaxForward(s, static_cast<const T*>(x), static_cast<T*>(y), saved);
    } else {
      AverageForward(s, static_cast<const T*>(x), static_cast<T*>(y));
    }
  });
}

void Backward(const PoolSpec& s, const void* dy, const uint8_t* saved, void* dx) {
  WithType(s.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (s.kind == PoolKind::kMax) {
      MaxBackward(s, static_cast<const T*>(dy), saved, static_cast<T*>(dx));
    } else {
      AverageBackward(s, static_cast<const T*>(dy), static_cast<T*>(dx));
    }
  });
}

}  // namespace

void AddPooling(Kernels* k) {
  k->pool = Forward;
  k->pool_backward = Backward;
}

}  // namespace mariana::MARIANA_ISA
