// What one thread of a simple kernel does: functors of an index, or of a row and a column. The host
// can run them too: tests/common/device/cuda compares each with the CPU device. Pointers are device
// memory; nothing here waits for another thread.
#pragma once

#include "common/device/cuda/packs.h"
#include "common/device/formulas.h"

namespace mariana::cuda {

// ---- over elements: a thread has elements [i, i + W) of n

template <int W, class F, class Y, class... X>
MARIANA_HOST_DEVICE inline void MapPack(const F& f, Y* y, Pack<X, W>... x) {
  Pack<float, W> out;
  for (int k = 0; k < W; ++k) out.v[k] = f(x.v[k]...);
  StorePack<W>(out, y);
}

// y[i..] = f(x[i]...); y may be any x.
template <int W, class F, class Y, class... X>
MARIANA_HOST_DEVICE inline void MapElements(int64_t i, int64_t n, const F& f, Y* y, const X*... x) {
  if (i + W <= n) {
    MapPack<W>(f, y + i, LoadPack<W>(x + i)...);
  } else {
    for (int64_t j = i; j < n; ++j) y[j] = FromFloat<Y>(f(ToFloat(x[j])...));
  }
}

// Formulas as functors.
template <Activation a>
struct ApplyOf {
  MARIANA_HOST_DEVICE float operator()(float x) const { return formulas::Apply<a>(x); }
};
template <Activation a>
struct SlopeOf {  // of y and dy
  MARIANA_HOST_DEVICE float operator()(float y, float dy) const {
    return dy * formulas::Slope<a>(y);
  }
};
struct Constant {
  float value;
  MARIANA_HOST_DEVICE float operator()() const { return value; }
};
struct Same {
  MARIANA_HOST_DEVICE float operator()(float x) const { return x; }
};
struct Sum {
  MARIANA_HOST_DEVICE float operator()(float a, float b) const { return a + b; }
};
struct Product {
  MARIANA_HOST_DEVICE float operator()(float a, float b) const { return a * b; }
};
struct LeakyReluOf {
  float slope;
  MARIANA_HOST_DEVICE float operator()(float x) const { return formulas::LeakyRelu(x, slope); }
};
struct LeakyReluSlopeOf {
  float slope;
  MARIANA_HOST_DEVICE float operator()(float y, float dy) const {
    return dy * formulas::LeakyReluSlope(y, slope);
  }
};
struct GeluOf {
  MARIANA_HOST_DEVICE float operator()(float x) const { return formulas::Gelu(x); }
};
struct GeluSlopeOf {
  MARIANA_HOST_DEVICE float operator()(float x, float dy) const {
    return dy * formulas::GeluSlope(x);
  }
};
struct MultiplyAddOf {
  MARIANA_HOST_DEVICE float operator()(float a, float b, float c) const {
    return formulas::MultiplyAdd(a, b, c);
  }
};

// da = dy * b and db = dy * a of one element; either may be dy.
template <class T>
struct MultiplyAddSlopes {
  const T *a, *b, *dy;
  T *da, *db;
  MARIANA_HOST_DEVICE void operator()(int64_t i) const {
    const float d = ToFloat(dy[i]), x = ToFloat(a[i]), y = ToFloat(b[i]);
    da[i] = FromFloat<T>(d * y);
    db[i] = FromFloat<T>(d * x);
  }
};

// The i-th Philox block over elements first .. first + n of the flat index that draws are numbered
// by: up to four elements of x. Blocks: (first % 4 + n + 3) / 4.
template <class T>
struct DropoutBlock {
  const T* x;
  T* y;
  int64_t n, cols;
  float rate, scale;
  uint64_t seed, stream;
  const int64_t* first_sample;
  MARIANA_HOST_DEVICE void operator()(int64_t i) const {
    const int64_t first = *first_sample * cols, block = first / 4 + i;
    const Philox4 words = Philox(seed, stream, static_cast<uint64_t>(block));
    for (int lane = 0; lane < 4; ++lane) {
      const int64_t j = block * 4 + lane - first;
      if (j < 0 || j >= n) continue;
      const float kept = formulas::Keep(words.v[lane], rate) ? scale : 0.0f;
      y[j] = FromFloat<T>(ToFloat(x[j]) * kept);
    }
  }
};
// One more than what is needed when the first sample starts within a block: it is not known here.
inline int64_t DropoutBlocks(int64_t n) { return (n + 3) / 4 + 1; }

// The i-th element of a worker's part of the columns.
template <class T>
struct DropoutPartElement {
  const T* x;
  T* y;
  int64_t cols;
  DropoutPart part;
  float rate, scale;
  uint64_t seed, stream;
  const int64_t* first_sample;
  MARIANA_HOST_DEVICE void operator()(int64_t i) const {
    const int64_t pixel = *first_sample * (cols / part.channels) + i / part.channels;
    const int64_t index = pixel * part.whole + part.first + i % part.channels;
    const Philox4 words = Philox(seed, stream, static_cast<uint64_t>(index / 4));
    const float kept = formulas::Keep(words.v[index % 4], rate) ? scale : 0.0f;
    y[i] = FromFloat<T>(ToFloat(x[i]) * kept);
  }
};

// One element of an optimizer's step; of kSgd with momentum 0, m is not read.
template <OptimizerKind kind, bool momentum, bool nesterov>
MARIANA_HOST_DEVICE inline float NewValue(const OptimizerStep& s, const formulas::AdamScalars& a,
                                          float g, float w, float* m, float* v) {
  if constexpr (kind == OptimizerKind::kAdaGrad) return formulas::AdaGrad(s, g, w, m);
  if constexpr (kind == OptimizerKind::kAdam) return formulas::Adam(s, a, g, w, m, v);
  if constexpr (momentum) return formulas::SgdMomentum<nesterov>(s, g, w, m);
  return formulas::Sgd(s, g, w);
}

// Elements [i, i + W) of n. The step comes by value, or from device memory where `now` is not null.
template <int W, OptimizerKind kind, bool momentum, bool nesterov, bool shadow>
struct UpdateElements {
  static constexpr bool kFirst = kind != OptimizerKind::kSgd || momentum;
  static constexpr bool kSecond = kind == OptimizerKind::kAdam;
  OptimizerStep step;
  const OptimizerStep* now;
  const float* g;
  float* w;
  uint16_t* w16;
  float *slot0, *slot1;

  template <int P>
  MARIANA_HOST_DEVICE void Do(const OptimizerStep& s, const formulas::AdamScalars& adam,
                              int64_t i) const {
    const Pack<float, P> gradient = LoadPack<P>(g + i);
    Pack<float, P> value = LoadPack<P>(w + i), m{}, v{};
    if constexpr (kFirst) m = LoadPack<P>(slot0 + i);
    if constexpr (kSecond) v = LoadPack<P>(slot1 + i);
    for (int k = 0; k < P; ++k) {
      value.v[k] =
          NewValue<kind, momentum, nesterov>(s, adam, gradient.v[k], value.v[k], &m.v[k], &v.v[k]);
    }
    StorePack<P>(value, w + i);
    if constexpr (kFirst) StorePack<P>(m, slot0 + i);
    if constexpr (kSecond) StorePack<P>(v, slot1 + i);
    if constexpr (shadow) StorePack<P>(value, w16 + i);
  }
  MARIANA_HOST_DEVICE void operator()(int64_t i, int64_t n) const {
    const OptimizerStep s = now == nullptr ? step : *now;
    formulas::AdamScalars adam{};
    if constexpr (kSecond) adam = formulas::MakeAdamScalars(s);
    if (i + W <= n) {
      Do<W>(s, adam, i);
    } else {
      for (int64_t j = i; j < n; ++j) Do<1>(s, adam, j);
    }
  }
};

// ---- over rows and columns; a column is W elements

// Columns of dst from src, W at a time.
template <int W, class T>
struct CopyColumnsOf {
  const T* src;
  T* dst;
  int64_t src_stride, dst_stride;
  MARIANA_HOST_DEVICE void operator()(int64_t row, int64_t column) const {
    CopyPack<W>(src + row * src_stride + column * W, dst + row * dst_stride + column * W);
  }
};

// A row of dst [dst_stride]: src [cols] from column dst_col on, zero elsewhere.
template <class T>
struct PlaceColumnsOf {
  const T* src;
  T* dst;
  int64_t dst_stride, dst_col, cols;
  MARIANA_HOST_DEVICE void operator()(int64_t row, int64_t column) const {
    const int64_t from = column - dst_col;
    dst[row * dst_stride + column] = from >= 0 && from < cols ? src[row * cols + from] : T{0};
  }
};

// Frames [dim] around a row's center, W elements of one of them.
template <int W, class T>
struct SpliceOf {
  const float* frames;
  const int32_t *center, *begin, *end;
  T* y;
  int dim, left;
  int64_t width;
  MARIANA_HOST_DEVICE void operator()(int64_t row, int64_t column) const {
    const int at = static_cast<int>(column) * W, k = at / dim;
    int frame = center[row] + k - left;
    if (frame < begin[row]) frame = begin[row];
    if (frame >= end[row]) frame = end[row] - 1;
    StorePack<W>(LoadPack<W>(frames + int64_t{frame} * dim + (at - k * dim)), y + row * width + at);
  }
};

// Local response normalisation of one channel of a pixel; the row is the pixel.
template <class T>
struct LrnOf {
  const T *x, *dy;  // dy: backward only
  T* y;             // dx, backward
  float k, scale, beta;
  int64_t channels, before, after;

  // k + scale * the sum of squares over the window of channel c.
  MARIANA_HOST_DEVICE float Scale(const T* row, int64_t c) const {
    float sum = 0;
    const int64_t last = c + after < channels ? c + after : channels - 1;
    for (int64_t j = c - before < 0 ? 0 : c - before; j <= last; ++j) {
      sum += ToFloat(row[j]) * ToFloat(row[j]);
    }
    return k + scale * sum;
  }
  MARIANA_HOST_DEVICE static float Power(float base, float exponent) {
    return formulas::Exp(exponent * formulas::Log(base));
  }
  MARIANA_HOST_DEVICE void operator()(int64_t pixel, int64_t c) const {
    const T* row = x + pixel * channels;
    y[pixel * channels + c] = FromFloat<T>(ToFloat(row[c]) * Power(Scale(row, c), -beta));
  }
};

template <class T>
struct LrnBackwardOf : LrnOf<T> {
  MARIANA_HOST_DEVICE void operator()(int64_t pixel, int64_t c) const {
    const T *row = this->x + pixel * this->channels, *d = this->dy + pixel * this->channels;
    float own = 0, sum = 0;  // own: dy_c times its scale to the -beta
    // The channels whose windows hold c.
    const int64_t first = c - this->after < 0 ? 0 : c - this->after;
    const int64_t last = c + this->before < this->channels ? c + this->before : this->channels - 1;
    for (int64_t j = first; j <= last; ++j) {
      const float s = this->Scale(row, j), power = this->Power(s, -this->beta);
      sum += ToFloat(d[j]) * ToFloat(row[j]) * power / s;
      if (j == c) own = ToFloat(d[j]) * power;
    }
    this->y[pixel * this->channels + c] =
        FromFloat<T>(own - 2 * this->scale * this->beta * ToFloat(row[c]) * sum);
  }
};

// Column i * vectors + j of a row of pairs: the product of vectors i < j.
template <class T>
struct DotsOf {
  const T* x;
  T* y;
  int vectors, size;
  MARIANA_HOST_DEVICE void operator()(int64_t row, int64_t column) const {
    const int i = static_cast<int>(column) / vectors, j = static_cast<int>(column) % vectors;
    if (i >= j) return;
    const T* a = x + (row * vectors + i) * size;
    const T* b = x + (row * vectors + j) * size;
    float sum = 0;
    for (int k = 0; k < size; ++k) sum += ToFloat(a[k]) * ToFloat(b[k]);
    const int64_t products = int64_t{vectors} * (vectors - 1) / 2;
    y[row * products + i * (2 * vectors - i - 1) / 2 + j - i - 1] = FromFloat<T>(sum);
  }
};
// Element k of vector i of a row: column i * size + k.
template <class T>
struct DotsBackwardOf {
  const T *x, *dy;
  T* dx;
  int vectors, size;
  MARIANA_HOST_DEVICE void operator()(int64_t row, int64_t column) const {
    const int i = static_cast<int>(column) / size, k = static_cast<int>(column) % size;
    const T* from = x + row * vectors * size;
    const T* slopes = dy + row * (int64_t{vectors} * (vectors - 1) / 2);
    float sum = 0;
    for (int j = 0; j < vectors; ++j) {
      if (j == i) continue;
      const int lo = i < j ? i : j, hi = i < j ? j : i;
      sum += ToFloat(slopes[lo * (2 * vectors - lo - 1) / 2 + hi - lo - 1]) *
             ToFloat(from[j * size + k]);
    }
    dx[(row * vectors + i) * size + k] = FromFloat<T>(sum);
  }
};

// y = a(y + b), one column (of W) of a row; b may be null.
template <int W, Activation a, class T>
struct BiasActivateOf {
  const float* b;
  T* y;
  int64_t cols;
  MARIANA_HOST_DEVICE void operator()(int64_t row, int64_t column) const {
    T* at = y + row * cols + column * W;
    Pack<float, W> v = LoadPack<W>(at);
    for (int k = 0; k < W; ++k) {
      v.v[k] = formulas::Apply<a>(v.v[k] + (b == nullptr ? 0.0f : b[column * W + k]));
    }
    StorePack<W>(v, at);
  }
};

// An image into another of a different extent, at (top, left) of it, zeros around; or back. The row
// is a pixel of `to` over all images.
template <int W, class T>
struct ShiftImageOf {
  const T* from;
  T* to;
  ImageSize in, out;  // of from and to; channels alike
  int64_t top, left;  // of from within to; negative: to lies within from
  MARIANA_HOST_DEVICE void operator()(int64_t pixel, int64_t column) const {
    const uint32_t width = static_cast<uint32_t>(out.width),
                   height = static_cast<uint32_t>(out.height);
    const uint32_t p = static_cast<uint32_t>(pixel), line = p / width;
    const int64_t w = p - line * width - left, h = line % height - top, image = line / height;
    T* at = to + pixel * out.channels + column * W;
    if (h >= 0 && h < in.height && w >= 0 && w < in.width) {
      CopyPack<W>(from + ((image * in.height + h) * in.width + w) * in.channels + column * W, at);
    } else {
      StorePack<W>(Pack<float, W>{}, at);
    }
  }
};

}  // namespace mariana::cuda
