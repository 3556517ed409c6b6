#include "common/device/cuda/cuda_device.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/base/error.h"
#include "common/device/cuda/context.h"
#include "common/device/cuda/kernels.h"
#include "common/device/cuda/operations.h"
#include "common/device/cuda/staging.h"

namespace mariana {
namespace {

constexpr int64_t kSmallUpload = 64 << 10, kLargeUpload = 4 << 20;  // bytes of a staging slot

double MiB(size_t bytes) { return static_cast<double>(bytes >> 10) / 1024; }

class CudaDevice : public Device {
 public:
  CudaDevice(int ordinal, bool strict)
      : context_(ordinal, strict),
        small_(context_.compute, 64, kSmallUpload),
        large_(context_.compute, 4, kLargeUpload),
        aside_(context_.copy, 2, kLargeUpload) {
    const cudaDeviceProp& p = context_.properties;
    info_.kind = "cuda";
    info_.name = StrCat("cuda:", ordinal, " (", p.name, ", sm_", p.major, p.minor, ", ",
                        p.totalGlobalMem >> 30, " GiB", strict ? ", strict fp32" : "", ")");
    info_.native_bf16 = p.major >= 8;
    info_.host_memory = false;
    info_.queued = true;
    info_.memory_bytes = static_cast<int64_t>(p.totalGlobalMem);
    cuda::Check(cudaDeviceGetDefaultMemPool(&pool_, ordinal), "cudaDeviceGetDefaultMemPool");
    uint64_t keep = UINT64_MAX;  // what is freed stays in the pool
    cuda::Check(cudaMemPoolSetAttribute(pool_, cudaMemPoolAttrReleaseThreshold, &keep),
                "cudaMemPoolSetAttribute");
    OpenToPeers();
    result_ = static_cast<double*>(Allocate(sizeof(double)));
  }
  ~CudaDevice() override {
    context_.Use();
    cudaStreamSynchronize(context_.compute);
    cudaFreeAsync(result_, context_.compute);
    cudaStreamSynchronize(context_.compute);
  }

  const DeviceInfo& info() const override { return info_; }

  // ---- memory
  void* Allocate(int64_t bytes) override {
    CHECK_GE(bytes, 0);
    context_.Use();
    void* p = nullptr;
    const auto size = static_cast<size_t>(std::max<int64_t>(bytes, 64));
    const cudaError_t status = cudaMallocAsync(&p, size, context_.compute);
    if (status == cudaErrorMemoryAllocation) throw OutOfMemory(size);
    cuda::Check(status, "cudaMallocAsync");
    cuda::Check(cudaMemsetAsync(p, 0, size, context_.compute), "cudaMemsetAsync");
    // Other streams may write there next.
    context_.Synchronize();
    return p;
  }
  void Free(void* p) override {
    if (p == nullptr) return;
    context_.Use();
    cuda::Check(cudaFreeAsync(p, context_.compute), "cudaFreeAsync");
  }
  void Upload(void* dst, const void* src, int64_t bytes) override {
    context_.Use();
    (bytes <= kSmallUpload ? small_ : large_).Upload(dst, src, bytes);
  }
  void Download(void* dst, const void* src, int64_t bytes) override {
    context_.Use();
    (bytes <= kSmallUpload ? small_ : large_).Download(dst, src, bytes, &context_);
  }
  void Copy(void* dst, const void* src, int64_t bytes) override {
    context_.Use();
    cuda::Check(cudaMemcpyAsync(dst, src, static_cast<size_t>(bytes), cudaMemcpyDeviceToDevice,
                                context_.compute),
                "copy");
  }
  void Synchronize() override {
    context_.Use();
    context_.Synchronize();
  }

  // ---- beside the trainer's thread
  void UploadAside(void* dst, const void* src, int64_t bytes) override {
    context_.Use();
    aside_.Upload(dst, src, bytes);
    cuda::Check(cudaStreamSynchronize(context_.copy), "upload");
  }
  std::function<void()> Mark() override {
    context_.Use();
    cudaEvent_t event = nullptr;
    cuda::Check(cudaEventCreateWithFlags(&event, cudaEventDisableTiming | cudaEventBlockingSync),
                "cudaEventCreate");
    const std::shared_ptr<CUevent_st> owned(event, [](cudaEvent_t e) { cudaEventDestroy(e); });
    cuda::Check(cudaEventRecord(event, context_.compute), "cudaEventRecord");
    return [this, owned] {
      context_.Use();
      cuda::Check(cudaEventSynchronize(owned.get()), "waiting for a step's work");
    };
  }
  void ReceiveAdd(Device* from, const float* src, float* dst, int64_t n) override {
    context_.Use();
    if (Peer(from)->ordinal != context_.ordinal) {
      received_.Reserve(n * int64_t{sizeof(float)}, context_.exchange);
      auto* here = static_cast<float*>(received_.data());
      CopyFrom(from, src, here, n);
      src = here;
    }
    cuda::AddOn(context_.exchange, src, dst, n);
    cuda::Check(cudaGetLastError(), "adding what a peer sent");
    cuda::Check(cudaStreamSynchronize(context_.exchange), "adding what a peer sent");
  }
  void ReceiveCopy(Device* from, const float* src, float* dst, int64_t n) override {
    context_.Use();
    CopyFrom(from, src, dst, n);
    cuda::Check(cudaStreamSynchronize(context_.exchange), "copying what a peer sent");
  }
  void AddFromHost(const float* src, float* dst, int64_t n) override {
    context_.Use();
    received_.Reserve(n * int64_t{sizeof(float)}, context_.exchange);
    auto* here = static_cast<float*>(received_.data());
    CopyHost(here, src, n, cudaMemcpyHostToDevice);
    cuda::AddOn(context_.exchange, here, dst, n);
    cuda::Check(cudaGetLastError(), "adding what another process sent");
    cuda::Check(cudaStreamSynchronize(context_.exchange), "adding what another process sent");
  }
  void CopyFromHost(const float* src, float* dst, int64_t n) override {
    context_.Use();
    CopyHost(dst, src, n, cudaMemcpyHostToDevice);
    cuda::Check(cudaStreamSynchronize(context_.exchange), "copying what another process sent");
  }
  void CopyToHost(const float* src, float* dst, int64_t n) override {
    context_.Use();
    CopyHost(dst, src, n, cudaMemcpyDeviceToHost);
    cuda::Check(cudaStreamSynchronize(context_.exchange), "copying what another process gets");
  }
  std::shared_ptr<char> HostBuffer(int64_t bytes) override {
    context_.Use();
    void* memory = nullptr;
    cuda::Check(cudaHostAlloc(&memory, static_cast<size_t>(bytes), cudaHostAllocPortable),
                "cudaHostAlloc of pinned memory");
    return {static_cast<char*>(memory), [](char* p) { cudaFreeHost(p); }};
  }
  std::unique_ptr<Pieces> MakePieces() override { return cuda::MakeGraphs(&context_); }

  // ---- operations with state
  std::unique_ptr<AffineOp> MakeLinear(const LinearSpec& spec) override {
    CHECK(spec.in > 0 && spec.out > 0 && spec.max_rows > 0);
    context_.Use();
    RefuseTypes("linear layer", spec.input, spec.output);
    return cuda::MakeLinearOp(spec, &context_);
  }
  std::unique_ptr<AffineOp> MakeConvolution(const ConvSpec& spec) override {
    CHECK(spec.max_rows > 0 && spec.in.elements() > 0 && spec.out.elements() > 0);
    context_.Use();
    RefuseTypes("convolution", spec.input, spec.output);
    return cuda::MakeConvolutionOp(spec, &context_);
  }
  std::unique_ptr<PoolOp> MakePool(const PoolSpec& spec) override {
    return cuda::MakePoolOp(spec, &context_);
  }

  // ---- kernels
  void Lrn(const LrnSpec& spec, const void* x, void* y, int64_t pixels, int64_t channels,
           Dtype t) override {
    cuda::Lrn(Now(), spec, x, y, pixels, channels, t);
  }
  void LrnBackward(const LrnSpec& spec, const void* x, const void* dy, void* dx, int64_t pixels,
                   int64_t channels, Dtype t) override {
    cuda::LrnBackward(Now(), spec, x, dy, dx, pixels, channels, t);
  }
  void Fill(float* x, float value, int64_t n) override { cuda::Fill(Now(), x, value, n); }
  void Add(const void* a, const void* b, void* y, int64_t n, Dtype t) override {
    cuda::Add(Now(), a, b, y, n, t);
  }
  void AddF32(const float* x, float* y, int64_t n) override {
    cuda::Add(Now(), x, y, y, n, Dtype::kF32);
  }
  void Activate(Activation a, const void* x, void* y, int64_t n, Dtype t) override {
    cuda::Activate(Now(), a, x, y, n, t);
  }
  void ActivateBackward(Activation a, const void* y, const void* dy, void* dx, int64_t n,
                        Dtype t) override {
    cuda::ActivateBackward(Now(), a, y, dy, dx, n, t);
  }
  void LeakyRelu(const void* x, void* y, float slope, int64_t n, Dtype t) override {
    cuda::LeakyRelu(Now(), x, y, slope, n, t);
  }
  void LeakyReluBackward(const void* y, const void* dy, void* dx, float slope, int64_t n,
                         Dtype t) override {
    cuda::LeakyReluBackward(Now(), y, dy, dx, slope, n, t);
  }
  void Gelu(const void* x, void* y, int64_t n, Dtype t) override { cuda::Gelu(Now(), x, y, n, t); }
  void GeluBackward(const void* x, const void* dy, void* dx, int64_t n, Dtype t) override {
    cuda::GeluBackward(Now(), x, dy, dx, n, t);
  }
  void MultiplyAdd(const void* a, const void* b, const void* c, void* y, int64_t n,
                   Dtype t) override {
    cuda::MultiplyAdd(Now(), a, b, c, y, n, t);
  }
  void MultiplyAddBackward(const void* a, const void* b, const void* dy, void* da, void* db,
                           int64_t n, Dtype t) override {
    cuda::MultiplyAddBackward(Now(), a, b, dy, da, db, n, t);
  }
  void Convert(const void* x, Dtype from, void* y, Dtype to, int64_t n) override {
    cuda::Convert(Now(), x, from, y, to, n);
  }
  void Dropout(const void* x, void* y, int64_t rows, int64_t cols, float rate, uint64_t seed,
               uint64_t stream, const int64_t* first_sample, const DropoutPart& part,
               Dtype t) override {
    CHECK(rate >= 0.0f && rate < 1.0f);
    cuda::Dropout(Now(), x, y, rows, cols, rate, seed, stream, first_sample, part, t);
  }
  void CopyColumns(const void* src, int64_t src_stride, int64_t src_col, void* dst,
                   int64_t dst_stride, int64_t dst_col, int64_t rows, int64_t cols,
                   Dtype t) override {
    cuda::CopyColumns(Now(), src, src_stride, src_col, dst, dst_stride, dst_col, rows, cols, t);
  }
  void PlaceColumns(const void* src, void* dst, int64_t dst_stride, int64_t dst_col, int64_t rows,
                    int64_t cols, Dtype t) override {
    cuda::PlaceColumns(Now(), src, dst, dst_stride, dst_col, rows, cols, t);
  }
  void Dots(const void* x, void* y, int64_t rows, int64_t vectors, int64_t size, Dtype t) override {
    cuda::Dots(Now(), x, y, rows, vectors, size, t);
  }
  void DotsBackward(const void* x, const void* dy, void* dx, int64_t rows, int64_t vectors,
                    int64_t size, Dtype t) override {
    cuda::DotsBackward(Now(), x, dy, dx, rows, vectors, size, t);
  }
  void BatchNormTrain(const BatchNormArgs& a, const void* x, const float* gamma, const float* beta,
                      const void* residual, void* y, float* stats, Dtype t) override {
    cuda::BatchNormTrain(Now(), a, x, gamma, beta, residual, y, stats, t);
  }
  void BatchNormBackward(const BatchNormArgs& a, const void* x, const void* y, const void* dy,
                         const float* gamma, const float* stats, void* dx, void* dresidual,
                         float* dgamma, float* dbeta, bool accumulate, Dtype t) override {
    cuda::BatchNormBackward(Now(), a, x, y, dy, gamma, stats, dx, dresidual, dgamma, dbeta,
                            accumulate, t);
  }
  void BatchNormInfer(const BatchNormArgs& a, const void* x, const float* gamma, const float* beta,
                      const float* mean, const float* variance, const void* residual, void* y,
                      int64_t rows, Dtype t) override {
    cuda::BatchNormInfer(Now(), a, x, gamma, beta, mean, variance, residual, y, rows, t);
  }
  void SoftmaxCrossEntropy(const float* logits, const int32_t* labels, float* gradient, float scale,
                           int64_t rows, int64_t cols, float smoothing, LossSums* sums) override {
    cuda::SoftmaxCrossEntropy(Now(), logits, labels, gradient, scale, rows, cols, smoothing, sums);
  }
  std::unique_ptr<SplitSoftmaxOp> MakeSplitSoftmax(const SplitSoftmaxSpec& spec) override {
    CHECK(spec.classes > 0 && spec.first + spec.classes <= spec.whole);
    context_.Use();
    return cuda::MakeSplitSoftmaxOp(spec, &context_);
  }
  void SquaredError(const float* outputs, const float* targets, float* gradient, float scale,
                    int64_t rows, int64_t cols, LossSums* sums) override {
    cuda::SquaredError(Now(), outputs, targets, gradient, scale, rows, cols, sums);
  }
  void Logistic(const float* logits, const float* targets, float* gradient, float scale,
                int64_t rows, int64_t cols, LossSums* sums) override {
    cuda::Logistic(Now(), logits, targets, gradient, scale, rows, cols, sums);
  }
  void LogSoftmax(const float* logits, float* y, int64_t rows, int64_t cols) override {
    cuda::LogSoftmax(Now(), logits, y, rows, cols);
  }
  void ArgMax(const float* x, int32_t* index, int64_t rows, int64_t cols) override {
    cuda::ArgMax(Now(), x, index, rows, cols);
  }
  void Splice(const float* frames, int64_t dim, const int32_t* center, const int32_t* begin,
              const int32_t* end, int64_t rows, int left, int right, void* y, Dtype t) override {
    cuda::Splice(Now(), frames, dim, center, begin, end, rows, left, right, y, t);
  }
  void Update(const OptimizerStep& step, const float* g, float* w, uint16_t* w16, float* slot0,
              float* slot1, int64_t n) override {
    cuda::Update(Now(), step, nullptr, g, w, w16, slot0, slot1, n);
  }
  void UpdateFrom(const OptimizerStep& step, const OptimizerStep* now, const float* g, float* w,
                  uint16_t* w16, float* slot0, float* slot1, int64_t n) override {
    cuda::Update(Now(), step, now, g, w, w16, slot0, slot1, n);
  }
  double SumOfSquares(const float* x, int64_t n) override {
    cuda::Check(cudaMemsetAsync(result_, 0, sizeof(double), Now()->compute), "cudaMemsetAsync");
    AddSumOfSquares(x, n, result_);
    double sum = 0;
    Download(&sum, result_, sizeof(sum));
    return sum;
  }
  void AddSumOfSquares(const float* x, int64_t n, double* sum) override {
    cuda::AddSumOfSquares(Now(), x, n, sum);
  }

 private:
  // The context, of a device that is the calling thread's.
  cuda::Context* Now() {
    context_.Use();
    return &context_;
  }
  static const cuda::Context* Peer(Device* device) {
    CHECK_EQ(device->info().kind, "cuda");
    return &static_cast<CudaDevice*>(device)->context_;
  }
  void CopyFrom(Device* from, const float* src, float* dst, int64_t n) {
    cuda::Check(cudaMemcpyPeerAsync(dst, context_.ordinal, src, Peer(from)->ordinal,
                                    static_cast<size_t>(n) * sizeof(float), context_.exchange),
                "copying from a peer");
  }

  void CopyHost(float* dst, const float* src, int64_t n, cudaMemcpyKind kind) {
    cuda::Check(
        cudaMemcpyAsync(dst, src, static_cast<size_t>(n) * sizeof(float), kind, context_.exchange),
        "copying between GPU and host");
  }

  // Peers read this device's memory directly where the board lets them; where not, the driver
  // copies through the host.
  void OpenToPeers() {
    int count = 0;
    cuda::Check(cudaGetDeviceCount(&count), "cudaGetDeviceCount");
    for (int peer = 0; peer < count; ++peer) {
      int reachable = 0;
      if (peer == context_.ordinal) continue;
      cuda::Check(cudaDeviceCanAccessPeer(&reachable, peer, context_.ordinal),
                  "cudaDeviceCanAccessPeer");
      if (reachable == 0) continue;
      cudaMemAccessDesc access{};
      access.location.type = cudaMemLocationTypeDevice;
      access.location.id = peer;
      access.flags = cudaMemAccessFlagsProtReadWrite;
      cuda::Check(cudaMemPoolSetAccess(pool_, &access, 1), "cudaMemPoolSetAccess");
    }
  }

  Error OutOfMemory(size_t bytes) const {
    cudaGetLastError();
    size_t free = 0, total = 0;
    cudaMemGetInfo(&free, &total);
    return Fail(ExitCode::kIo, context_.where(), ": out of memory allocating ", MiB(bytes),
                " MiB; ", MiB(free), " of ", MiB(total),
                " MiB are free; a smaller batch (or train.accumulate) or net needs less, and "
                "--check shows how much");
  }

  static void RefuseTypes(const char* what, Dtype input, Dtype output) {
    if (input == Dtype::kBF16 || (input == Dtype::kF32 && output == Dtype::kF32)) return;
    throw Fail(ExitCode::kUsage, "cuda device: no ", what, " from ", Name(input), " to ",
               Name(output), "; f32 to f32, bf16 to bf16 and bf16 to f32 there are");
  }

  DeviceInfo info_;
  cuda::Context context_;
  cudaMemPool_t pool_ = nullptr;
  cuda::Staging small_, large_;  // on the compute stream
  cuda::Staging aside_;          // on the copy stream: the uploading thread's
  cuda::Scratch received_;       // from peers: the exchange's thread
  double* result_ = nullptr;     // of SumOfSquares
};

// The devices before the first that is too old for these kernels.
int CountRecent(int count, std::string* why) {
  for (int i = 0; i < count; ++i) {
    int major = 0;
    const cudaError_t status = cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, i);
    if (status == cudaSuccess && major >= 8) continue;
    *why = StrCat("GPU ", i, " is of compute capability ", major, ".x, 8.0 or later is needed");
    return i;
  }
  return count;
}

}  // namespace

int CountCudaDevices(std::string* why) {
  int count = 0, driver = 0, runtime = 0;
  cudaDriverGetVersion(&driver);
  cudaRuntimeGetVersion(&runtime);
  const auto version = [](int v) { return StrCat(v / 1000, ".", v % 1000 / 10); };
  const cudaError_t status = cudaGetDeviceCount(&count);
  if (driver == 0) {
    *why = "no NVIDIA driver is installed (libcuda.so.1 is not there)";
  } else if (driver / 1000 < runtime / 1000) {
    *why = StrCat("the NVIDIA driver is for CUDA ", version(driver), ", this build needs ",
                  version(runtime), " or later of the same major version");
  } else if (status == cudaErrorNoDevice || (status == cudaSuccess && count == 0)) {
    *why = "the NVIDIA driver finds no GPU (CUDA_VISIBLE_DEVICES may hide it)";
  } else if (status != cudaSuccess) {
    *why = StrCat("the NVIDIA driver refuses: ", cudaGetErrorString(status), " (",
                  cudaGetErrorName(status), ")");
  } else if (cudnnGetVersion() / 10000 != CUDNN_VERSION / 10000) {
    *why = StrCat("libcudnn is version ", cudnnGetVersion() / 10000, ", this build needs ",
                  CUDNN_VERSION / 10000);
  } else {
    return CountRecent(count, why);
  }
  cudaGetLastError();
  return 0;
}

GpuPlace PlaceOfCudaDevice(int ordinal, int count) {
  GpuPlace place;
  char bus[32] = {};
  cuda::Check(cudaDeviceGetPCIBusId(bus, sizeof bus, ordinal), "cudaDeviceGetPCIBusId");
  place.bus = bus;
  for (int peer = 0; peer < count; ++peer) {
    int reads = 1, atomics = 0;
    if (peer != ordinal) {
      cuda::Check(cudaDeviceCanAccessPeer(&reads, ordinal, peer), "cudaDeviceCanAccessPeer");
      cuda::Check(
          cudaDeviceGetP2PAttribute(&atomics, cudaDevP2PAttrNativeAtomicSupported, ordinal, peer),
          "cudaDeviceGetP2PAttribute");
    }
    place.reads.push_back(reads != 0);
    place.nvlink.push_back(atomics != 0);  // PCIe carries none
  }
  return place;
}

std::unique_ptr<Device> MakeCudaDevice(int ordinal, bool strict) {
  return std::make_unique<CudaDevice>(ordinal, strict);
}

}  // namespace mariana
