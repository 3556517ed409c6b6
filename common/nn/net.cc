#include "common/nn/net.h"

#include <glog/logging.h>

#include <algorithm>

#include "common/nn/compile.h"
#include "common/nn/export.h"
#include "common/nn/memory_plan.h"
#include "common/nn/parameters.h"
#include "common/nn/split_loss.h"
#include "common/nn/split_plan.h"

namespace mariana {
namespace {

constexpr int64_t kDefaultGroup = 128;

int64_t GroupOf(const NetSpec& spec) { return spec.group > 0 ? spec.group : kDefaultGroup; }

OpInfo DescribeOp(const Graph& graph, const MemoryPlan& memory, int op) {
  const OpNode& node = graph.ops[op];
  OpInfo info;
  info.name = node.name;
  info.type = node.layer->type();
  info.output = graph.tensors[node.output].shape;
  for (const ParamDecl& p : node.decl.params) info.parameters += p.shape.elements();
  info.flops = node.decl.flops;
  for (int block : {memory.value[node.output], memory.gradient[node.output]}) {
    if (block >= 0) info.activation_bytes += memory.blocks[block].bytes;
  }
  return info;
}

NetPlan DescribeNet(const Graph& graph, const MemoryPlan& memory, ParameterTable table,
                    const NetOptions& options, int64_t group) {
  NetPlan plan;
  for (int op = 0; op < static_cast<int>(graph.ops.size()); ++op) {
    plan.ops.push_back(DescribeOp(graph, memory, op));
    plan.batch_stats_elements += graph.ops[op].decl.stats_columns;
  }
  plan.params = std::move(table.params);
  plan.states = std::move(table.states);
  plan.output_shape = graph.tensors[graph.output].shape;
  const bool grouped = options.split ? options.split->batch_stats : plan.batch_stats_elements > 0;
  plan.group = grouped ? group : 0;
  plan.arena_elements = table.elements;
  plan.activation_bytes = memory.bytes;
  plan.next_input_after = memory.next_input_after;
  return plan;
}

class CompiledNet : public Net {
 public:
  CompiledNet(const NetSpec& spec, const NetOptions& options)
      : options_(options),
        device_(options.device),
        clock_(options.clock ? options.clock : Clock::Real()),
        loss_(spec.loss),
        label_smoothing_(static_cast<float>(spec.label_smoothing)),
        group_(GroupOf(spec)),
        graph_(CompileNet(spec, options, group_)),
        parameters_(graph_, options),
        memory_plan_(PlanMemory(graph_, options.max_rows, options.train, options.next_input)),
        plan_(DescribeNet(graph_, memory_plan_, parameters_.table(), options, group_)),
        memory_(AllocateActivations()),
        first_sample_(device_, Dtype::kI64, Shape{1}),
        sums_(device_, Dtype::kF32, Shape{sizeof(LossSums) / sizeof(float)}),
        pieces_(device_->MakePieces()) {
    const int64_t max_groups = (options.max_rows + group_ - 1) / group_;
    group_rows_.reserve(static_cast<size_t>(max_groups));
    batch_stats_ = Tensor(device_, Dtype::kF32, Shape{max_groups, plan_.batch_stats_elements});
    int64_t column = 0;
    for (int op = 0; op < Ops(); ++op) {
      args_.push_back(MakeArgs(op));
      stats_column_.push_back(column);
      column += graph_.ops[op].decl.stats_columns;
      draws_ = draws_ || graph_.ops[op].decl.draws;
      call_before_.push_back(HasParams(op));
    }
    call_after_ = call_before_;
    if (options_.split && options_.split->split_loss && graph_.loss >= 0) {
      split_loss_ = std::make_unique<SplitLoss>(options_, label_smoothing_);
    }
  }

  const NetOptions& options() const override { return options_; }
  const NetPlan& plan() const override { return plan_; }
  float* values() override { return parameters_.values(); }
  float* grads() override { return parameters_.grads(); }
  uint16_t* values16() override { return parameters_.values16(); }
  Tensor state() override { return parameters_.state(); }
  void Initialize(uint64_t seed) override { parameters_.Initialize(seed); }
  void PackParam(int i, const float* plain, float* slot) const override {
    parameters_.Pack(i, plain, slot);
  }
  void UnpackParam(int i, const float* slot, float* plain) const override {
    parameters_.Unpack(i, slot, plain);
  }
  void RefreshShadow(int64_t begin, int64_t n) override { parameters_.RefreshShadow(begin, n); }

  void Forward(const StepContext& step, const Tensor& input,
               const std::function<void(int op)>& before_op) override;
  Tensor outputs() override;
  LossSums Loss(const StepContext& step, const Tensor& labels) override;
  void AddLoss(const StepContext& step, const Tensor& labels, LossSums* sums) override;
  Tensor output_gradient() override;
  Tensor input_gradient() override;
  Tensor next_input() override;
  void Backward(const StepContext& step, const Tensor& input,
                const std::function<void(int op)>& after_op) override;

  float* batch_stats() override { return batch_stats_.f32(); }
  void UpdateRunning(const float* stats, const std::vector<int32_t>& group_rows) override {
    parameters_.UpdateRunning(stats, plan_.batch_stats_elements, group_rows);
  }

  std::string Export(const std::string& input, GraphWriter* graph) override {
    return ExportGraph(graph_, parameters_, device_, input, graph);
  }

  void CallAt(std::vector<bool> before, std::vector<bool> after) override {
    call_before_ = std::move(before);
    call_after_ = std::move(after);
  }
  std::string unrecorded() const override {
    return options_.transfers != nullptr ? "workers share the model" : pieces_->unrecorded();
  }

  void EnableProfile(bool on) override { profile_.assign(on ? graph_.ops.size() : 0, {0.0, 0.0}); }
  std::vector<std::pair<double, double>> TakeProfile() override {
    auto taken = profile_;
    std::fill(profile_.begin(), profile_.end(), std::pair<double, double>(0, 0));
    return taken;
  }

 private:
  void* Block(int block) const {
    if (block < 0) return nullptr;
    return static_cast<char*>(memory_.data()) + memory_plan_.blocks[block].offset;
  }
  int Ops() const { return static_cast<int>(graph_.ops.size()); }
  bool HasParams(int op) const { return !graph_.ops[op].decl.params.empty(); }
  LayerArgs MakeArgs(int op) const;
  Tensor AllocateActivations() const;
  // The block's rows of this step, `sample` each.
  Tensor RowsOf(int block, Dtype dtype, const Shape& sample) const;
  void BindStep(const StepContext& step, const Tensor& input);
  void GatherStats(int op);
  void RunForward(int op, const StepContext& step);
  void RunBackward(int op, const StepContext& step);
  template <class F>
  void RunPiece(int first, int last, const StepContext& step, const Tensor& input, bool backward,
                const F& run);
  template <class F>
  void Timed(double std::pair<double, double>::*which, int op, const F& run);

  const NetOptions options_;
  Device* const device_;
  Clock* const clock_;
  const LossKind loss_;
  const float label_smoothing_;
  const int64_t group_;
  Graph graph_;
  Parameters parameters_;
  const MemoryPlan memory_plan_;
  const NetPlan plan_;
  Tensor memory_;                               // all activations and gradients, by memory_plan_
  Tensor batch_stats_;                          // [groups, batch_stats_elements]
  Tensor first_sample_;                         // i64 [1]: of the current step
  Tensor sums_;                                 // one LossSums, of Loss
  std::unique_ptr<Pieces> pieces_;              // of the passes
  std::unique_ptr<SplitLoss> split_loss_;       // where classes are split, and some are here
  int64_t rows_ = 0;                            // of the current step
  std::vector<LayerArgs> args_;                 // by op
  std::vector<int32_t> group_rows_;             // of the current step
  std::vector<int64_t> stats_column_;           // by op: in batch_stats_
  std::vector<bool> call_before_, call_after_;  // by op
  bool draws_ = false;                          // some op does
  std::vector<std::pair<double, double>> profile_;
};

LayerArgs CompiledNet::MakeArgs(int op) const {
  const OpNode& node = graph_.ops[op];
  LayerArgs a;
  for (TensorId t : node.inputs) a.x.push_back(Block(memory_plan_.value[t]));
  a.y = Block(memory_plan_.value[node.output]);
  a.dy = Block(memory_plan_.gradient[node.output]);
  for (const auto& target : memory_plan_.targets[op]) a.dx.push_back(Block(target.block));
  a.saved = Block(memory_plan_.saved[op]);
  a.first_sample = static_cast<const int64_t*>(first_sample_.data());
  parameters_.Bind(op, &a);
  return a;
}

// Where there is not enough, the error tells what the memory was for.
Tensor CompiledNet::AllocateActivations() const {
  try {
    return Tensor(device_, Dtype::kU8, Shape{memory_plan_.bytes});
  } catch (const Error& e) {
    const auto& largest = *std::max_element(
        plan_.ops.begin(), plan_.ops.end(),
        [](const OpInfo& a, const OpInfo& b) { return a.activation_bytes < b.activation_bytes; });
    throw Fail(e.code(), e.message(), "; these are the activations of ", options_.max_rows,
               " samples, ", memory_plan_.bytes / options_.max_rows >> 10,
               " KiB each, most of them of layer ", largest.name);
  }
}

// Points ops that read the net's input at it, and deals the step's rows into groups: only the last
// group of a batch may be short, and workers start at group borders.
void CompiledNet::BindStep(const StepContext& step, const Tensor& input) {
  CHECK(input.dtype() == options_.compute);
  CHECK_LE(step.rows, options_.max_rows);
  CHECK_EQ(input.elements(), step.rows * options_.input.elements());
  for (int op : graph_.tensors[0].consumers) {
    for (size_t k = 0; k < args_[op].x.size(); ++k) {
      if (graph_.ops[op].inputs[k] == 0) args_[op].x[k] = input.data();
    }
  }
  rows_ = step.rows;
  group_rows_.clear();
  for (int64_t row = 0; row < step.rows; row += group_) {
    group_rows_.push_back(static_cast<int32_t>(std::min(group_, step.rows - row)));
  }
  for (LayerArgs& a : args_) {
    a.group_rows = group_rows_.data();
    a.groups = static_cast<int>(group_rows_.size());
  }
}

template <class F>
void CompiledNet::Timed(double std::pair<double, double>::*which, int op, const F& run) {
  if (profile_.empty()) {
    run();
    return;
  }
  device_->Synchronize();
  const double start = clock_->NowSeconds();
  run();
  device_->Synchronize();
  profile_[op].*which += clock_->NowSeconds() - start;
}

void CompiledNet::GatherStats(int op) {
  const int64_t columns = graph_.ops[op].decl.stats_columns;
  device_->CopyColumns(args_[op].saved, columns, 0, batch_stats(), plan_.batch_stats_elements,
                       stats_column_[op], args_[op].groups, columns, Dtype::kF32);
}

// run(op) for ops [first, last), or backwards from last - 1 to first: one piece, unless each op is
// timed or one waits for other workers. Its key is all that the ops' work depends on, the memory of
// this net apart.
template <class F>
void CompiledNet::RunPiece(int first, int last, const StepContext& step, const Tensor& input,
                           bool backward, const F& run) {
  const auto all = [&] {
    for (int i = first; i < last; ++i) run(backward ? last - 1 - (i - first) : i);
  };
  if (!profile_.empty() || options_.transfers != nullptr) return all();
  pieces_->Run(
      {backward + 2 * step.train + 4 * step.accumulate, first, last, step.rows, step.batch_rows,
       reinterpret_cast<int64_t>(input.data()), static_cast<int64_t>(step.seed), 0},
      all);
}

void CompiledNet::RunForward(int op, const StepContext& step) {
  const OpNode& node = graph_.ops[op];
  Timed(&std::pair<double, double>::first, op, [&] { node.layer->Forward(step, args_[op]); });
  if (step.train && node.decl.stats_columns > 0) GatherStats(op);
}

void CompiledNet::Forward(const StepContext& step, const Tensor& input,
                          const std::function<void(int op)>& before_op) {
  CHECK(options_.train || !step.train) << "a net for evaluation";
  BindStep(step, input);
  if (draws_ && step.train) first_sample_.Upload(&step.first_sample);
  for (int first = 0; first < Ops();) {
    if (before_op && call_before_[first]) before_op(first);
    int last = first + 1;
    while (last < Ops() && !(before_op && call_before_[last])) ++last;
    if (step.rows > 0) {
      RunPiece(first, last, step, input, false, [&](int op) { RunForward(op, step); });
    }
    first = last;
  }
}

Tensor CompiledNet::RowsOf(int block, Dtype dtype, const Shape& sample) const {
  std::vector<int64_t> dims = {rows_};
  dims.insert(dims.end(), sample.dims().begin(), sample.dims().end());
  return memory_.Slice(memory_plan_.blocks[block].offset, dtype, Shape(std::move(dims)));
}

Tensor CompiledNet::outputs() {
  return RowsOf(memory_plan_.value[graph_.output], Dtype::kF32, Shape{output_shape().elements()});
}

Tensor CompiledNet::output_gradient() {
  CHECK(options_.train) << "a net for evaluation";
  const int block = graph_.loss < 0 ? -1 : memory_plan_.gradient[graph_.loss];
  if (block < 0) return {};
  return RowsOf(block, Dtype::kF32, Shape{graph_.tensors[graph_.loss].shape.elements()});
}

Tensor CompiledNet::input_gradient() {
  CHECK(options_.train && options_.input_gradient) << "a net without a gradient of its input";
  return RowsOf(memory_plan_.gradient[0], options_.compute, options_.input);
}

Tensor CompiledNet::next_input() {
  if (memory_plan_.next_input < 0) return {};
  std::vector<int64_t> dims = {options_.max_rows};
  dims.insert(dims.end(), options_.input.dims().begin(), options_.input.dims().end());
  return memory_.Slice(memory_plan_.blocks[memory_plan_.next_input].offset, options_.compute,
                       Shape(std::move(dims)));
}

LossSums CompiledNet::Loss(const StepContext& step, const Tensor& labels) {
  LossSums sums;
  device_->Fill(sums_.f32(), 0, sums_.elements());
  AddLoss(step, labels, static_cast<LossSums*>(sums_.data()));
  sums_.Download(&sums);
  return options_.worker == 0 ? sums : LossSums();
}

void CompiledNet::AddLoss(const StepContext& step, const Tensor& labels, LossSums* sums) {
  if (step.rows == 0 || graph_.loss < 0) return;
  if (options_.worker > 0) sums = static_cast<LossSums*>(sums_.data());  // the first one's count
  const bool split = split_loss_ && step.train;  // in evaluation the classes are joined
  const TensorId from = split ? graph_.loss : graph_.output;
  const auto* y = static_cast<const float*>(Block(memory_plan_.value[from]));
  auto* dy = step.train ? static_cast<float*>(Block(memory_plan_.gradient[from])) : nullptr;
  const float scale = step.train ? 1.0f / static_cast<float>(step.batch_rows) : 1.0f;
  if (split) return split_loss_->Loss(y, labels.i32(), dy, scale, step.rows, sums);
  const int64_t rows = step.rows, columns = output_shape().elements();
  const bool classes = loss_ == LossKind::kSoftmaxCrossEntropy;
  CHECK_EQ(labels.elements(), classes ? rows : rows * columns);
  switch (loss_) {
    case LossKind::kSoftmaxCrossEntropy:
      return device_->SoftmaxCrossEntropy(y, labels.i32(), dy, scale, rows, columns,
                                          step.train ? label_smoothing_ : 0, sums);
    case LossKind::kSquaredError:
      return device_->SquaredError(y, labels.f32(), dy, scale, rows, columns, sums);
    case LossKind::kLogistic:
      return device_->Logistic(y, labels.f32(), dy, scale, rows, columns, sums);
  }
}

void CompiledNet::RunBackward(int op, const StepContext& step) {
  const OpNode& node = graph_.ops[op];
  node.layer->Backward(step, args_[op]);
  for (size_t k = 0; k < node.inputs.size(); ++k) {
    if (!memory_plan_.targets[op][k].add) continue;
    const TensorInfo& x = graph_.tensors[node.inputs[k]];
    void* sum = Block(memory_plan_.gradient[node.inputs[k]]);
    device_->Add(sum, args_[op].dx[k], sum, step.rows * x.shape.elements(), x.dtype);
  }
}

void CompiledNet::Backward(const StepContext& step, const Tensor& input,
                           const std::function<void(int op)>& after_op) {
  CHECK(options_.train && step.train);
  BindStep(step, input);
  const auto run = [&](int op) {
    if (!graph_.RunsBackward(op)) return;
    if (step.rows > 0) {
      Timed(&std::pair<double, double>::second, op, [&] { RunBackward(op, step); });
    } else if (!step.accumulate) {
      parameters_.ClearGradients(op);
    }
  };
  const auto calls = [&](int op) {
    return after_op && call_after_[op] && graph_.RunsBackward(op) && HasParams(op);
  };
  for (int last = Ops(); last > 0;) {
    int first = last - 1;
    while (first > 0 && !calls(first)) --first;
    RunPiece(first, last, step, input, true, run);
    if (calls(first)) after_op(first);
    last = first;
  }
}

}  // namespace

int64_t NetPlan::parameters() const {
  int64_t sum = 0;
  for (const OpInfo& op : ops) sum += op.parameters;
  return sum;
}

NetPlan PlanNet(const NetSpec& spec, const NetOptions& options) {
  const Graph graph = CompileNet(spec, options, GroupOf(spec));
  const MemoryPlan memory = PlanMemory(graph, options.max_rows, options.train, options.next_input);
  return DescribeNet(graph, memory, LayOutParameters(graph), options, GroupOf(spec));
}

std::shared_ptr<const SplitPlan> PlanSplitNet(const NetSpec& spec, const NetOptions& options,
                                              const SplitSpec& split) {
  Graph graph = CompileNet(spec, options, GroupOf(spec));
  return std::make_shared<const SplitPlan>(PlanSplit(split, spec.loss, &graph));
}

std::unique_ptr<Net> Net::Build(const NetSpec& spec, const NetOptions& options) {
  return std::make_unique<CompiledNet>(spec, options);
}

}  // namespace mariana
