// Parameters: a net's flat arenas (values, gradients, bf16 shadow, running averages) and the
// tables that say what lies where, in op order. Every slot starts at a multiple of 16 elements and
// is zero beyond its parameter.
//
// Threading: the trainer thread of the device, like Net.
#pragma once

#include <memory>
#include <vector>

#include "common/nn/graph.h"

namespace mariana {

// What lies where, before anything is allocated.
struct ParameterTable {
  std::vector<ParamInfo> params;
  std::vector<StateInfo> states;
  std::vector<int> first_param, first_state;  // by op, and one past the last op
  int64_t elements = 0, state_elements = 0;   // of the arenas
};
// The graph's layers are set up.
ParameterTable LayOutParameters(const Graph& graph);

class Parameters {
 public:
  // Allocates on options.device. The graph's layers are set up; it outlives this object.
  Parameters(const Graph& graph, const NetOptions& options);

  const ParameterTable& table() const { return table_; }
  const std::vector<ParamInfo>& params() const { return table_.params; }
  const std::vector<StateInfo>& states() const { return table_.states; }
  int64_t elements() const { return table_.elements; }
  float* values() const { return values_.f32(); }
  float* grads() const { return grads_.empty() ? nullptr : grads_.f32(); }
  uint16_t* values16() const { return values16_.empty() ? nullptr : values16_.bf16(); }
  const Tensor& state() const { return state_; }

  // See Net.
  void Initialize(uint64_t seed);
  void Pack(int i, const float* plain, float* slot) const;
  void Unpack(int i, const float* slot, float* plain) const;
  void RefreshShadow(int64_t begin, int64_t n);

  // Points the w, w16, dw and states of op's arguments into the arenas.
  void Bind(int op, LayerArgs* args) const;
  // Zeroes the gradients of op's parameters.
  void ClearGradients(int op);
  // Applies group statistics, [group_rows.size(), columns] with each op's columns in op order (host
  // memory), to the running averages.
  void UpdateRunning(const float* stats, int64_t columns, const std::vector<int32_t>& group_rows);

 private:
  const ParamDecl& Decl(int i) const;

  const Graph& graph_;
  Device* device_;
  const std::shared_ptr<const SplitPlan> split_;
  const ParameterTable table_;
  Tensor values_, grads_, values16_, state_;
  std::vector<float> host_state_;
};

}  // namespace mariana
