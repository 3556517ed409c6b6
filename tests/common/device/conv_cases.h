// Cases of convolutions, on any device, against float64.
#pragma once

#include "tests/common/device/values.h"

namespace mariana::device_cases {

struct ConvCase {
  int64_t rows;
  ImageSize in;
  int64_t out_channels;
  Window window;
  int64_t groups = 1;
  Activation activation = Activation::kNone;
  Dtype input = Dtype::kF32, output = Dtype::kF32;
  bool bias = true, accumulate = false;
  int64_t max_rows = 0;  // 0: rows
  bool input_gradient = true;
};

inline Window Square(int64_t kernel, int64_t stride, int64_t padding) {
  return {kernel, kernel, stride, stride, 1, 1, padding, padding, padding, padding};
}

inline int64_t OutExtent(int64_t in, int64_t kernel, int64_t stride, int64_t dilation,
                         int64_t padding) {
  return (in + padding - dilation * (kernel - 1) - 1) / stride + 1;
}

inline ConvSpec MakeSpec(const ConvCase& c) {
  ConvSpec s;
  const Window& w = c.window;
  s.max_rows = c.max_rows ? c.max_rows : c.rows;
  s.in = c.in;
  s.out = {OutExtent(c.in.height, w.kernel_h, w.stride_h, w.dilation_h, w.top + w.bottom),
           OutExtent(c.in.width, w.kernel_w, w.stride_w, w.dilation_w, w.left + w.right),
           c.out_channels};
  s.window = w;
  s.groups = c.groups;
  s.input = c.input;
  s.output = c.output;
  s.activation = c.activation;
  s.bias = c.bias;
  s.input_gradient = c.input_gradient;
  return s;
}

// f(y index, x index, w index) for every product of a convolution.
template <class F>
void EachProduct(const ConvSpec& s, int64_t rows, const F& f) {
  const Window& w = s.window;
  const int64_t in = s.in.channels / s.groups, out = s.out.channels / s.groups;
  for (int64_t p = 0; p < rows * s.out.height * s.out.width; ++p) {
    const int64_t n = p / (s.out.height * s.out.width);
    const int64_t oh = p / s.out.width % s.out.height, ow = p % s.out.width;
    for (int64_t kh = 0; kh < w.kernel_h; ++kh) {
      const int64_t h = oh * w.stride_h + kh * w.dilation_h - w.top;
      for (int64_t kw = 0; kw < w.kernel_w; ++kw) {
        const int64_t v = ow * w.stride_w + kw * w.dilation_w - w.left;
        if (h < 0 || h >= s.in.height || v < 0 || v >= s.in.width) continue;
        const int64_t pixel = ((n * s.in.height + h) * s.in.width + v) * s.in.channels;
        for (int64_t o = 0; o < s.out.channels; ++o) {
          for (int64_t i = 0; i < in; ++i) {
            f(p * s.out.channels + o, pixel + o / out * in + i,
              ((o * in + i) * w.kernel_h + kh) * w.kernel_w + kw);
          }
        }
      }
    }
  }
}

// A convolution with its values and gradients on a device and on the host.
class ConvRig {
 public:
  ConvRig(Device* device, const ConvCase& c)
      : c_(c),
        spec_(MakeSpec(c)),
        weights_(c.out_channels * c.in.channels / c.groups * c.window.kernel_h * c.window.kernel_w),
        x_(Random(c.rows * c.in.elements(), 1, 1)),
        w_(Random(weights_, 1, 2)),
        b_(Random(c.out_channels, 1, 3)),
        dy_(Random(c.rows * spec_.out.elements(), 1, 4)),
        old_dw_(weights_, 0.0f),
        old_db_(c.out_channels, 0.0f),
        op_(device->MakeConvolution(spec_)) {
    if (c.accumulate) {
      old_dw_ = Random(weights_, 1, 5);
      old_db_ = Random(c.out_channels, 1, 6);
    }
    Run(device);
  }

  // `factor`: of the tolerance of fp32 products, 1 for full precision.
  void Check(double factor = 1) const {
    CAPTURE(c_.rows, c_.in.height, c_.in.width, c_.in.channels, c_.out_channels, c_.groups);
    CAPTURE(c_.window.kernel_h, c_.window.kernel_w, c_.window.stride_h, c_.window.dilation_h);
    const bool half = c_.input == Dtype::kBF16;
    const double terms = static_cast<double>(weights_) / static_cast<double>(c_.out_channels);
    const double e = half ? 1.0 / 64 : factor * 4e-6 * std::sqrt(terms + 16.0);
    Doubles y(y_.size()), dz(dy_.size()), dx(x_.size()), dw(old_dw_.begin(), old_dw_.end()),
        db(old_db_.begin(), old_db_.end());
    const int64_t out = c_.out_channels;
    for (size_t i = 0; i < y.size(); ++i) y[i] = c_.bias ? b_[i % out] : 0;
    EachProduct(spec_, c_.rows, [&](int64_t o, int64_t i, int64_t k) {
      y[o] += double{x_[i]} * w_[k];
      dx[i] += double{dz_[o]} * w_[k];
      dw[k] += double{dz_[o]} * x_[i];
    });
    for (size_t i = 0; i < y.size(); ++i) {
      y[i] = Apply(c_.activation, y[i]);
      dz[i] = dy_[i] * Slope(c_.activation, y_[i]);
      if (c_.bias) db[i % out] += dz_[i];
    }
    const double pixels = static_cast<double>(y.size()) / static_cast<double>(out);
    const double e_pixels = half ? 1.0 / 64 : factor * 4e-6 * std::sqrt(pixels + 16.0);
    RequireNear(y_, y, e);
    RequireNear(dz_, dz, Epsilon(c_.input));
    RequireNear(dw_, dw, e_pixels);
    RequireNear(db_, db, e_pixels);
    const double dx_terms = terms * static_cast<double>(out) / static_cast<double>(c_.in.channels);
    if (c_.input_gradient) {
      RequireNear(dx_, dx, half ? 1.0 / 32 : factor * 4e-6 * std::sqrt(dx_terms + 16.0));
    }
    REQUIRE(padding_ == 0);
  }

  // All that the device made.
  Floats All() const {
    Floats all = y_;
    for (const Floats* v : {&dz_, &dw_, &db_, &dx_}) Append(*v, &all);
    return all;
  }

 private:
  void Run(Device* device) {
    const int64_t elements = op_->weight_elements();
    const Tensor tx = ToDevice(device, c_.input, {c_.rows * c_.in.elements()}, &x_);
    const bool half = c_.input == Dtype::kBF16;
    if (half) {  // the reference sees the rounded weights
      for (float& v : w_) v = formulas::FromBf16(formulas::ToBf16(v));
    }
    Floats packed(elements), packed_dw(elements);
    op_->PackWeights(w_.data(), packed.data());
    op_->PackWeights(old_dw_.data(), packed_dw.data());
    const Tensor tw = ToDevice(device, Dtype::kF32, {elements}, &packed);
    const Tensor w16 = ToDevice(device, Dtype::kBF16, {elements}, &packed);
    const Tensor tb = ToDevice(device, Dtype::kF32, {c_.out_channels}, &b_);
    const Shape y_shape{c_.rows * spec_.out.elements()};
    const Tensor ty(device, c_.output, y_shape), tdx(device, c_.input, {tx.elements()});
    uint16_t* shadow = half ? w16.bf16() : nullptr;
    op_->Forward(tx.data(), tw.f32(), shadow, c_.bias ? tb.f32() : nullptr, ty.data(), c_.rows);
    y_ = ToHost(ty);

    const Tensor tdy = ToDevice(device, c_.output, y_shape, &dy_);
    const Tensor tdw = ToDevice(device, Dtype::kF32, {elements}, &packed_dw);
    const Tensor tdb = ToDevice(device, Dtype::kF32, {c_.out_channels}, &old_db_);
    op_->Backward(tx.data(), ty.data(), tdy.data(), tw.f32(), shadow,
                  c_.input_gradient ? tdx.data() : nullptr, tdw.f32(),
                  c_.bias ? tdb.f32() : nullptr, c_.rows, c_.accumulate);
    dz_ = ToHost(tdy);
    if (c_.input != c_.output) {  // the device computes with dz rounded
      for (float& v : dz_) v = formulas::FromBf16(formulas::ToBf16(v));
    }
    dx_ = ToHost(tdx);
    db_ = ToHost(tdb);
    packed_dw = ToHost(tdw);
    dw_.resize(weights_);
    op_->UnpackWeights(packed_dw.data(), dw_.data());
    // What PackWeights does not reach is padding.
    Floats again(elements);
    op_->PackWeights(dw_.data(), again.data());
    for (int64_t i = 0; i < elements; ++i) padding_ += std::abs(again[i] - packed_dw[i]);
  }

  const ConvCase c_;
  const ConvSpec spec_;
  const int64_t weights_;
  Floats x_, w_, b_, dy_, old_dw_, old_db_;  // given
  Floats y_, dz_, dw_, db_, dx_;             // what the device made of them
  double padding_ = 0;                       // sum of |dw| beyond the plain elements
  std::unique_ptr<AffineOp> op_;
};

}  // namespace mariana::device_cases
