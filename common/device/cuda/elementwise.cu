#include "common/device/cuda/kernels.h"
#include "common/device/cuda/launch.h"

namespace mariana::cuda {
namespace {

template <int W, class F, class Y, class... X>
__global__ void __launch_bounds__(kThreads) Map(int64_t n, F f, Y* y, const X*... x) {
  const int64_t i = (int64_t{blockIdx.x} * kThreads + threadIdx.x) * W;
  if (i < n) MapElements<W>(i, n, f, y, x...);
}

// y[i] = f(x[i]...), 16 bytes of the narrowest type at a time.
template <class F, class Y, class... X>
void LaunchMap(cudaStream_t stream, int64_t n, const F& f, Y* y, const X*... x) {
  if (n <= 0) return;
  constexpr int kWide = (sizeof(Y) == 2 || ((sizeof(X) == 2) || ...)) ? 8 : 4;
  const bool wide = Aligned(16, y, x...);
  const int64_t blocks = CeilDiv(n, int64_t{wide ? kWide : 1} * kThreads);
  if (wide) {
    Map<kWide><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(n, f, y, x...);
  } else {
    Map<1><<<static_cast<unsigned>(blocks), kThreads, 0, stream>>>(n, f, y, x...);
  }
}

// f over arrays of one type.
template <class F, class... X>
void MapOf(Context* c, const char* name, Dtype t, int64_t n, const F& f, void* y, X... x) {
  WithType(t, [&](auto* type) { LaunchMap(c->compute, n, f, As(y, type), As(x, type)...); });
  c->Launched(name);
}

}  // namespace

void Fill(Context* c, float* x, float value, int64_t n) {
  LaunchMap(c->compute, n, Constant{value}, x);
  c->Launched("fill");
}
void Add(Context* c, const void* a, const void* b, void* y, int64_t n, Dtype t) {
  MapOf(c, "add", t, n, Sum(), y, a, b);
}
void AddOn(cudaStream_t stream, const float* x, float* y, int64_t n) {
  LaunchMap(stream, n, Sum(), y, static_cast<const float*>(y), x);
}

void Activate(Context* c, Activation a, const void* x, void* y, int64_t n, Dtype t) {
  WithActivation(
      a, [&](auto tag) { MapOf(c, "activate", t, n, ApplyOf<decltype(tag)::kValue>(), y, x); });
}
void ActivateBackward(Context* c, Activation a, const void* y, const void* dy, void* dx, int64_t n,
                      Dtype t) {
  WithActivation(a, [&](auto tag) {
    MapOf(c, "activate backward", t, n, SlopeOf<decltype(tag)::kValue>(), dx, y, dy);
  });
}
void LeakyRelu(Context* c, const void* x, void* y, float slope, int64_t n, Dtype t) {
  MapOf(c, "leaky relu", t, n, LeakyReluOf{slope}, y, x);
}
void LeakyReluBackward(Context* c, const void* y, const void* dy, void* dx, float slope, int64_t n,
                       Dtype t) {
  MapOf(c, "leaky relu backward", t, n, LeakyReluSlopeOf{slope}, dx, y, dy);
}
void Gelu(Context* c, const void* x, void* y, int64_t n, Dtype t) {
  MapOf(c, "gelu", t, n, GeluOf(), y, x);
}
void GeluBackward(Context* c, const void* x, const void* dy, void* dx, int64_t n, Dtype t) {
  MapOf(c, "gelu backward", t, n, GeluSlopeOf(), dx, x, dy);
}
void MultiplyAdd(Context* c, const void* a, const void* b, const void* x, void* y, int64_t n,
                 Dtype t) {
  MapOf(c, "multiply add", t, n, MultiplyAddOf(), y, a, b, x);
}

void MultiplyAddBackward(Context* c, const void* a, const void* b, const void* dy, void* da,
                         void* db, int64_t n, Dtype t) {
  if (da == nullptr || db == nullptr) {
    if (da != nullptr) MapOf(c, "multiply add backward", t, n, Product(), da, dy, b);
    if (db != nullptr) MapOf(c, "multiply add backward", t, n, Product(), db, dy, a);
    return;
  }
  WithType(t, [&](auto* type) {  // either may be dy: one pass that reads before it writes
    using T = std::remove_pointer_t<decltype(type)>;
    LaunchEach(
        c, "multiply add backward", n,
        MultiplyAddSlopes<T>{As(a, type), As(b, type), As(dy, type), As(da, type), As(db, type)});
  });
}

void Convert(Context* c, const void* x, Dtype from, void* y, Dtype to, int64_t n) {
  WithType(from, [&](auto* source) {
    WithType(to,
             [&](auto* target) { LaunchMap(c->compute, n, Same(), As(y, target), As(x, source)); });
  });
  c->Launched("convert");
}

void AddBf16(Context* c, const uint16_t* x, float* y, int64_t n) {
  LaunchMap(c->compute, n, Sum(), y, static_cast<const float*>(y), x);
  c->Launched("add bf16");
}

void Dropout(Context* c, const void* x, void* y, int64_t rows, int64_t cols, float rate,
             uint64_t seed, uint64_t stream, const int64_t* first_sample, const DropoutPart& part,
             Dtype t) {
  const int64_t n = rows * cols;
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    if (part.whole > 0) {
      return LaunchEach(c, "dropout", n,
                        DropoutPartElement<T>{As(x, type), As(y, type), cols, part, rate,
                                              1.0f / (1.0f - rate), seed, stream, first_sample});
    }
    LaunchEach(c, "dropout", DropoutBlocks(n),
               DropoutBlock<T>{As(x, type), As(y, type), n, cols, rate, 1.0f / (1.0f - rate), seed,
                               stream, first_sample});
  });
}

void BiasActivate(Context* c, Activation a, const float* b, void* y, int64_t rows, int64_t cols,
                  Dtype t) {
  if (b == nullptr && a == Activation::kNone) return;
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    WithActivation(a, [&](auto tag) {
      constexpr Activation kA = decltype(tag)::kValue;
      constexpr int kWide = kPackOf<T>;
      T* at = As(y, type);
      if (cols % kWide == 0 && Aligned(16, at)) {
        LaunchCells(c, "bias and activation", rows, cols / kWide,
                    BiasActivateOf<kWide, kA, T>{b, at, cols});
      } else {
        LaunchCells(c, "bias and activation", rows, cols, BiasActivateOf<1, kA, T>{b, at, cols});
      }
    });
  });
}

}  // namespace mariana::cuda
