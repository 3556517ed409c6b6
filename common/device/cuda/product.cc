#include "common/device/cuda/product.h"

#include <algorithm>

namespace mariana::cuda {
namespace {

cudaDataType_t TypeOf(Dtype t) { return t == Dtype::kBF16 ? CUDA_R_16BF : CUDA_R_32F; }

// The largest power of two up to 16 that divides all addresses.
template <class... P>
int AlignmentOf(P... p) {
  const uintptr_t bits = (uintptr_t{16} | ... | reinterpret_cast<uintptr_t>(p));
  return static_cast<int>(bits & (~bits + 1));
}

// A column-major [rows, cols] matrix without gaps.
cublasLtMatrixLayout_t LayoutOf(Dtype t, int64_t rows, int64_t cols) {
  cublasLtMatrixLayout_t layout = nullptr;
  Check(cublasLtMatrixLayoutCreate(&layout, TypeOf(t), static_cast<uint64_t>(rows),
                                   static_cast<uint64_t>(cols), rows),
        "cublasLtMatrixLayoutCreate");
  return layout;
}

}  // namespace

// Of one number of rows; `found` says whether there is an algorithm.
struct Product::Plan {
  Plan(const Spec& s, cublasLtMatmulDesc_t operation, cublasLtHandle_t blas, int64_t rows,
       int alignment) {
    const int64_t m = s.rows == Rows::kM ? rows : s.m, n = s.rows == Rows::kN ? rows : s.n;
    const int64_t k = s.rows == Rows::kK ? rows : s.k;
    a = s.transpose_a ? LayoutOf(s.in, k, m) : LayoutOf(s.in, m, k);
    b = s.transpose_b ? LayoutOf(s.in, n, k) : LayoutOf(s.in, k, n);
    d = LayoutOf(s.out, m, n);
    cublasLtMatmulPreference_t preference = nullptr;
    Check(cublasLtMatmulPreferenceCreate(&preference), "cublasLtMatmulPreferenceCreate");
    const auto prefer = [&](cublasLtMatmulPreferenceAttributes_t what, const auto& value) {
      Check(cublasLtMatmulPreferenceSetAttribute(preference, what, &value, sizeof(value)),
            "cublasLtMatmulPreferenceSetAttribute");
    };
    prefer(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, static_cast<uint64_t>(kBlasWorkspace));
    const auto bytes = static_cast<uint32_t>(alignment);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, bytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, bytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, bytes);
    prefer(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, bytes);
    cublasLtMatmulHeuristicResult_t result{};
    int count = 0;
    const cublasStatus_t status =
        cublasLtMatmulAlgoGetHeuristic(blas, operation, a, b, d, d, preference, 1, &result, &count);
    cublasLtMatmulPreferenceDestroy(preference);
    found = status == CUBLAS_STATUS_SUCCESS && count > 0 && result.state == CUBLAS_STATUS_SUCCESS;
    algorithm = result.algo;
  }
  ~Plan() {
    for (cublasLtMatrixLayout_t layout : {a, b, d}) cublasLtMatrixLayoutDestroy(layout);
  }
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;

  cublasLtMatrixLayout_t a = nullptr, b = nullptr, d = nullptr;
  cublasLtMatmulAlgo_t algorithm{};
  bool found = false;
};

Product::Product(const Spec& spec, Context* context) : spec_(spec), context_(context) {
  const bool tf32 = spec.in == Dtype::kF32 && !context->strict;
  Check(cublasLtMatmulDescCreate(
            &operation_, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F),
        "cublasLtMatmulDescCreate");
  const auto set = [&](cublasLtMatmulDescAttributes_t what, const auto& value) {
    Check(cublasLtMatmulDescSetAttribute(operation_, what, &value, sizeof(value)),
          "cublasLtMatmulDescSetAttribute");
  };
  set(CUBLASLT_MATMUL_DESC_TRANSA, spec.transpose_a ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_TRANSB, spec.transpose_b ? CUBLAS_OP_T : CUBLAS_OP_N);
  set(CUBLASLT_MATMUL_DESC_EPILOGUE, spec.epilogue);
  if (spec.epilogue == CUBLASLT_EPILOGUE_BIAS || spec.epilogue == CUBLASLT_EPILOGUE_RELU_BIAS ||
      spec.epilogue == CUBLASLT_EPILOGUE_BGRADB) {
    set(CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, spec.bias);
  }
}

Product::~Product() { cublasLtMatmulDescDestroy(operation_); }

const Product::Plan* Product::PlanFor(int64_t rows, int alignment) {
  auto& plan = plans_[{rows, alignment}];
  if (!plan) plan = std::make_unique<Plan>(spec_, operation_, context_->blas, rows, alignment);
  return plan.get();
}

bool Product::Possible(int64_t rows) { return PlanFor(rows, 16)->found; }

void Product::Run(const void* a, const void* b, void* d, const void* bias, int64_t rows, bool add) {
  if (bias != nullptr) {
    Check(cublasLtMatmulDescSetAttribute(operation_, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &bias,
                                         sizeof(bias)),
          "cublasLtMatmulDescSetAttribute");
  }
  const Plan* plan = PlanFor(rows, AlignmentOf(a, b, d));
  if (!plan->found) {
    throw Fail(ExitCode::kInternal, context_->where(), ": cuBLASLt has no algorithm for ",
               spec_.name, ", m ", spec_.m, ", n ", spec_.n, ", k ", spec_.k, ", ", rows, " rows");
  }
  const float one = 1, beta = add ? 1 : 0;
  Check(cublasLtMatmul(context_->blas, operation_, &one, a, plan->a, b, plan->b, &beta, d, plan->d,
                       d, plan->d, &plan->algorithm, context_->workspace.data(), kBlasWorkspace,
                       context_->compute),
        spec_.name);
  context_->Launched(spec_.name);
}

}  // namespace mariana::cuda
