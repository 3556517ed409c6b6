// Losses of rows, and the table of all kernels.
#include "common/device/formulas.h"
#include "mariana_cluster/model/kernels/loops.h"

#define MARIANA_NAME_OF(x) #x
#define MARIANA_NAME(x) MARIANA_NAME_OF(x)

namespace mariana::MARIANA_ISA {
namespace {

void Logistic(const float* z, const float* label, const float* weight, int64_t rows, float* losses,
              float* gradients) {
  Each(rows, [=](int64_t r) { losses[r] = weight[r] * formulas::LogisticLoss(z[r], label[r]); });
  if (gradients == nullptr) return;
  Each(rows,
       [=](int64_t r) { gradients[r] = weight[r] * formulas::LogisticSlope(z[r], label[r]); });
}

void Squared(const float* z, const float* label, const float* weight, int64_t rows, float* losses,
             float* gradients) {
  Each(rows, [=](int64_t r) {
    const float d = z[r] - label[r];
    losses[r] = 0.5f * weight[r] * d * d;
  });
  if (gradients == nullptr) return;
  Each(rows, [=](int64_t r) { gradients[r] = weight[r] * (z[r] - label[r]); });
}

}  // namespace

void AddLosses(ClickKernels* k) {
  k->logistic = Logistic;
  k->squared = Squared;
}

ClickKernels MakeClickKernels() {
  ClickKernels k = {};
  k.isa = MARIANA_NAME(MARIANA_ISA);
  AddTerms(&k);
  AddPooling(&k);
  AddFactors(&k);
  AddLosses(&k);
  return k;
}

}  // namespace mariana::MARIANA_ISA
