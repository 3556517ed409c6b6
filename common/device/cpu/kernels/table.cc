#include "common/device/cpu/kernels/loops.h"

#define MARIANA_NAME_OF(x) #x
#define MARIANA_NAME(x) MARIANA_NAME_OF(x)

namespace mariana::MARIANA_ISA {

Kernels Table() {
  Kernels k;
  k.isa = MARIANA_NAME(MARIANA_ISA);
  AddElementwise(&k);
  AddLinear(&k);
  AddBatchNorm(&k);
  AddGemm(&k);
  AddNarrow(&k);
  AddDots(&k);
  AddLosses(&k);
  AddUpdate(&k);
  AddPooling(&k);
  AddLrn(&k);
  AddConv(&k);
  return k;
}

}  // namespace mariana::MARIANA_ISA
