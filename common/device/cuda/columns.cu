#include "common/device/cuda/kernels.h"
#include "common/device/cuda/launch.h"
#include "common/device/cuda/pooling_bodies.h"

namespace mariana::cuda {
namespace {

// f(integral_constant<int, W>) with W elements a 16-byte access where `divides` allows it, else 1.
template <class T, class F>
void WithPacks(bool wide, const F& f) {
  if (wide) {
    f(std::integral_constant<int, kPackOf<T>>());
  } else {
    f(std::integral_constant<int, 1>());
  }
}

template <class T>
LrnOf<T> LrnArgs(const LrnSpec& s, const void* x, const void* dy, void* y, int64_t channels) {
  return {static_cast<const T*>(x),
          static_cast<const T*>(dy),
          static_cast<T*>(y),
          s.k,
          s.alpha / static_cast<float>(s.size),
          s.beta,
          channels,
          s.size / 2,
          (s.size - 1) / 2};
}

}  // namespace

void CopyColumns(Context* c, const void* src, int64_t src_stride, int64_t src_col, void* dst,
                 int64_t dst_stride, int64_t dst_col, int64_t rows, int64_t cols, Dtype t) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* from = As(src, type) + src_col;
    T* to = As(dst, type) + dst_col;
    const bool wide = Aligned(16, from, to) && src_stride % kPackOf<T> == 0 &&
                      dst_stride % kPackOf<T> == 0 && cols % kPackOf<T> == 0;
    WithPacks<T>(wide, [&](auto pack) {
      constexpr int kW = decltype(pack)::value;
      LaunchCells(c, "copy columns", rows, cols / kW,
                  CopyColumnsOf<kW, T>{from, to, src_stride, dst_stride});
    });
  });
}

void PlaceColumns(Context* c, const void* src, void* dst, int64_t dst_stride, int64_t dst_col,
                  int64_t rows, int64_t cols, Dtype t) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    LaunchCells(c, "place columns", rows, dst_stride,
                PlaceColumnsOf<T>{As(src, type), As(dst, type), dst_stride, dst_col, cols});
  });
}

void Splice(Context* c, const float* frames, int64_t dim, const int32_t* center,
            const int32_t* begin, const int32_t* end, int64_t rows, int left, int right, void* y,
            Dtype t) {
  const int64_t width = (left + 1 + right) * dim;
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    T* to = As(y, type);
    const auto launch = [&](auto pack) {
      constexpr int kW = decltype(pack)::value;
      LaunchCells(
          c, "splice", rows, width / kW,
          SpliceOf<kW, T>{frames, center, begin, end, to, static_cast<int>(dim), left, width});
    };
    // A pack lies within one frame: four floats, stored as 16 or 8 bytes.
    if (dim % 4 == 0 && Aligned(16, frames, to)) {
      launch(std::integral_constant<int, 4>());
    } else {
      launch(std::integral_constant<int, 1>());
    }
  });
}

void Dots(Context* c, const void* x, void* y, int64_t rows, int64_t vectors, int64_t size,
          Dtype t) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    LaunchCells(
        c, "dots", rows, vectors * vectors,
        DotsOf<T>{As(x, type), As(y, type), static_cast<int>(vectors), static_cast<int>(size)});
  });
}
void DotsBackward(Context* c, const void* x, const void* dy, void* dx, int64_t rows,
                  int64_t vectors, int64_t size, Dtype t) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    LaunchCells(c, "dots backward", rows, vectors * size,
                DotsBackwardOf<T>{As(x, type), As(dy, type), As(dx, type),
                                  static_cast<int>(vectors), static_cast<int>(size)});
  });
}

void Lrn(Context* c, const LrnSpec& spec, const void* x, void* y, int64_t pixels, int64_t channels,
         Dtype t) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    LaunchCells(c, "lrn", pixels, channels, LrnArgs<T>(spec, x, nullptr, y, channels));
  });
}
void LrnBackward(Context* c, const LrnSpec& spec, const void* x, const void* dy, void* dx,
                 int64_t pixels, int64_t channels, Dtype t) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    LaunchCells(c, "lrn backward", pixels, channels,
                LrnBackwardOf<T>{LrnArgs<T>(spec, x, dy, dx, channels)});
  });
}

void ShiftImages(Context* c, const void* from, const ImageSize& in, void* to, const ImageSize& out,
                 int64_t top, int64_t left, int64_t images, Dtype t) {
  WithType(t, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* source = As(from, type);
    T* target = As(to, type);
    const bool wide = Aligned(16, source, target) && in.channels % kPackOf<T> == 0;
    WithPacks<T>(wide, [&](auto pack) {
      constexpr int kW = decltype(pack)::value;
      LaunchCells(c, "shift images", images * out.height * out.width, out.channels / kW,
                  ShiftImageOf<kW, T>{source, target, in, out, top, left});
    });
  });
}

void PoolForwardPass(Context* c, const PoolSpec& spec, const void* x, void* y, void* saved,
                     int64_t images) {
  WithType(spec.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* from = As(x, type);
    T* to = As(y, type);
    const bool wide = Aligned(16, from, to) && spec.in.channels % kPackOf<T> == 0;
    WithPacks<T>(wide, [&](auto pack) {
      constexpr int kW = decltype(pack)::value;
      LaunchCells(c, "pooling", images * spec.out.height * spec.out.width, spec.in.channels / kW,
                  PoolForward<kW, T>{PoolShape::Of(spec), from, to, static_cast<uint8_t*>(saved)});
    });
  });
}
void PoolBackwardPass(Context* c, const PoolSpec& spec, const void* dy, const void* saved, void* dx,
                      int64_t images) {
  WithType(spec.dtype, [&](auto* type) {
    using T = std::remove_pointer_t<decltype(type)>;
    const T* from = As(dy, type);
    T* to = As(dx, type);
    const bool wide = Aligned(16, from, to) && spec.in.channels % kPackOf<T> == 0;
    WithPacks<T>(wide, [&](auto pack) {
      constexpr int kW = decltype(pack)::value;
      LaunchCells(
          c, "pooling backward", images * spec.in.height * spec.in.width, spec.in.channels / kW,
          PoolBackward<kW, T>{PoolShape::Of(spec), from, static_cast<const uint8_t*>(saved), to});
    });
  });
}

}  // namespace mariana::cuda
