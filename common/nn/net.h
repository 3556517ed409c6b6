// Net: a NetSpec compiled for one device into a flat, topologically ordered list of operations
// over tensor ids. Parameters, gradients and batch-norm averages live in flat arenas, in op
// order; activations are planned once for the largest batch, so a step allocates nothing.
//
// Threading: one thread at a time (the trainer thread of the device).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "common/base/clock.h"
#include "common/base/shape.h"
#include "common/nn/spec.h"
#include "common/tensor/tensor.h"
#include "common/tensor/transfers.h"

namespace mariana {

class GraphWriter;  // nn/export.h
struct SplitPlan;   // nn/split_plan.h

struct NetOptions {
  Device* device = nullptr;
  int64_t max_rows = 0;         // largest number of samples this worker sees in a step
  Shape input;                  // one sample, without the batch dimension
  int64_t outputs = 0;          // what the data needs of the last layer; a layer of size 0 takes it
  Dtype compute = Dtype::kF32;  // kBF16: activations and GEMMs in bf16, fp32 parameters
  bool train = true;            // false: no gradients, activations are reused at once
  bool input_gradient = false;  // Backward goes on to the net's input
  // A layer or block ("layer3.1") whose values become the net's outputs; what follows it is left
  // out. Empty: the whole net.
  std::string until;
  // Keeps room for the next step's input among activations that are no longer needed, if it fits.
  bool next_input = false;
  Clock* clock = nullptr;  // of the profile; null: the real clock

  // Of a net that several workers share: what all of them do, which of them this one is, and its
  // end of their transfers (which planning does without). Null: the whole net.
  std::shared_ptr<const SplitPlan> split;
  int worker = 0;
  Transfers* transfers = nullptr;
};

// What the step loop tells the net about a batch. Samples are counted over all workers, so that
// dropout and batch-norm groups do not depend on how the batch was dealt out.
struct StepContext {
  bool train = true;
  uint64_t seed = 0;
  int64_t rows = 0;          // samples of this worker
  int64_t first_sample = 0;  // index of its first sample in the run (step * batch + offset)
  int64_t batch_rows = 0;    // samples over all workers: the loss is the mean over these
  bool accumulate = false;   // add to grads instead of overwriting them
};

// Where a parameter lies in that of the whole model: [begin, begin + its own extent) of dimension
// `dim`, and all of the others.
struct ParamPart {
  Shape whole;  // plain layout
  int dim = 0;
  int64_t begin = 0;
};
// One parameter of shape `shape` out of the whole, and into it. Plain layout, host memory.
void TakePart(const float* whole, const ParamPart& part, const Shape& shape, float* own);
void PlacePart(const float* own, const ParamPart& part, const Shape& shape, float* whole);

struct ParamInfo {
  std::string name;      // "linear1.weight": the safetensors key
  Shape shape;           // plain layout, of what this net has of it
  ParamPart part;        // ... of the whole model's
  int64_t offset = 0;    // into the values and grads arenas, in elements
  int64_t elements = 0;  // of the arena slot: >= shape.elements(), device layout and padding
  bool decay = true;     // whether L1/L2/weight decay apply (not to biases and batch norm)
  int op = 0;            // the op that owns it
  bool counts = true;    // false: another worker's copy counts, in sums over workers
};

struct StateInfo {   // batch-norm running averages
  std::string name;  // "batch_norm1.running_mean"
  Shape shape;
  ParamPart part;
  int64_t offset = 0, elements = 0;  // into the state arena
};

struct OpInfo {
  std::string name, type;
  Shape output;                  // one sample
  int64_t parameters = 0;        // plain elements
  double flops = 0;              // forward, one sample
  int64_t activation_bytes = 0;  // of its output for max_rows samples (and its gradient)
};

// What a net is made of, and what it needs.
struct NetPlan {
  std::vector<OpInfo> ops;
  std::vector<ParamInfo> params;
  std::vector<StateInfo> states;
  Shape output_shape;                // one sample
  int64_t group = 0;                 // batch-norm group size, 0 without batch norm
  int64_t batch_stats_elements = 0;  // per group: 2 floats a batch-norm column
  int64_t arena_elements = 0;
  // For all activations and their gradients: less than the sum over ops, as they share.
  int64_t activation_bytes = 0;
  int next_input_after = -1;  // the op of Net::next_input; -1: it has no room

  int64_t parameters() const;  // of all ops, plain elements
};

// Plans what Net::Build would build, and throws what it would throw, without the memory for it.
NetPlan PlanNet(const NetSpec& spec, const NetOptions& options);

class Net {
 public:
  // Throws Error(kUsage) naming the layer when shapes do not fit.
  static std::unique_ptr<Net> Build(const NetSpec& spec, const NetOptions& options);
  virtual ~Net() = default;

  virtual const NetOptions& options() const = 0;
  virtual const NetPlan& plan() const = 0;
  const std::vector<OpInfo>& ops() const { return plan().ops; }
  const std::vector<ParamInfo>& params() const { return plan().params; }
  const std::vector<StateInfo>& states() const { return plan().states; }
  const Shape& output_shape() const { return plan().output_shape; }
  int64_t group() const { return plan().group; }
  int64_t batch_stats_elements() const { return plan().batch_stats_elements; }
  int64_t activation_bytes() const { return plan().activation_bytes; }
  int64_t arena_elements() const { return plan().arena_elements; }

  // Arenas (device memory). Slots are padded to 16 elements and zero beyond their parameter.
  virtual float* values() = 0;
  virtual float* grads() = 0;        // null when !train
  virtual uint16_t* values16() = 0;  // bf16 shadow, null under fp32
  virtual Tensor state() = 0;        // fp32, all running averages

  // Draws initial values: a pure function of (seed, parameter index), on any device.
  virtual void Initialize(uint64_t seed) = 0;
  // Host plain layout <-> arena layout of parameter i. `slot` is host memory of elements() floats
  // laid out like the arena slot: values, gradients or optimizer state.
  virtual void PackParam(int i, const float* plain, float* slot) const = 0;
  virtual void UnpackParam(int i, const float* slot, float* plain) const = 0;
  // Recomputes the bf16 shadow of values[begin, begin + n) (nothing under fp32).
  virtual void RefreshShadow(int64_t begin, int64_t n) = 0;

  // input: [rows, input...] of the compute type. before_op(op) runs before each op that has
  // parameters: there the trainer waits for the values of that op.
  virtual void Forward(const StepContext& step, const Tensor& input,
                       const std::function<void(int op)>& before_op = {}) = 0;
  // Outputs of the last op, fp32 [rows, outputs]; valid until the next Forward.
  virtual Tensor outputs() = 0;
  // Loss against labels (i32 [rows]) or targets (f32 [rows, outputs]), with the gradient of its
  // mean over step.batch_rows kept for Backward when step.train. Sums, not means; of workers that
  // share a net the first has them, the others none.
  virtual LossSums Loss(const StepContext& step, const Tensor& labels) = 0;
  // The same without waiting: the sums are added to *sums, device memory.
  virtual void AddLoss(const StepContext& step, const Tensor& labels, LossSums* sums) = 0;
  // What Backward starts from, fp32 [rows, outputs]: the gradient of the loss by the outputs, which
  // Loss writes, or the caller between Forward and Backward. Backward uses it up. Empty where
  // nothing lies behind that needs a gradient. Not of a net for evaluation.
  virtual Tensor output_gradient() = 0;
  // after_op(op) runs when the gradients of that op's parameters are complete.
  virtual void Backward(const StepContext& step, const Tensor& input,
                        const std::function<void(int op)>& after_op = {}) = 0;
  // The gradient by the input, [rows, input...] of the compute type: written by each Backward
  // (step.accumulate is of parameters), valid until the next Forward. Of a net with
  // NetOptions.input_gradient that is not for evaluation.
  virtual Tensor input_gradient() = 0;

  // Where the next step's input, [max_rows, input...] of the compute type, can wait: from after_op
  // of plan().next_input_after, where CallAt asks for that, until the next Forward. Empty: no room.
  virtual Tensor next_input() = 0;

  // Batch-norm statistics of the step's groups, [groups_of_this_worker, batch_stats_elements()]:
  // fp32 device memory, valid after Forward in training.
  virtual float* batch_stats() = 0;
  // Applies the statistics of all groups of the step (all workers', in group order; host memory)
  // to the running averages, as PyTorch does for batches of group_rows[g] samples (which refuses
  // groups of one sample; here they are passed over).
  virtual void UpdateRunning(const float* stats, const std::vector<int32_t>& group_rows) = 0;

  // Writes what the net computes in evaluation, with its present values, over the value `input`
  // ([N, columns], images [N, channels, height, width]); returns the name of its outputs.
  virtual std::string Export(const std::string& input, GraphWriter* graph) = 0;

  // The ops that Forward's before_op and Backward's after_op are called at; all that have
  // parameters until this is called. What lies between two calls is a piece that the device may
  // record (Device::MakePieces): the fewer calls, the longer the pieces.
  virtual void CallAt(std::vector<bool> before, std::vector<bool> after) = 0;
  // Why pieces are not replayed (Pieces::unrecorded).
  virtual std::string unrecorded() const = 0;

  // Per-op wall seconds since the last call, forward and backward; empty unless enabled.
  virtual void EnableProfile(bool on) = 0;
  virtual std::vector<std::pair<double, double>> TakeProfile() = 0;
};

}  // namespace mariana
