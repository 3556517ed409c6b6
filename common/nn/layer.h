// Layer: one operation of a net's list, with explicit forward and backward passes. A layer of the
// job (LayerSpec) becomes one or several of these.
//
// Its life: Infer while the list is built; then passes over the whole list fuse activations, choose
// dtypes and mark which gradients are needed; Setup declares what the layer keeps; then Forward and
// Backward once a step over memory that the net planned. Layers allocate nothing after Setup.
//
// Threading: the trainer thread of the device, like Net.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/nn/export.h"
#include "common/nn/net.h"

namespace mariana {

// A row of the tensor table.
struct TensorInfo {
  Shape shape;  // one sample
  Dtype dtype = Dtype::kF32;
  int producer = -1;           // op that writes it; -1: the net's input
  std::vector<int> consumers;  // ops that read it, ascending; twice where an op reads it twice
  bool gradient = false;       // whether backward computes its gradient
  bool stored = true;          // false: it has no value, only a gradient
};

// Half-open range of channels.
struct ChannelRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
  bool empty() const { return begin >= end; }
  bool operator==(const ChannelRange& o) const {
    return (empty() && o.empty()) || (begin == o.begin && end == o.end);
  }
};

// A sample is an image [height, width, channels], or columns that count as channels of one pixel.
inline bool IsImage(const Shape& s) { return s.rank() == 3; }
inline int64_t ChannelsOf(const Shape& s) { return IsImage(s) ? s[2] : s.elements(); }
inline int64_t PixelsOf(const Shape& s) { return IsImage(s) ? s[0] * s[1] : 1; }
inline Shape WithChannels(const Shape& s, int64_t channels) {
  return IsImage(s) ? Shape{s[0], s[1], channels} : Shape{channels};
}

// How the work of a layer can be dealt out to workers that share a model.
struct Division {
  bool outputs = false;  // each makes some of the output's channels ...
  int64_t groups = 1;    // ... from the input's channels of the groups that these are in
  bool inputs = false;   // each takes some of the input's channels; what they make is summed
  // Output channel c needs channels [c - halo, c + halo] of the inputs; with a halo, of the one
  // input, whose channels that a worker lacks come as a second one behind it.
  bool follows = false;
  int64_t halo = 0;
};

inline Division Elementwise() {
  Division can;
  can.follows = true;
  return can;
}

// What of a layer's work one worker keeps.
struct LayerPart {
  ChannelRange in, out;  // of the first input, which is there so far; and of the output
  int64_t whole_in = 0, whole_out = 0;
};

// How initial values are drawn.
struct Init {
  enum Kind { kConstant, kUniform, kNormal } kind = kConstant;
  float value = 0;  // the constant; uniform: within +-value; normal: standard deviation
};

struct ParamDecl {
  std::string name;  // "weight"
  Shape shape;       // plain layout
  Init init{};
  bool decay = true;
  ParamPart part{};      // of the whole model's parameter; no shape: all of it
  int64_t elements = 0;  // of the device's layout; 0: the plain one
  // Between plain and device layout, host memory; empty where they are the same.
  std::function<void(const float* plain, float* packed)> pack{};
  std::function<void(const float* packed, float* plain)> unpack{};
};

struct StateDecl {
  std::string name;  // "running_mean"
  Shape shape;
  float initial = 0;
  ParamPart part{};
};

// What a layer keeps, and what its backward pass reads.
struct LayerDecl {
  std::vector<ParamDecl> params;
  std::vector<StateDecl> states;
  int backward_reads_inputs = 0;  // the first so many
  bool backward_reads_output = false;
  size_t gradient_inputs = SIZE_MAX;  // Backward writes gradients of the first so many inputs
  bool gradient_in_place = false;     // the gradient of one input, any, may take the place of dy
  bool gradient_adds = false;         // Backward adds to gradients that others have written
  int64_t saved_bytes = 0;            // written by Forward, read by Backward
  // Batch normalisation: saved memory holds so many floats of statistics for each group, and
  // update_states applies those of one group of `rows` samples to the states (host memory).
  int64_t stats_columns = 0;
  std::function<void(const float* stats, int32_t rows, const std::vector<float*>& states)>
      update_states;
  double flops = 0;    // forward, one sample
  bool draws = false;  // random numbers that depend on the sample (LayerArgs::first_sample)
};

struct SetupArgs {
  Device* device = nullptr;
  int64_t max_rows = 0;
  int64_t max_groups = 0;  // of batch normalisation, in max_rows
  std::vector<const TensorInfo*> in;
  const TensorInfo* out = nullptr;
};

// Device memory of one op, fixed when the net is built (but for the net's input).
struct LayerArgs {
  std::vector<const void*> x;        // inputs [rows, shape...]
  void* y = nullptr;                 // output
  void* dy = nullptr;                // gradient of y; Backward may overwrite it
  std::vector<void*> dx;             // gradients of inputs, to be written (or, where the layer
                                     // says so, added to); null where not needed
  std::vector<const float*> w;       // parameters
  std::vector<const uint16_t*> w16;  // bf16 shadows; null under fp32
  std::vector<float*> dw;            // their gradients: written, or added to when step.accumulate
  std::vector<float*> states;
  void* saved = nullptr;
  const int32_t* group_rows = nullptr;  // host: samples in each batch-norm group of this step
  int groups = 0;
  const int64_t* first_sample = nullptr;  // device: that of the step
};

class Layer {
 public:
  virtual ~Layer() = default;
  virtual const char* type() const = 0;  // "linear", in tables

  // Shape of one sample of the output. Throws Error(kUsage) when the inputs do not fit; the
  // builder adds the layer's name.
  virtual Shape Infer(const std::vector<Shape>& in) = 0;
  virtual bool has_parameters() const { return false; }
  // Set when the layer is nothing but an activation.
  virtual std::optional<Activation> activation() const { return std::nullopt; }
  virtual bool is_add() const { return false; }  // of all its inputs
  // Takes over the activation that follows; false if it cannot.
  virtual bool FuseActivation(Activation) { return false; }
  // Takes over the addition that follows: of a second input, of the output's shape, before the
  // activation; false if it cannot.
  virtual bool FuseResidual() { return false; }
  // Whether it can write fp32 whatever the compute type (asked of the last layer).
  virtual bool writes_f32() const { return false; }

  virtual Division division() const { return {}; }
  // Keeps a part of its work; Infer with the new inputs and Setup follow. Once, after fusions.
  virtual void Keep(const LayerPart&) {}
  // Gives back an activation of its own or one it took over: it becomes an operation behind it.
  virtual Activation ReleaseActivation() { return Activation::kNone; }

  virtual LayerDecl Setup(const SetupArgs& args) = 0;
  virtual void Forward(const StepContext& step, const LayerArgs& a) = 0;
  virtual void Backward(const StepContext& step, const LayerArgs& a) = 0;
  // Writes what Forward computes in evaluation; returns the name of the output.
  virtual std::string Export(const ExportArgs& a, GraphWriter* graph) const = 0;
};

// throw LayerError("linear1", "units: ...");
template <class... Args>
Error LayerError(const std::string& layer, const Args&... args) {
  return Fail(ExitCode::kUsage, "net: layer ", layer, ": ", args...);
}

}  // namespace mariana
