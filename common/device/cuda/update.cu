#include "common/device/cuda/kernels.h"
#include "common/device/cuda/launch.h"

namespace mariana::cuda {
namespace {

template <OptimizerKind kind, bool momentum, bool nesterov>
void Launch(Context* c, const OptimizerStep& step, const OptimizerStep* now, const float* g,
            float* w, uint16_t* w16, float* slot0, float* slot1, int64_t n) {
  const auto with = [&](auto width, auto shadow) {
    constexpr int kW = decltype(width)::value;
    LaunchPacks<kW>(c, "update", n,
                    UpdateElements<kW, kind, momentum, nesterov, decltype(shadow)::value>{
                        step, now, g, w, w16, slot0, slot1});
  };
  const auto wide = std::integral_constant<int, 4>();
  const auto narrow = std::integral_constant<int, 1>();
  const bool aligned = Aligned(16, g, w, slot0, slot1) && Aligned(8, w16);
  if (w16 != nullptr) {
    aligned ? with(wide, std::true_type()) : with(narrow, std::true_type());
  } else {
    aligned ? with(wide, std::false_type()) : with(narrow, std::false_type());
  }
}

}  // namespace

void Update(Context* c, const OptimizerStep& step, const OptimizerStep* now, const float* g,
            float* w, uint16_t* w16, float* slot0, float* slot1, int64_t n) {
  using Kind = OptimizerKind;
  switch (step.kind) {
    case Kind::kSgd:
      if (step.momentum == 0) {
        return Launch<Kind::kSgd, false, false>(c, step, now, g, w, w16, slot0, slot1, n);
      }
      return step.nesterov
                 ? Launch<Kind::kSgd, true, true>(c, step, now, g, w, w16, slot0, slot1, n)
                 : Launch<Kind::kSgd, true, false>(c, step, now, g, w, w16, slot0, slot1, n);
    case Kind::kAdaGrad:
      return Launch<Kind::kAdaGrad, false, false>(c, step, now, g, w, w16, slot0, slot1, n);
    case Kind::kAdam:
      return Launch<Kind::kAdam, false, false>(c, step, now, g, w, w16, slot0, slot1, n);
  }
}

}  // namespace mariana::cuda
