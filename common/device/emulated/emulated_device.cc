#include "common/device/emulated/emulated_device.h"

#include <glog/logging.h>

#include <cstdio>
#include <cstring>

#include "common/base/error.h"
#include "common/device/emulated/emulated_ops.h"
#include "common/device/emulated/stream.h"

namespace mariana {
namespace {

std::string Gigabytes(int64_t bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.3g GB", static_cast<double>(bytes) * 1e-9);
  return text;
}

// Numbers that look like addresses, and how much of the device's memory they stand for.
class Memory {
 public:
  Memory(int index, std::string name, int64_t bytes)
      : name_(std::move(name)), bytes_(bytes), next_(static_cast<uintptr_t>(index + 1) << 44) {}

  void* Allocate(int64_t bytes) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (bytes > bytes_ - used_) {
      throw Fail(ExitCode::kIo, name_, ": out of memory: ", Gigabytes(bytes), " asked for, ",
                 Gigabytes(bytes_ - used_), " of ", Gigabytes(bytes_), " free");
    }
    const uintptr_t address = next_;
    next_ += static_cast<uintptr_t>((bytes + 127) / 64 * 64);  // a gap: no two ranges touch
    sizes_[address] = bytes;
    used_ += bytes;
    peak_ = std::max(peak_, used_);
    return reinterpret_cast<void*>(address);
  }
  void Free(void* p) {
    if (p == nullptr) return;
    std::lock_guard<std::mutex> lock(mutex_);
    const auto known = sizes_.find(reinterpret_cast<uintptr_t>(p));
    CHECK(known != sizes_.end()) << "not an allocation of " << name_;
    used_ -= known->second;
    sizes_.erase(known);
  }
  int64_t peak() const {
    std::lock_guard<std::mutex> lock(mutex_);
    return peak_;
  }

 private:
  const std::string name_;
  const int64_t bytes_;
  mutable std::mutex mutex_;
  uintptr_t next_;
  std::map<uintptr_t, int64_t> sizes_;
  int64_t used_ = 0, peak_ = 0;
};

class Emulated final : public EmulatedDevice {
 public:
  Emulated(int index, const Machine& machine, Fabric* fabric)
      : index_(index),
        machine_(machine),
        fabric_(fabric),
        from_host_(fabric->routes().FromHost(index)),
        to_host_(fabric->routes().ToHost(index)),
        streams_(index, machine, fabric),
        memory_(index, machine.device.name, machine.device.memory_bytes) {
    info_.kind = "emulated";
    info_.name = machine.device.name + " (emulated)";
    info_.native_bf16 = machine.device.bf16.tflops > 0;
    info_.host_memory = false;
    info_.memory_bytes = machine.device.memory_bytes;
  }

  const DeviceInfo& info() const override { return info_; }
  const Machine& machine() const override { return machine_; }
  int index() const override { return index_; }
  Fabric* fabric() const override { return fabric_; }
  int64_t peak_bytes() const override { return memory_.peak(); }
  int64_t busy_ns() const override { return streams_.busy_ns(); }
  int64_t QueueCopy() override { return streams_.QueueCopy(); }
  void ExchangeKernel(const std::string& what, int64_t bytes, std::function<void()> done) override {
    streams_.Exchange(what, bytes, std::move(done));
  }

  void* Allocate(int64_t bytes) override { return memory_.Allocate(bytes); }
  void Free(void* p) override { memory_.Free(p); }
  void Upload(void*, const void*, int64_t bytes) override {
    fabric_->CopyAndWait(from_host_, bytes, "upload");
  }
  void Download(void* host_dst, const void*, int64_t bytes) override {
    fabric_->CopyAndWait(to_host_, bytes, "download");
    std::memset(host_dst, 0, static_cast<size_t>(bytes));
    streams_.HostWaits();
  }
  void Copy(void*, const void*, int64_t bytes) override { Touch("copy", 2 * bytes); }
  void Synchronize() override { streams_.HostWaits(); }

  std::unique_ptr<AffineOp> MakeLinear(const LinearSpec& spec) override {
    return MakeEmulatedLinear(spec, machine_.device, &streams_);
  }
  std::unique_ptr<AffineOp> MakeConvolution(const ConvSpec& spec) override {
    return MakeEmulatedConvolution(spec, machine_.device, &streams_);
  }
  std::unique_ptr<PoolOp> MakePool(const PoolSpec& spec) override {
    return MakeEmulatedPool(spec, &streams_);
  }
  void Lrn(const LrnSpec&, const void*, void*, int64_t pixels, int64_t channels, Dtype t) override {
    Pass("lrn", 2, pixels * channels, t);
  }
  void LrnBackward(const LrnSpec&, const void*, const void*, void*, int64_t pixels,
                   int64_t channels, Dtype t) override {
    Pass("lrn backward", 3, pixels * channels, t);
  }

  void Fill(float*, float, int64_t n) override { Pass("fill", 1, n, Dtype::kF32); }
  void Add(const void*, const void*, void*, int64_t n, Dtype t) override { Pass("add", 3, n, t); }
  void AddF32(const float*, float*, int64_t n) override { Pass("add", 3, n, Dtype::kF32); }
  void Activate(Activation, const void*, void*, int64_t n, Dtype t) override {
    Pass("activation", 2, n, t);
  }
  void ActivateBackward(Activation, const void*, const void*, void*, int64_t n, Dtype t) override {
    Pass("activation backward", 3, n, t);
  }
  void LeakyRelu(const void*, void*, float, int64_t n, Dtype t) override {
    Pass("leaky relu", 2, n, t);
  }
  void LeakyReluBackward(const void*, const void*, void*, float, int64_t n, Dtype t) override {
    Pass("leaky relu backward", 3, n, t);
  }
  void Gelu(const void*, void*, int64_t n, Dtype t) override { Pass("gelu", 2, n, t); }
  void GeluBackward(const void*, const void*, void*, int64_t n, Dtype t) override {
    Pass("gelu backward", 3, n, t);
  }
  void MultiplyAdd(const void*, const void*, const void*, void*, int64_t n, Dtype t) override {
    Pass("multiply add", 4, n, t);
  }
  void MultiplyAddBackward(const void*, const void*, const void*, void* da, void* db, int64_t n,
                           Dtype t) override {
    Pass("multiply add backward", 1 + (da ? 2 : 0) + (db ? 2 : 0), n, t);
  }
  void Convert(const void*, Dtype from, void*, Dtype to, int64_t n) override {
    Touch("convert", n * (SizeOf(from) + SizeOf(to)));
  }
  void Dropout(const void*, void*, int64_t rows, int64_t cols, float, uint64_t, uint64_t,
               const int64_t*, const DropoutPart&, Dtype t) override {
    Pass("dropout", 2, rows * cols, t);
  }
  void CopyColumns(const void*, int64_t, int64_t, void*, int64_t, int64_t, int64_t rows,
                   int64_t cols, Dtype t) override {
    Pass("copy columns", 2, rows * cols, t);
  }
  void PlaceColumns(const void*, void*, int64_t dst_stride, int64_t, int64_t rows, int64_t cols,
                    Dtype t) override {
    Pass("place columns", 1, rows * (cols + dst_stride), t);
  }
  void Dots(const void*, void*, int64_t rows, int64_t vectors, int64_t size, Dtype t) override {
    Pass("dots", 1, rows * vectors * (size + (vectors - 1) / 2), t);
  }
  void DotsBackward(const void*, const void*, void*, int64_t rows, int64_t vectors, int64_t size,
                    Dtype t) override {
    Pass("dots backward", 1, rows * vectors * (2 * size + (vectors - 1) / 2), t);
  }

  void BatchNormTrain(const BatchNormArgs& a, const void*, const float*, const float*,
                      const void* residual, void*, float*, Dtype t) override {
    Pass("batch norm", residual ? 4 : 3, Elements(a), t);  // x twice
  }
  void BatchNormBackward(const BatchNormArgs& a, const void*, const void*, const void*,
                         const float*, const float*, void*, void* dresidual, float*, float*, bool,
                         Dtype t) override {
    const int reads = a.activation == Activation::kNone ? 4 : 6;  // x, dy (and y), twice
    Pass("batch norm backward", reads + (dresidual ? 2 : 1), Elements(a), t);
  }
  void BatchNormInfer(const BatchNormArgs& a, const void*, const float*, const float*, const float*,
                      const float*, const void* residual, void*, int64_t rows, Dtype t) override {
    Pass("batch norm", residual ? 3 : 2, rows * a.pixels * a.cols, t);
  }

  void SoftmaxCrossEntropy(const float*, const int32_t*, float* gradient, float, int64_t rows,
                           int64_t cols, float, LossSums*) override {
    Loss("softmax cross-entropy", gradient, rows * cols);
  }
  std::unique_ptr<SplitSoftmaxOp> MakeSplitSoftmax(const SplitSoftmaxSpec& spec) override {
    return std::make_unique<SplitSoftmax>(spec.classes, this);
  }
  void SquaredError(const float*, const float*, float* gradient, float, int64_t rows, int64_t cols,
                    LossSums*) override {
    Loss("squared error", gradient, rows * cols);
  }
  void Logistic(const float*, const float*, float* gradient, float, int64_t rows, int64_t cols,
                LossSums*) override {
    Loss("logistic", gradient, rows * cols);
  }
  void LogSoftmax(const float*, float*, int64_t rows, int64_t cols) override {
    Pass("log softmax", 2, rows * cols, Dtype::kF32);
  }
  void ArgMax(const float*, int32_t*, int64_t rows, int64_t cols) override {
    Pass("argmax", 1, rows * cols, Dtype::kF32);
  }
  void Splice(const float*, int64_t dim, const int32_t*, const int32_t*, const int32_t*,
              int64_t rows, int left, int right, void*, Dtype t) override {
    const int64_t n = rows * (left + 1 + right) * dim;
    Touch("splice", n * (int64_t{sizeof(float)} + SizeOf(t)));
  }

  void Update(const OptimizerStep&, const float*, float*, uint16_t* w16, float* slot0, float* slot1,
              int64_t n) override {
    const int64_t floats = 3 + (slot0 ? 2 : 0) + (slot1 ? 2 : 0);
    Touch("update", n * (floats * int64_t{sizeof(float)} + (w16 ? 2 : 0)));
  }
  double SumOfSquares(const float*, int64_t n) override {
    AddSumOfSquares(nullptr, n, nullptr);
    streams_.HostWaits();
    return 1;
  }
  void AddSumOfSquares(const float*, int64_t n, double*) override {
    Pass("sum of squares", 1, n, Dtype::kF32);
  }

 private:
  static int64_t Elements(const BatchNormArgs& a) {
    int64_t rows = 0;
    for (int g = 0; g < a.groups; ++g) rows += a.group_rows[g];
    return rows * a.pixels * a.cols;
  }
  void Touch(const char* what, int64_t bytes) { streams_.Run(what, {0, bytes}); }
  // Reads or writes n elements `times` times.
  void Pass(const char* what, int times, int64_t n, Dtype t) { Touch(what, times * n * SizeOf(t)); }
  class SplitSoftmax : public SplitSoftmaxOp {
   public:
    SplitSoftmax(int64_t classes, Emulated* device) : classes_(classes), device_(device) {}
    void Summarize(const float*, const int32_t*, float*, int64_t rows) override {
      device_->Pass("softmax of a part", 1, rows * classes_, Dtype::kF32);
    }
    void Loss(const float*, const int32_t*, const float*, float* gradient, float, int64_t rows,
              LossSums*) override {
      device_->Loss("softmax cross-entropy", gradient, rows * classes_);
    }

   private:
    const int64_t classes_;
    Emulated* const device_;
  };
  void Loss(const char* what, const float* gradient, int64_t n) {
    Pass(what, gradient ? 2 : 1, n, Dtype::kF32);
  }

  const int index_;
  const Machine& machine_;
  Fabric* const fabric_;
  const Route from_host_, to_host_;
  DeviceInfo info_;
  Streams streams_;
  Memory memory_;
};

}  // namespace

std::unique_ptr<EmulatedDevice> EmulatedDevice::Make(int index, const Machine& machine,
                                                     Fabric* fabric) {
  CHECK(0 <= index && index < machine.total_devices()) << index;
  return std::make_unique<Emulated>(index, machine, fabric);
}

}  // namespace mariana
