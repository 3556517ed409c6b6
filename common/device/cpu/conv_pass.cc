#include "common/device/cpu/conv_pass.h"

#include <glog/logging.h>

#include <algorithm>
#include <map>
#include <oneapi/dnnl/dnnl.hpp>
#include <unordered_map>

#include "common/base/error.h"
#include "common/device/cpu/onednn.h"

namespace mariana {
namespace {

using Memory = dnnl::memory;
using Desc = dnnl::memory::desc;

Memory::data_type Type(Dtype t) {
  return t == Dtype::kBF16 ? Memory::data_type::bf16 : Memory::data_type::f32;
}

Desc Images(int64_t n, const ImageSize& s, Dtype t) {
  return Desc({n, s.channels, s.height, s.width}, Type(t), Memory::format_tag::nhwc);
}

WeightLayout Layout(const Desc& desc, bool grouped) {
  WeightLayout layout;
  const dnnl_blocking_desc_t& blocking = desc.data.format_desc.blocking;
  const int skip = grouped ? 0 : 1;  // dimensions that oneDNN does not have
  layout.dims[0] = 1;
  for (int d = 0; d < desc.data.ndims; ++d) {
    layout.dims[d + skip] = desc.data.dims[d];
    layout.strides[d + skip] = blocking.strides[d];
  }
  for (int b = 0; b < blocking.inner_nblks; ++b) {
    layout.blocks.push_back(
        {static_cast<int>(blocking.inner_idxs[b]) + skip, blocking.inner_blks[b]});
  }
  layout.elements =
      static_cast<int64_t>(desc.get_size() / Memory::data_type_size(desc.data_type()));
  return layout;
}

}  // namespace

int64_t WeightLayout::At(int64_t o, int64_t i, int64_t h, int64_t w) const {
  int64_t at[5] = {o / dims[1], o % dims[1], i, h, w};
  int64_t offset = 0, inner = 1;
  for (size_t b = blocks.size(); b-- > 0;) {
    int64_t* coordinate = &at[blocks[b].dimension];
    offset += *coordinate % blocks[b].size * inner;
    *coordinate /= blocks[b].size;
    inner *= blocks[b].size;
  }
  for (int d = 0; d < 5; ++d) offset += at[d] * strides[d];
  return offset;
}

int64_t WeightLayout::Panel() const {
  if (dims[0] != 1 || blocks.size() != 1 || blocks[0].dimension != 1) return 0;
  const int64_t panel = blocks[0].size;
  const bool order = strides[2] == panel && strides[4] == strides[2] * dims[2] &&
                     strides[3] == strides[4] * dims[4] && strides[1] == strides[3] * dims[3];
  return order ? panel : 0;
}

bool WeightLayout::operator==(const WeightLayout& other) const {
  const auto same = [](const Block& a, const Block& b) {
    return a.dimension == b.dimension && a.size == b.size;
  };
  return std::equal(dims, dims + 5, other.dims) &&
         std::equal(strides, strides + 5, other.strides) &&
         std::equal(blocks.begin(), blocks.end(), other.blocks.begin(), other.blocks.end(), same);
}

class ConvPass::Compiled {
 public:
  dnnl::engine engine;
  ConvPassKind kind;
  dnnl::primitive primitive;
  Desc x, w, b, y, scratch;
};

struct ConvPass::State {
  ConvSpec spec;
  ConvPassKind kind;
  dnnl::engine engine{dnnl::engine::kind::cpu, 0};
  Desc weights;  // any layout until the first is compiled
  WeightLayout layout;
  std::map<int64_t, Compiled> compiled;  // by number of images

  Memory::dims strides() const { return {spec.window.stride_h, spec.window.stride_w}; }
  Memory::dims dilates() const { return {spec.window.dilation_h - 1, spec.window.dilation_w - 1}; }
  Memory::dims begin() const { return {spec.window.top, spec.window.left}; }
  Memory::dims end() const { return {spec.window.bottom, spec.window.right}; }

  Desc AnyWeights(Memory::data_type t) const {
    const int64_t in = spec.in.channels, out = spec.out.channels, g = spec.groups;
    const Window& w = spec.window;
    const Memory::dims dims = g > 1 ? Memory::dims{g, out / g, in / g, w.kernel_h, w.kernel_w}
                                    : Memory::dims{out, in, w.kernel_h, w.kernel_w};
    return Desc(dims, t, Memory::format_tag::any);
  }

  dnnl::convolution_forward::primitive_desc Forward(int64_t n, const Desc& w,
                                                    const dnnl::primitive_attr& attributes) const {
    const Desc x = Images(n, spec.in, spec.input), y = Images(n, spec.out, spec.output),
               b({spec.out.channels}, Memory::data_type::f32, Memory::format_tag::a);
    const auto train = dnnl::prop_kind::forward_training;
    const auto direct = dnnl::algorithm::convolution_direct;
    using Operation = dnnl::convolution_forward::desc;
    return {spec.bias ? Operation(train, direct, x, w, b, y, strides(), dilates(), begin(), end())
                      : Operation(train, direct, x, w, y, strides(), dilates(), begin(), end()),
            attributes, engine};
  }

  Compiled Compile(int64_t n) const {
    dnnl::primitive_attr attributes;
    attributes.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    const auto direct = dnnl::algorithm::convolution_direct;
    if (kind == ConvPassKind::kForward) {
      if (spec.activation == Activation::kRelu) {
        dnnl::post_ops relu;
        relu.append_eltwise(1.0f, dnnl::algorithm::eltwise_relu, 0.0f, 0.0f);
        attributes.set_post_ops(relu);
      }
      const auto pd = Forward(n, weights, attributes);
      return {engine,
              kind,
              dnnl::convolution_forward(pd),
              pd.src_desc(),
              pd.weights_desc(),
              pd.bias_desc(),
              pd.dst_desc(),
              pd.scratchpad_desc()};
    }
    // Gradients are computed in the type of x.
    const Desc x = Images(n, spec.in, spec.input), y = Images(n, spec.out, spec.input);
    const auto hint = Forward(n, AnyWeights(Type(spec.input)), {});
    if (kind == ConvPassKind::kInputGradient) {
      const dnnl::convolution_backward_data::primitive_desc pd(
          {direct, x, weights, y, strides(), dilates(), begin(), end()}, attributes, engine, hint);
      return {engine,
              kind,
              dnnl::convolution_backward_data(pd),
              pd.diff_src_desc(),
              pd.weights_desc(),
              Desc(),
              pd.diff_dst_desc(),
              pd.scratchpad_desc()};
    }
    const dnnl::convolution_backward_weights::primitive_desc pd(
        {direct, x, weights, y, strides(), dilates(), begin(), end()}, attributes, engine, hint);
    return {engine,
            kind,
            dnnl::convolution_backward_weights(pd),
            pd.src_desc(),
            pd.diff_weights_desc(),
            Desc(),
            pd.diff_dst_desc(),
            pd.scratchpad_desc()};
  }
};

ConvPass::ConvPass(const ConvSpec& spec, ConvPassKind kind, int64_t images)
    : state_(std::make_unique<State>()) {
  state_->spec = spec;
  state_->kind = kind;
  const bool gradient = kind == ConvPassKind::kWeightGradient;
  state_->weights = state_->AnyWeights(gradient ? Memory::data_type::f32 : Type(spec.input));
  const Compiled* first = Prepare(images);
  state_->weights = first->w;
  state_->layout = Layout(first->w, spec.groups > 1);
}
ConvPass::~ConvPass() = default;

const WeightLayout& ConvPass::layout() const { return state_->layout; }

const ConvPass::Compiled* ConvPass::Prepare(int64_t images) {
  const auto found = state_->compiled.find(images);
  if (found != state_->compiled.end()) return &found->second;
  LimitOneDnnToOneThread();
  try {
    return &state_->compiled.emplace(images, state_->Compile(images)).first->second;
  } catch (const dnnl::error& e) {
    const Dtype t = state_->spec.input;
    throw Fail(ExitCode::kUsage, "cpu device: no ", Name(t),
               " convolution of this kind on this CPU (oneDNN: ", e.what(), ")",
               t == Dtype::kBF16 ? "; compute in fp32 here" : "");
  }
}

int64_t ConvPass::ScratchBytes(const Compiled* c) {
  return static_cast<int64_t>(c->scratch.get_size());
}

void ConvPass::Run(const Compiled* c, const void* x, const void* w, const float* b, const void* y,
                   void* scratch) {
  LimitOneDnnToOneThread();
  const auto wrap = [&](const Desc& desc, const void* p) {
    return Memory(desc, c->engine, const_cast<void*>(p));
  };
  const bool forward = c->kind == ConvPassKind::kForward;
  std::unordered_map<int, Memory> arguments{
      {c->kind == ConvPassKind::kInputGradient ? DNNL_ARG_DIFF_SRC : DNNL_ARG_SRC, wrap(c->x, x)},
      {c->kind == ConvPassKind::kWeightGradient ? DNNL_ARG_DIFF_WEIGHTS : DNNL_ARG_WEIGHTS,
       wrap(c->w, w)},
      {forward ? DNNL_ARG_DST : DNNL_ARG_DIFF_DST, wrap(c->y, y)},
      {DNNL_ARG_SCRATCHPAD, wrap(c->scratch, scratch)}};
  if (b != nullptr) arguments.emplace(DNNL_ARG_BIAS, wrap(c->b, b));
  try {
    dnnl::stream stream(c->engine);
    c->primitive.execute(stream, arguments);
    stream.wait();
  } catch (const dnnl::error& e) {
    LOG(FATAL) << "oneDNN convolution: " << e.what();
  }
}

}  // namespace mariana
