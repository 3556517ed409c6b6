// Cases of AffineOp, on any device.
#pragma once

#include "tests/common/device/values.h"

namespace mariana::device_cases {

struct LinearCase {
  int64_t rows, in, out;
  Activation activation = Activation::kSigmoid;
  Dtype input = Dtype::kF32, output = Dtype::kF32;
  bool bias = true, accumulate = false;
  int64_t max_rows = 0;  // 0: rows
};

// A linear layer with its values and gradients on a device and on the host.
class LinearRig {
 public:
  LinearRig(Device* device, const LinearCase& c)
      : c_(c),
        x(Random(c.rows * c.in, 1, 1)),
        w(Random(c.out * c.in, 1, 2)),
        b(Random(c.out, 1, 3)),
        dy(Random(c.rows * c.out, 1, 4)),
        old_dw(c.out * c.in, 0.0f),
        old_db(c.out, 0.0f) {
    LinearSpec spec{c.max_rows ? c.max_rows : c.rows, c.in, c.out, c.input, c.output};
    spec.activation = c.activation;
    spec.bias = c.bias;
    op_ = device->MakeLinear(spec);
    if (c.accumulate) {
      old_dw = Random(c.out * c.in, 1, 5);
      old_db = Random(c.out, 1, 6);
    }
    Run(device);
  }

  // `factor`: of the tolerance of fp32 products, 1 for full precision.
  void Check(double factor = 1) const {
    const double e = c_.input == Dtype::kBF16 ? 1.0 / 64 : factor * 4e-6 * std::sqrt(c_.in + 16.0);
    RequireNear(y, Forward(), e);
    RequireNear(dz, DzReference(), Epsilon(c_.output));
    const double e_rows =
        c_.input == Dtype::kBF16 ? 1.0 / 64 : factor * 4e-6 * std::sqrt(c_.rows + 16.0);
    RequireNear(dw, WeightGradient(), e_rows);
    RequireNear(db, BiasGradient(), e_rows);
    const double e_out =
        c_.input == Dtype::kBF16 ? 1.0 / 32 : factor * 4e-6 * std::sqrt(c_.out + 16.0);
    RequireNear(dx, InputGradient(), e_out);
    REQUIRE(padding == 0);
  }

  Floats All() const {
    Floats all = y;
    for (const Floats* v : {&dz, &dw, &db, &dx}) Append(*v, &all);
    return all;
  }

  Doubles Forward() const { return Forward(x, w, b); }
  // y in float64 for given values.
  Doubles Forward(const Floats& xs, const Floats& ws, const Floats& bs) const {
    Doubles y64(c_.rows * c_.out);
    for (int64_t r = 0; r < c_.rows; ++r) {
      for (int64_t o = 0; o < c_.out; ++o) {
        double z = c_.bias ? bs[o] : 0;
        for (int64_t i = 0; i < c_.in; ++i) z += double{xs[r * c_.in + i]} * ws[o * c_.in + i];
        y64[r * c_.out + o] = Apply(c_.activation, z);
      }
    }
    return y64;
  }

 private:
  void Run(Device* device) {
    const Tensor tx = ToDevice(device, c_.input, {c_.rows, c_.in}, &x);
    const int64_t elements = op_->weight_elements();
    if (c_.input == Dtype::kBF16) {  // the reference sees the rounded weights
      for (float& v : w) v = formulas::FromBf16(formulas::ToBf16(v));
    }
    Floats packed(elements), packed_dw(elements);
    op_->PackWeights(w.data(), packed.data());
    op_->PackWeights(old_dw.data(), packed_dw.data());
    const Tensor tw = ToDevice(device, Dtype::kF32, {elements}, &packed);
    const Tensor w16 = ToDevice(device, Dtype::kBF16, {elements}, &packed);
    const Tensor tb = ToDevice(device, Dtype::kF32, {c_.out}, &b);
    const Tensor ty(device, c_.output, {c_.rows, c_.out});
    const Tensor tdx(device, c_.input, {c_.rows, c_.in});
    uint16_t* shadow = c_.input == Dtype::kBF16 ? w16.bf16() : nullptr;
    float* bias = c_.bias ? tb.f32() : nullptr;
    op_->Forward(tx.data(), tw.f32(), shadow, bias, ty.data(), c_.rows);
    y = ToHost(ty);

    const Tensor tdy = ToDevice(device, c_.output, {c_.rows, c_.out}, &dy);
    const Tensor tdw = ToDevice(device, Dtype::kF32, {elements}, &packed_dw);
    const Tensor tdb = ToDevice(device, Dtype::kF32, {c_.out}, &old_db);
    op_->Backward(tx.data(), ty.data(), tdy.data(), tw.f32(), shadow, tdx.data(), tdw.f32(),
                  c_.bias ? tdb.f32() : nullptr, c_.rows, c_.accumulate);
    dz = ToHost(tdy);
    dx = ToHost(tdx);
    db = ToHost(tdb);
    packed_dw = ToHost(tdw);
    dw.resize(c_.out * c_.in);
    op_->UnpackWeights(packed_dw.data(), dw.data());
    // What PackWeights does not reach is padding.
    Floats again(elements);
    op_->PackWeights(dw.data(), again.data());
    for (int64_t i = 0; i < elements; ++i) padding += std::abs(again[i] - packed_dw[i]);
  }

  Doubles DzReference() const {
    Doubles d(dy.size());
    for (size_t i = 0; i < d.size(); ++i) d[i] = dy[i] * Slope(c_.activation, y[i]);
    return d;
  }
  Doubles WeightGradient() const {
    Doubles g(old_dw.begin(), old_dw.end());
    for (int64_t o = 0; o < c_.out; ++o) {
      for (int64_t i = 0; i < c_.in; ++i) {
        double sum = 0;
        for (int64_t r = 0; r < c_.rows; ++r) sum += double{dz[r * c_.out + o]} * x[r * c_.in + i];
        g[o * c_.in + i] += sum;
      }
    }
    return g;
  }
  Doubles BiasGradient() const {
    Doubles g(old_db.begin(), old_db.end());
    for (int64_t r = 0; c_.bias && r < c_.rows; ++r) {
      for (int64_t o = 0; o < c_.out; ++o) g[o] += dz[r * c_.out + o];
    }
    return g;
  }
  Doubles InputGradient() const {
    Doubles g(c_.rows * c_.in, 0.0);
    for (int64_t r = 0; r < c_.rows; ++r) {
      for (int64_t o = 0; o < c_.out; ++o) {
        const double d = dz[r * c_.out + o];
        for (int64_t i = 0; i < c_.in; ++i) g[r * c_.in + i] += d * w[o * c_.in + i];
      }
    }
    return g;
  }

  LinearCase c_;
  std::unique_ptr<AffineOp> op_;

 public:
  Floats x, w, b, dy, old_dw, old_db;  // given
  Floats y, dz, dw, db, dx;            // what the device made of them
  double padding = 0;                  // sum of |dw| beyond the plain elements
};

// The gradients agree with differences of sum(dy * y), made in float64.
inline void CheckLinearDifferences(Device* device, const LinearCase& c) {
  const LinearRig rig(device, c);
  const auto loss = [&](const Floats& x, const Floats& w, const Floats& b) {
    const Doubles y = rig.Forward(x, w, b);
    double sum = 0;
    for (size_t i = 0; i < y.size(); ++i) sum += y[i] * rig.dy[i];
    return sum;
  };
  const auto check = [&](const Floats& gradient, int which) {
    Doubles expected;
    for (size_t i = 0; i < gradient.size(); ++i) {
      double at[2];
      Floats v[3] = {rig.x, rig.w, rig.b};
      const float up = v[which][i] + 0.01f, down = v[which][i] - 0.01f;
      v[which][i] = up;
      at[0] = loss(v[0], v[1], v[2]);
      v[which][i] = down;
      at[1] = loss(v[0], v[1], v[2]);
      expected.push_back((at[0] - at[1]) / (double{up} - down));
    }
    RequireNear(gradient, expected, 1e-3);
  };
  check(rig.dx, 0);
  check(rig.dw, 1);
  check(rig.db, 2);
}

}  // namespace mariana::device_cases
