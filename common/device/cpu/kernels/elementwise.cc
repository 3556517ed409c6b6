#include "common/device/cpu/kernels/loops.h"

namespace mariana::MARIANA_ISA {
namespace {

void Fill(float* x, float value, int64_t n) {
  Each(n, [=](int64_t i) { x[i] = value; });
}

// y = f(x)
template <class F>
[[gnu::always_inline]] inline void Map(const void* x, void* y, int64_t n, Dtype t, const F& f) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* p = static_cast<const T*>(x);
    T* q = static_cast<T*>(y);
    Each(n, [=](int64_t i) { Store(q, i, f(Load(p, i))); });
  });
}

// z = f(x, y)
template <class F>
[[gnu::always_inline]] inline void Map(const void* x, const void* y, void* z, int64_t n, Dtype t,
                                       const F& f) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T *p = static_cast<const T*>(x), *q = static_cast<const T*>(y);
    T* r = static_cast<T*>(z);
    Each(n, [=](int64_t i) { Store(r, i, f(Load(p, i), Load(q, i))); });
  });
}

void Add(const void* a, const void* b, void* y, int64_t n, Dtype t) {
  Map(a, b, y, n, t, [](float p, float q) { return p + q; });
}

void Activate(Activation activation, const void* x, void* y, int64_t n, Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* p = static_cast<const T*>(x);
    T* q = static_cast<T*>(y);
    WithActivation(activation, [=](auto tag) {
      constexpr Activation a = decltype(tag)::kValue;
      Each(n, [=](int64_t i) { Store(q, i, formulas::Apply<a>(Load(p, i))); });
    });
  });
}

void ActivateBackward(Activation activation, const void* y, const void* dy, void* dx, int64_t n,
                      Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T *p = static_cast<const T*>(y), *q = static_cast<const T*>(dy);
    T* r = static_cast<T*>(dx);
    WithActivation(activation, [=](auto tag) {
      constexpr Activation a = decltype(tag)::kValue;
      Each(n, [=](int64_t i) { Store(r, i, Load(q, i) * formulas::Slope<a>(Load(p, i))); });
    });
  });
}

void LeakyRelu(const void* x, void* y, float slope, int64_t n, Dtype t) {
  Map(x, y, n, t, [=](float v) { return formulas::LeakyRelu(v, slope); });
}
void LeakyReluBackward(const void* y, const void* dy, void* dx, float slope, int64_t n, Dtype t) {
  Map(y, dy, dx, n, t, [=](float v, float d) { return d * formulas::LeakyReluSlope(v, slope); });
}
void Gelu(const void* x, void* y, int64_t n, Dtype t) {
  Map(x, y, n, t, [](float v) { return formulas::Gelu(v); });
}
void GeluBackward(const void* x, const void* dy, void* dx, int64_t n, Dtype t) {
  Map(x, dy, dx, n, t, [](float v, float d) { return d * formulas::GeluSlope(v); });
}

void MultiplyAdd(const void* a, const void* b, const void* c, void* y, int64_t n, Dtype t) {
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T *p = static_cast<const T*>(a), *q = static_cast<const T*>(b);
    const T* r = static_cast<const T*>(c);
    T* to = static_cast<T*>(y);
    Each(n, [=](int64_t i) {
      Store(to, i, formulas::MultiplyAdd(Load(p, i), Load(q, i), Load(r, i)));
    });
  });
}
void MultiplyAddBackward(const void* a, const void* b, const void* dy, void* da, void* db,
                         int64_t n, Dtype t) {
  const auto times = [](float p, float q) { return p * q; };
  if (da == nullptr || db == nullptr) {
    if (da != nullptr) Map(dy, b, da, n, t, times);
    if (db != nullptr) Map(dy, a, db, n, t, times);
    return;
  }
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T *p = static_cast<const T*>(a), *q = static_cast<const T*>(b);
    const T* d = static_cast<const T*>(dy);
    T *to_a = static_cast<T*>(da), *to_b = static_cast<T*>(db);
    Each(n, [=](int64_t i) {
      const float slope = Load(d, i), x = Load(p, i), y = Load(q, i);
      Store(to_a, i, slope * y);
      Store(to_b, i, slope * x);
    });
  });
}

void Convert(const void* x, Dtype from, void* y, Dtype to, int64_t n) {
  WithType(from, [=](auto* source) {
    WithType(to, [=](auto* target) {
      using S = std::remove_pointer_t<decltype(source)>;
      using T = std::remove_pointer_t<decltype(target)>;
      const S* p = static_cast<const S*>(x);
      T* q = static_cast<T*>(y);
      Each(n, [=](int64_t i) { Store(q, i, Load(p, i)); });
    });
  });
}

constexpr int kBlocks = 64;  // Philox blocks drawn at a time

void DrawBlocks(uint64_t seed, uint64_t stream, uint64_t first, uint32_t* words) {
#pragma GCC ivdep
  for (int64_t b = 0; b < kBlocks; ++b) {
    const Philox4 draw = Philox(seed, stream, first + b);
    for (int lane = 0; lane < 4; ++lane) words[4 * b + lane] = draw.v[lane];
  }
}

void Dropout(const void* x, void* y, int64_t first, int64_t n, float rate, uint64_t seed,
             uint64_t stream, Dtype t) {
  const float scale = 1.0f / (1.0f - rate);
  WithType(t, [=](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* p = static_cast<const T*>(x);
    T* q = static_cast<T*>(y);
    uint32_t words[4 * kBlocks];
    for (int64_t done = 0; done < n;) {
      const int64_t index = first + done;
      DrawBlocks(seed, stream, static_cast<uint64_t>(index / 4), words);
      const int64_t skip = index % 4;
      const int64_t count = n - done < 4 * kBlocks - skip ? n - done : 4 * kBlocks - skip;
      Each(count, [&](int64_t i) {
        const float kept = formulas::Keep(words[skip + i], rate) ? scale : 0.0f;
        Store(q, done + i, Load(p, done + i) * kept);
      });
      done += count;
    }
  });
}

}  // namespace

void AddElementwise(Kernels* k) {
  k->fill = Fill;
  k->add = Add;
  k->activate = Activate;
  k->activate_backward = ActivateBackward;
  k->leaky_relu = LeakyRelu;
  k->leaky_relu_backward = LeakyReluBackward;
  k->multiply_add = MultiplyAdd;
  k->multiply_add_backward = MultiplyAddBackward;
  k->gelu = Gelu;
  k->gelu_backward = GeluBackward;
  k->convert = Convert;
  k->dropout = Dropout;
}

}  // namespace mariana::MARIANA_ISA
