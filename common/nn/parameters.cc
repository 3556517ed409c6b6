#include "common/nn/parameters.h"

#include <algorithm>

#include "common/base/random.h"
#include "common/nn/split_plan.h"

namespace mariana {
namespace {

int64_t PadSlot(int64_t elements) { return (elements + 15) / 16 * 16; }

ParamPart PartOf(const ParamPart& declared, const Shape& shape) {
  return declared.whole.rank() > 0 ? declared : ParamPart{shape};
}

// Of the whole model's parameter.
std::vector<float> Draw(const ParamDecl& decl, const Shape& whole, uint64_t seed, int index) {
  std::vector<float> plain(static_cast<size_t>(whole.elements()));
  RandomSequence random(seed, kInitStream + static_cast<uint64_t>(index));
  const float v = decl.init.value;
  for (float& x : plain) {
    switch (decl.init.kind) {
      case Init::kConstant: x = v; break;
      case Init::kUniform: x = v * (2 * random.Uniform() - 1); break;
      case Init::kNormal: x = v * random.Normal(); break;
    }
  }
  return plain;
}

}  // namespace

namespace {

// Runs of consecutive elements: copy(own, whole, n) for each.
template <class Copy>
void ForRuns(const ParamPart& part, const Shape& shape, const Copy& copy) {
  int64_t outer = 1, inner = 1;
  for (int d = 0; d < shape.rank(); ++d) (d < part.dim ? outer : inner) *= shape[d];
  const int64_t stride = inner / std::max<int64_t>(1, shape[part.dim]) * part.whole[part.dim];
  const int64_t first = stride / part.whole[part.dim] * part.begin;
  for (int64_t o = 0; o < outer; ++o) copy(o * inner, o * stride + first, inner);
}

}  // namespace

void TakePart(const float* whole, const ParamPart& part, const Shape& shape, float* own) {
  ForRuns(part, shape,
          [&](int64_t o, int64_t w, int64_t n) { std::copy_n(whole + w, n, own + o); });
}

void PlacePart(const float* own, const ParamPart& part, const Shape& shape, float* whole) {
  ForRuns(part, shape,
          [&](int64_t o, int64_t w, int64_t n) { std::copy_n(own + o, n, whole + w); });
}

ParameterTable LayOutParameters(const Graph& graph) {
  ParameterTable t;
  for (size_t op = 0; op < graph.ops.size(); ++op) {
    const OpNode& node = graph.ops[op];
    t.first_param.push_back(static_cast<int>(t.params.size()));
    t.first_state.push_back(static_cast<int>(t.states.size()));
    for (const ParamDecl& d : node.decl.params) {
      const int64_t slot = PadSlot(std::max(d.elements, d.shape.elements()));
      t.params.push_back({node.name + "." + d.name, d.shape, PartOf(d.part, d.shape), t.elements,
                          slot, d.decay, static_cast<int>(op), node.counts});
      t.elements += slot;
    }
    for (const StateDecl& d : node.decl.states) {
      const int64_t slot = PadSlot(d.shape.elements());
      t.states.push_back(
          {node.name + "." + d.name, d.shape, PartOf(d.part, d.shape), t.state_elements, slot});
      t.state_elements += slot;
    }
  }
  t.first_param.push_back(static_cast<int>(t.params.size()));
  t.first_state.push_back(static_cast<int>(t.states.size()));
  return t;
}

Parameters::Parameters(const Graph& graph, const NetOptions& options)
    : graph_(graph),
      device_(options.device),
      split_(options.split),
      table_(LayOutParameters(graph)) {
  values_ = Tensor(device_, Dtype::kF32, Shape{elements()});
  if (options.train) grads_ = Tensor(device_, Dtype::kF32, Shape{elements()});
  if (options.compute == Dtype::kBF16) values16_ = Tensor(device_, Dtype::kBF16, Shape{elements()});
  state_ = Tensor(device_, Dtype::kF32, Shape{table_.state_elements});
  host_state_.resize(static_cast<size_t>(table_.state_elements));
}

const ParamDecl& Parameters::Decl(int i) const {
  const int op = table_.params[i].op;
  return graph_.ops[op].decl.params[i - table_.first_param[op]];
}

void Parameters::Initialize(uint64_t seed) {
  for (int i = 0; i < static_cast<int>(table_.params.size()); ++i) {
    const ParamInfo& p = table_.params[i];
    const int index = split_ ? split_->parameters.at(p.name) : i;
    std::vector<float> plain = Draw(Decl(i), p.part.whole, seed, index);
    if (p.shape != p.part.whole) {
      std::vector<float> own(static_cast<size_t>(p.shape.elements()));
      TakePart(plain.data(), p.part, p.shape, own.data());
      plain = std::move(own);
    }
    std::vector<float> slot(static_cast<size_t>(p.elements));
    Pack(i, plain.data(), slot.data());
    device_->Upload(values() + p.offset, slot.data(), p.elements * SizeOf(Dtype::kF32));
  }
  RefreshShadow(0, elements());

  std::fill(host_state_.begin(), host_state_.end(), 0.0f);
  size_t i = 0;
  for (const OpNode& op : graph_.ops) {
    for (const StateDecl& d : op.decl.states) {
      const StateInfo& s = table_.states[i++];
      std::fill_n(host_state_.begin() + s.offset, s.shape.elements(), d.initial);
    }
  }
  if (!host_state_.empty()) state_.Upload(host_state_.data());
}

void Parameters::Pack(int i, const float* plain, float* slot) const {
  const ParamDecl& decl = Decl(i);
  const int64_t used = decl.pack ? decl.elements : decl.shape.elements();
  if (decl.pack) {
    decl.pack(plain, slot);
  } else {
    std::copy_n(plain, used, slot);
  }
  std::fill(slot + used, slot + table_.params[i].elements, 0.0f);
}

void Parameters::Unpack(int i, const float* slot, float* plain) const {
  const ParamDecl& decl = Decl(i);
  if (decl.unpack) {
    decl.unpack(slot, plain);
  } else {
    std::copy_n(slot, decl.shape.elements(), plain);
  }
}

void Parameters::RefreshShadow(int64_t begin, int64_t n) {
  if (values16_.empty() || n == 0) return;
  device_->Convert(values() + begin, Dtype::kF32, values16() + begin, Dtype::kBF16, n);
}

void Parameters::Bind(int op, LayerArgs* args) const {
  for (int i = table_.first_param[op]; i < table_.first_param[op + 1]; ++i) {
    const int64_t offset = table_.params[i].offset;
    args->w.push_back(values() + offset);
    args->w16.push_back(values16_.empty() ? nullptr : values16() + offset);
    args->dw.push_back(grads_.empty() ? nullptr : grads() + offset);
  }
  for (int i = table_.first_state[op]; i < table_.first_state[op + 1]; ++i) {
    args->states.push_back(state_.f32() + table_.states[i].offset);
  }
}

void Parameters::ClearGradients(int op) {
  for (int i = table_.first_param[op]; i < table_.first_param[op + 1]; ++i) {
    device_->Fill(grads() + table_.params[i].offset, 0, table_.params[i].elements);
  }
}

void Parameters::UpdateRunning(const float* stats, int64_t columns,
                               const std::vector<int32_t>& group_rows) {
  if (host_state_.empty()) return;
  state_.Download(host_state_.data());
  for (size_t g = 0; g < group_rows.size(); ++g) {
    const float* of_op = stats + static_cast<int64_t>(g) * columns;
    for (size_t op = 0; op < graph_.ops.size(); ++op) {
      const LayerDecl& decl = graph_.ops[op].decl;
      if (!decl.update_states) continue;
      std::vector<float*> states;
      for (int i = table_.first_state[op]; i < table_.first_state[op + 1]; ++i) {
        states.push_back(host_state_.data() + table_.states[i].offset);
      }
      decl.update_states(of_op, group_rows[g], states);
      of_op += decl.stats_columns;
    }
  }
  state_.Upload(host_state_.data());
}

}  // namespace mariana
