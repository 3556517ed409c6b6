#include "common/device/cpu/conv_direct.h"

#include <algorithm>

namespace mariana {
namespace {

constexpr int64_t kVector = 16;
constexpr int64_t kChunk = 4 * kVector;

int64_t Ceil(int64_t n, int64_t d) { return (n + d - 1) / d; }

}  // namespace

DirectConvolution DirectConvolution::Forward(const ConvSpec& spec, int64_t panel,
                                             const Kernels& kernels) {
  DirectConvolution d(spec, panel, kernels);
  const Window& w = spec.window;
  const int64_t in = spec.in.channels;
  d.from_ = spec.in;
  d.to_ = spec.out;
  d.top_ = w.top;
  d.left_ = w.left;
  const auto extent = [](int64_t size, int64_t before, int64_t out, int64_t stride,
                         int64_t dilation, int64_t kernel) {
    return std::max(size + before, (out - 1) * stride + dilation * (kernel - 1) + 1);
  };
  d.padded_ = {extent(spec.in.height, w.top, spec.out.height, w.stride_h, w.dilation_h, w.kernel_h),
               extent(spec.in.width, w.left, spec.out.width, w.stride_w, w.dilation_w, w.kernel_w),
               in};
  d.panel_floats_ = w.kernel_h * w.kernel_w * in * panel;
  // Where taps are neighbours, a row of them is one long sum.
  const bool neighbours = w.dilation_w == 1;
  Class c{};
  c.row_step = c.col_step = 1;
  c.rows = spec.out.height;
  c.cols = spec.out.width;
  c.from_row_step = w.stride_h;
  c.from_col_step = w.stride_w;
  c.taps_h = w.kernel_h;
  c.taps_w = neighbours ? 1 : w.kernel_w;
  c.depth = neighbours ? w.kernel_w * in : in;
  c.tap_row = w.dilation_h;
  c.tap_col = w.dilation_w;
  c.w_row = w.kernel_w * in * panel;
  c.w_col = in * panel;
  if (neighbours && w.kernel_w == 3 && w.stride_w == 1 && spec.out.channels == kVector) {
    c.three = true;
    c.depth = in;
  }
  d.classes_.push_back(c);
  return d;
}

DirectConvolution DirectConvolution::InputGradient(const ConvSpec& spec, int64_t panel,
                                                   const Kernels& kernels) {
  DirectConvolution d(spec, panel, kernels);
  const Window& w = spec.window;
  const int64_t in = spec.out.channels;
  d.from_ = spec.out;
  d.to_ = spec.in;
  d.panel_floats_ = w.kernel_h * w.kernel_w * in * panel;
  // As far as taps can reach beyond dy.
  struct Axis {
    int64_t before, padded;
  };
  const auto axis = [](int64_t x, int64_t y, int64_t pad, int64_t kernel, int64_t stride) {
    const int64_t before = (kernel - 1) / stride, last = (x - 1 + pad) / stride;
    return Axis{before, before + std::max(y, last + 1)};
  };
  const Axis down = axis(spec.in.height, spec.out.height, w.top, w.kernel_h, w.stride_h);
  const Axis across = axis(spec.in.width, spec.out.width, w.left, w.kernel_w, w.stride_w);
  d.top_ = down.before;
  d.left_ = across.before;
  d.padded_ = {down.padded, across.padded, in};
  for (int64_t h = 0; h < std::min(w.stride_h, spec.in.height); ++h) {
    for (int64_t v = 0; v < std::min(w.stride_w, spec.in.width); ++v) {
      // Pixel h = stride * j + h0 of dx has taps k = first, first + stride, ... from rows
      // (h + pad - k) / stride of dy.
      const int64_t kh = (h + w.top) % w.stride_h, kw = (v + w.left) % w.stride_w;
      Class c{};
      c.row0 = h;
      c.row_step = w.stride_h;
      c.rows = Ceil(spec.in.height - h, w.stride_h);
      c.col0 = v;
      c.col_step = w.stride_w;
      c.cols = Ceil(spec.in.width - v, w.stride_w);
      c.from_row = down.before + (h + w.top) / w.stride_h;
      c.from_col = across.before + (v + w.left) / w.stride_w;
      c.from_row_step = c.from_col_step = 1;
      c.taps_h = kh < w.kernel_h ? Ceil(w.kernel_h - kh, w.stride_h) : 0;
      c.taps_w = kw < w.kernel_w ? Ceil(w.kernel_w - kw, w.stride_w) : 0;
      c.depth = in;
      c.tap_row = c.tap_col = -1;
      c.w_first = (kh * w.kernel_w + kw) * in * panel;
      c.w_row = w.stride_h * w.kernel_w * in * panel;
      c.w_col = w.stride_w * in * panel;
      d.classes_.push_back(c);
    }
  }
  return d;
}

void DirectConvolution::Pad(const float* from, float* padded) const {
  const int64_t c = from_.channels, row = padded_.width * c, before = left_ * c;
  const int64_t rows = std::min(from_.height, padded_.height - top_);
  const int64_t inside = std::min(from_.width * c, row - before);
  std::fill_n(padded, top_ * row, 0.0f);
  for (int64_t r = 0; r < rows; ++r) {
    float* to = padded + (top_ + r) * row;
    std::fill_n(to, before, 0.0f);
    std::copy_n(from + r * from_.width * c, inside, to + before);
    std::fill(to + before + inside, to + row, 0.0f);
  }
  std::fill(padded + (top_ + rows) * row, padded + padded_.elements(), 0.0f);
}

void DirectConvolution::RunClass(const Class& c, const float* padded, const float* w,
                                 const float* bias, float* to) const {
  const int64_t in = from_.channels, out = to_.channels, row = padded_.width * in;
  ConvTile t{};
  const int64_t n[3] = {c.taps_h, c.taps_w, c.depth};
  const int64_t a_step[3] = {c.tap_row * row, c.tap_col * in, 1};
  const int64_t b_step[3] = {c.w_row, c.w_col, panel_};
  std::copy_n(n, 3, t.n);
  std::copy_n(a_step, 3, t.a_step);
  std::copy_n(b_step, 3, t.b_step);
  t.a_lane = c.from_col_step * in;
  t.c_stride = c.col_step * out;
  t.b_group = c.w_col;
  t.add = bias != nullptr;
  for (int64_t o = 0; o < out; o += t.width) {
    t.width = std::min(kChunk, std::min(out - o, panel_ - o % panel_));
    t.b = w + o / panel_ * panel_floats_ + c.w_first + o % panel_;
    const int64_t tiles = Ceil(
        c.cols, c.three ? kernels_.conv_three_rows : kernels_.conv_rows[t.width / kVector - 1]);
    for (int64_t r = 0; r < c.rows; ++r) {
      const float* source = padded + (c.from_row + r * c.from_row_step) * row + c.from_col * in;
      float* target = to + ((c.row0 + r * c.row_step) * to_.width + c.col0) * out + o;
      for (int64_t i = 0; i < tiles; ++i) {
        const int64_t first = c.cols * i / tiles;
        t.rows = c.cols * (i + 1) / tiles - first;
        t.a = source + first * t.a_lane;
        t.c = target + first * t.c_stride;
        if (bias != nullptr) {
          for (int64_t p = 0; p < t.rows; ++p) std::copy_n(bias + o, t.width, t.c + p * t.c_stride);
        }
        c.three ? kernels_.conv_three(t) : kernels_.conv_lanes(t);
      }
    }
  }
}

void DirectConvolution::Run(const float* from, const float* w, const float* bias, float* to,
                            float* scratch) const {
  Pad(from, scratch);
  for (const Class& c : classes_) RunClass(c, scratch, w, bias, to);
}

}  // namespace mariana
