#include "common/device/cpu/convolution.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>
#include <vector>

#include "common/base/error.h"
#include "common/device/cpu/onednn.h"

namespace mariana {
namespace {

using Memory = dnnl::memory;
using Desc = dnnl::memory::desc;

constexpr int64_t kSumRows = 256;  // pixels whose sum is one fp32 sum of the bias' gradient
constexpr int64_t kAlign = 16;     // floats

int64_t Align(int64_t floats) { return (floats + kAlign - 1) / kAlign * kAlign; }
Memory::data_type Type(Dtype t) {
  return t == Dtype::kBF16 ? Memory::data_type::bf16 : Memory::data_type::f32;
}

// One oneDNN primitive for a number of images.
struct Compiled {
  dnnl::primitive primitive;
  Desc src, weights, bias, dst, scratch;  // of x or dx, w or dw, b, y or dy
};

class Convolution : public AffineOp {
 public:
  Convolution(const ConvSpec& spec, const CpuContext& context)
      : spec_(spec),
        pool_(context.pool),
        memory_(context.memory),
        workspace_(context.workspace),
        k_(*context.kernels),
        plain_(WeightDims(), Memory::data_type::f32,
               spec.groups > 1 ? Memory::format_tag::goihw : Memory::format_tag::oihw) {
    LimitOneDnnToOneThread();
    const Compiled& forward = Get(&forward_, Share(0, spec.max_rows), &Convolution::CompileForward);
    weights_ = forward.weights;
    // The same order in fp32, the parameters' own type.
    weights_f32_ = WithType(weights_, dnnl_f32);
    if (spec.output != spec.input) {
      dz16_ = static_cast<uint16_t*>(memory_->Allocate(spec.max_rows * spec.out.elements() * 2));
    }
  }
  ~Convolution() override {
    memory_->Free(dz16_);
    memory_->Free(turned_);
  }

  int64_t weight_elements() const override {
    return static_cast<int64_t>(weights_f32_.get_size() / sizeof(float));
  }
  void PackWeights(const float* plain, float* packed) const override {
    Reorder(plain_, plain, weights_f32_, packed);
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    Reorder(weights_f32_, packed, plain_, plain);
  }

  void Forward(const void* x, const float* w, const uint16_t* w16, const float* b, void* y,
               int64_t rows) override {
    const void* weights = spec_.input == Dtype::kBF16 ? static_cast<const void*>(w16) : w;
    RunParts(rows, &forward_, &Convolution::CompileForward, 0,
             [&](const Compiled& c, int64_t, int64_t image, Arguments* a) {
               a->emplace(DNNL_ARG_SRC, Wrap(c.src, X(x, image)));
               a->emplace(DNNL_ARG_WEIGHTS, Wrap(c.weights, weights));
               if (spec_.bias) a->emplace(DNNL_ARG_BIAS, Wrap(c.bias, b));
               a->emplace(DNNL_ARG_DST, Wrap(c.dst, Y(y, image, spec_.output)));
             });
    if (spec_.activation == Activation::kNone || spec_.activation == Activation::kRelu) return;
    const int64_t size = SizeOf(spec_.output);
    pool_->Split(rows * spec_.out.elements(), 4096, [&](int64_t begin, int64_t end) {
      char* part = static_cast<char*>(y) + begin * size;
      k_.activate(spec_.activation, part, part, end - begin, spec_.output);
    });
  }

  void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t* w16,
                void* dx, float* dw, float* db, int64_t rows, bool accumulate) override {
    SlopeAndSums(y, dy, db, rows, accumulate);
    const void* dz = dz16_ != nullptr ? dz16_ : dy;
    WeightGradient(x, dz, dw, rows, accumulate);
    if (dx == nullptr) return;
    CHECK(spec_.input_gradient);
    InputGradient(dz, spec_.input == Dtype::kBF16 ? static_cast<const void*>(w16) : w, dx, rows);
  }

 private:
  using Arguments = std::unordered_map<int, Memory>;
  using Cache = std::map<int64_t, Compiled>;

  // ---- descriptions
  Memory::dims WeightDims() const {
    const int64_t in = spec_.in.channels, out = spec_.out.channels, g = spec_.groups;
    const Window& w = spec_.window;
    if (g > 1) return {g, out / g, in / g, w.kernel_h, w.kernel_w};
    return {out, in, w.kernel_h, w.kernel_w};
  }
  static Desc Images(int64_t n, const ImageSize& s, Dtype t) {
    return Desc({n, s.channels, s.height, s.width}, Type(t), Memory::format_tag::nhwc);
  }
  Desc AnyWeights(Memory::data_type t) const {
    return Desc(WeightDims(), t, Memory::format_tag::any);
  }
  static Desc WithType(Desc d, dnnl_data_type_t t) {
    d.data.data_type = t;
    return d;
  }
  struct Places {
    Memory::dims strides, dilates, begin, end;
  };
  Places Where() const {
    const Window& w = spec_.window;
    return {{w.stride_h, w.stride_w},
            {w.dilation_h - 1, w.dilation_w - 1},
            {w.top, w.left},
            {w.bottom, w.right}};
  }

  // ---- primitives, for so many images
  dnnl::convolution_forward::primitive_desc ForwardDesc(int64_t n) const {
    const Places p = Where();
    const Desc x = Images(n, spec_.in, spec_.input), w = AnyWeights(Type(spec_.input)),
               b({spec_.out.channels}, Memory::data_type::f32, Memory::format_tag::a),
               y = Images(n, spec_.out, spec_.output);
    const auto kind = dnnl::prop_kind::forward_training;
    const auto direct = dnnl::algorithm::convolution_direct;
    dnnl::primitive_attr attributes = UserScratchpad();
    if (spec_.activation == Activation::kRelu) {
      dnnl::post_ops relu;
      relu.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
      attributes.set_post_ops(relu);
    }
    const auto desc = spec_.bias
                          ? dnnl::convolution_forward::desc(kind, direct, x, w, b, y, p.strides,
                                                            p.dilates, p.begin, p.end)
                          : dnnl::convolution_forward::desc(kind, direct, x, w, y, p.strides,
                                                            p.dilates, p.begin, p.end);
    return {desc, attributes, engine_};
  }
  Compiled CompileForward(int64_t n) const {
    const auto pd = ForwardDesc(n);
    Compiled c{
        dnnl::convolution_forward(pd), pd.src_desc(), pd.weights_desc(), Desc(), pd.dst_desc(),
        pd.scratchpad_desc()};
    if (spec_.bias) c.bias = pd.bias_desc();
    return c;
  }
  Compiled CompileInputGradient(int64_t n) const {
    const Places p = Where();
    const dnnl::convolution_backward_data::desc desc(
        dnnl::algorithm::convolution_direct, Images(n, spec_.in, spec_.input),
        AnyWeights(Type(spec_.input)), Images(n, spec_.out, spec_.input), p.strides, p.dilates,
        p.begin, p.end);
    const dnnl::convolution_backward_data::primitive_desc pd(desc, UserScratchpad(), engine_,
                                                             ForwardDesc(n));
    return {dnnl::convolution_backward_data(pd),
            pd.diff_src_desc(),
            pd.weights_desc(),
            Desc(),
            pd.diff_dst_desc(),
            pd.scratchpad_desc()};
  }
  Compiled CompileWeightGradient(int64_t n) const {
    const Places p = Where();
    const dnnl::convolution_backward_weights::desc desc(
        dnnl::algorithm::convolution_direct, Images(n, spec_.in, spec_.input),
        AnyWeights(Memory::data_type::f32), Images(n, spec_.out, spec_.input), p.strides, p.dilates,
        p.begin, p.end);
    const dnnl::convolution_backward_weights::primitive_desc pd(desc, UserScratchpad(), engine_,
                                                                ForwardDesc(n));
    return {dnnl::convolution_backward_weights(pd),
            pd.src_desc(),
            pd.diff_weights_desc(),
            Desc(),
            pd.diff_dst_desc(),
            pd.scratchpad_desc()};
  }
  static dnnl::primitive_attr UserScratchpad() {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    return attributes;
  }
  const Compiled& Get(Cache* cache, int64_t n, Compiled (Convolution::*compile)(int64_t) const) {
    const auto found = cache->find(n);
    if (found != cache->end()) return found->second;
    LimitOneDnnToOneThread();
    try {
      return cache->emplace(n, (this->*compile)(n)).first->second;
    } catch (const dnnl::error& e) {
      throw Fail(ExitCode::kUsage, "cpu device: no ", Name(spec_.input),
                 " convolution of this kind on this CPU (oneDNN: ", e.what(), ")",
                 spec_.input == Dtype::kBF16 ? "; compute in fp32 here" : "");
    }
  }

  // ---- running
  Memory Wrap(const Desc& desc, const void* p) const {
    return Memory(desc, engine_, const_cast<void*>(p));
  }
  void Execute(const dnnl::primitive& primitive, const Arguments& arguments) const {
    LimitOneDnnToOneThread();
    try {
      dnnl::stream stream(engine_);
      primitive.execute(stream, arguments);
      stream.wait();
    } catch (const dnnl::error& e) {
      LOG(FATAL) << "oneDNN convolution: " << e.what();
    }
  }
  void Reorder(const Desc& from, const void* src, const Desc& to, void* dst) const {
    LimitOneDnnToOneThread();
    const dnnl::reorder::primitive_desc pd(engine_, from, engine_, to);
    Execute(dnnl::reorder(pd), {{DNNL_ARG_FROM, Wrap(from, src)}, {DNNL_ARG_TO, Wrap(to, dst)}});
  }

  // Images of part i of `rows`.
  int64_t Parts(int64_t rows) const { return std::min<int64_t>(rows, pool_->threads()); }
  int64_t Begin(int64_t i, int64_t rows) const { return rows * i / Parts(rows); }
  int64_t Share(int64_t i, int64_t rows) const { return Begin(i + 1, rows) - Begin(i, rows); }

  const char* X(const void* x, int64_t image) const {
    return static_cast<const char*>(x) + image * spec_.in.elements() * SizeOf(spec_.input);
  }
  const char* Y(const void* y, int64_t image, Dtype t) const {
    return static_cast<const char*>(y) + image * spec_.out.elements() * SizeOf(t);
  }

  // Runs a primitive over the images, part by part; bind(compiled, part, first image, arguments)
  // adds the arguments but the scratchpad, which lies in the workspace behind `reserved` floats.
  template <class F>
  void RunParts(int64_t rows, Cache* cache, Compiled (Convolution::*compile)(int64_t) const,
                int64_t reserved, const F& bind) {
    CHECK_LE(rows, spec_.max_rows);
    const int64_t parts = Parts(rows);
    std::vector<const Compiled*> compiled;  // here, on one thread
    int64_t scratch = 0;
    for (int64_t i = 0; i < parts; ++i) {
      compiled.push_back(&Get(cache, Share(i, rows), compile));
      const int64_t bytes = static_cast<int64_t>(compiled.back()->scratch.get_size());
      scratch = std::max(scratch, Align((bytes + 3) / 4));
    }
    workspace_->Reserve(reserved + parts * scratch);
    pool_->Run(parts, [&](int64_t i) {
      const Compiled& c = *compiled[i];
      Arguments arguments;
      bind(c, i, Begin(i, rows), &arguments);
      float* pad = workspace_->data() + reserved + i * scratch;
      arguments.emplace(DNNL_ARG_SCRATCHPAD, Wrap(c.scratch, pad));
      Execute(c.primitive, arguments);
    });
  }

  // ---- backward
  // dy becomes the gradient before the activation (and dz16_ its rounding, if there is one); db
  // its sums over pixels: fp32 over kSumRows of them, float64 over those.
  void SlopeAndSums(const void* y, void* dy, float* db, int64_t rows, bool accumulate) {
    if (spec_.activation == Activation::kNone && db == nullptr && dz16_ == nullptr) return;
    const int64_t cols = spec_.out.channels, pixels = rows * spec_.out.height * spec_.out.width;
    const int64_t blocks = (pixels + kSumRows - 1) / kSumRows, size = SizeOf(spec_.output);
    if (db != nullptr) workspace_->Reserve(blocks * cols);
    float* sums = workspace_->data();
    pool_->Split(blocks, 1, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) {
        const int64_t at = i * kSumRows * cols, height = std::min(kSumRows, pixels - i * kSumRows);
        k_.slope_and_sums(spec_.activation, static_cast<const char*>(y) + at * size,
                          static_cast<char*>(dy) + at * size, cols, height, cols,
                          db == nullptr ? nullptr : sums + i * cols, false,
                          dz16_ == nullptr ? nullptr : dz16_ + at, spec_.output);
      }
    });
    for (int64_t c = 0; db != nullptr && c < cols; ++c) {
      double sum = accumulate ? db[c] : 0.0;
      for (int64_t i = 0; i < blocks; ++i) sum += sums[i * cols + c];
      db[c] = static_cast<float>(sum);
    }
  }

  // Each part into memory of its own, but the first into dw where it may; then the parts' sum in
  // dw's layout.
  void WeightGradient(const void* x, const void* dz, float* dw, int64_t rows, bool accumulate) {
    const int64_t parts = Parts(rows);
    const Desc own =
        Get(&weight_gradient_, Share(0, rows), &Convolution::CompileWeightGradient).weights;
    for (int64_t i = 0; i < parts; ++i) {
      CHECK(Get(&weight_gradient_, Share(i, rows), &Convolution::CompileWeightGradient).weights ==
            own);
    }
    const bool same = own == weights_f32_, in_place = same && !accumulate;
    const int64_t each = Align(static_cast<int64_t>(own.get_size() / sizeof(float)));
    const int64_t own_parts = in_place ? parts - 1 : parts;
    const auto at = [&](int64_t i) {
      return in_place && i == 0 ? dw : workspace_->data() + (in_place ? i - 1 : i) * each;
    };
    RunParts(rows, &weight_gradient_, &Convolution::CompileWeightGradient,
             (own_parts + !same) * each,
             [&](const Compiled& c, int64_t part, int64_t image, Arguments* a) {
               a->emplace(DNNL_ARG_SRC, Wrap(c.src, X(x, image)));
               a->emplace(DNNL_ARG_DIFF_DST, Wrap(c.dst, Y(dz, image, spec_.input)));
               a->emplace(DNNL_ARG_DIFF_WEIGHTS, Wrap(c.weights, at(part)));
             });
    for (int64_t i = 1; i < parts; ++i) AddTo(at(0), at(i), each);
    if (in_place) return;
    float* sum = at(0);
    if (!same) {
      float* turned = accumulate ? workspace_->data() + own_parts * each : dw;
      Reorder(own, sum, weights_f32_, turned);
      sum = turned;
    }
    if (accumulate) AddTo(dw, sum, weight_elements());
  }
  void AddTo(float* y, const float* x, int64_t n) {
    pool_->Split(n, 4096, [&](int64_t begin, int64_t end) {
      k_.add(x + begin, y + begin, y + begin, end - begin, Dtype::kF32);
    });
  }

  void InputGradient(const void* dz, const void* w, void* dx, int64_t rows) {
    const Desc own =
        Get(&input_gradient_, Share(0, rows), &Convolution::CompileInputGradient).weights;
    if (!(own == weights_)) {
      const int64_t floats = static_cast<int64_t>((own.get_size() + 3) / 4);
      if (turned_ == nullptr) {
        turned_ = static_cast<float*>(memory_->Allocate(floats * sizeof(float)));
      }
      Reorder(weights_, w, own, turned_);
      w = turned_;
    }
    RunParts(rows, &input_gradient_, &Convolution::CompileInputGradient, 0,
             [&](const Compiled& c, int64_t, int64_t image, Arguments* a) {
               a->emplace(DNNL_ARG_DIFF_DST, Wrap(c.dst, Y(dz, image, spec_.input)));
               CHECK(c.weights == own);
               a->emplace(DNNL_ARG_WEIGHTS, Wrap(c.weights, w));
               a->emplace(DNNL_ARG_DIFF_SRC, Wrap(c.src, X(dx, image)));
             });
  }

  const ConvSpec spec_;
  Pool* const pool_;
  HostMemory* const memory_;
  Workspace* const workspace_;
  const Kernels& k_;
  const dnnl::engine engine_{dnnl::engine::kind::cpu, 0};
  const Desc plain_;
  Desc weights_, weights_f32_;                        // packed, as computed with and as stored
  Cache forward_, input_gradient_, weight_gradient_;  // by number of images
  uint16_t* dz16_ = nullptr;                          // dy rounded, when y is fp32 and x is not
  float* turned_ = nullptr;  // weights as the gradient of x wants them, if otherwise
};

}  // namespace

std::unique_ptr<AffineOp> MakeConvolutionOp(const ConvSpec& spec, const CpuContext& context) {
  return std::make_unique<Convolution>(spec, context);
}

}  // namespace mariana
