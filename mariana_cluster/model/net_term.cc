#include "mariana_cluster/model/net_term.h"

#include <glog/logging.h>

#include <algorithm>

namespace mariana {

NetTerm::NetTerm(const NetSpec& spec, const std::vector<ClickTable>& tables, Pooling pooling,
                 const RowPlan& plan, const ClickModel::Options& options)
    : kernels_(&UsableClickKernels().front()),
      pooling_(pooling),
      column_(plan.FieldNames().size(), -1) {
  for (size_t f = 0; f < column_.size(); ++f) {
    for (const ClickTable& t : tables) {
      if (t.embedding < 0 || !std::count(t.fields.begin(), t.fields.end(), f)) continue;
      column_[f] = static_cast<int32_t>(embedded_);
      embedded_ += t.embedding_size;
    }
  }
  columns_ = embedded_ + plan.dense_columns();
  NetOptions net;
  net.device = options.device;
  net.max_rows = options.max_rows;
  net.input = Shape{columns_};
  net.outputs = 1;
  net.compute = options.compute;
  net.train = options.train;
  net.input_gradient = options.train && embedded_ > 0;
  net_ = options.make_net ? options.make_net(net) : Net::Build(spec, net);
  net_->Initialize(options.seed);
  input_ = Tensor(options.device, options.compute, Shape{options.max_rows, columns_});
  row_.resize(static_cast<size_t>(columns_));
}

void NetTerm::Forward(const StepContext& step, const RowBatch& rows,
                      const std::vector<View>& tables, float* logits) {
  if (rows.rows == 0) return;
  CHECK_LE(rows.rows, input_.shape()[0]);
  CHECK_EQ(rows.dense_columns, columns_ - embedded_);
  const Tensor input = input_.Rows(0, rows.rows);
  const bool bf16 = input.dtype() == Dtype::kBF16;
  for (int64_t r = 0; r < rows.rows; ++r) {
    float* x = bf16 ? row_.data() : input.f32() + r * columns_;
    std::fill_n(x, embedded_, 0.0f);
    for (const View& view : tables) kernels_->pool(view.term, PoolOf(view), r, x);
    std::copy_n(rows.dense.data() + r * rows.dense_columns, rows.dense_columns, x + embedded_);
    if (bf16) kernels_->to_bf16(x, input.bf16() + r * columns_, columns_);
  }
  net_->Forward(step, input);
  const float* outputs = net_->outputs().f32();
  for (int64_t r = 0; r < rows.rows; ++r) logits[r] += outputs[r];
}

void NetTerm::Backward(const StepContext& step, const std::vector<View>& tables, const float* g) {
  if (step.rows == 0) {
    if (!step.accumulate) net_->options().device->Fill(net_->grads(), 0, net_->arena_elements());
    return;
  }
  if (const Tensor gradient = net_->output_gradient(); !gradient.empty()) {
    std::copy_n(g, step.rows, gradient.f32());
  }
  net_->Backward(step, input_.Rows(0, step.rows));
  if (embedded_ == 0) return;
  const Tensor dx = net_->input_gradient();
  const bool bf16 = dx.dtype() == Dtype::kBF16;
  for (int64_t r = 0; r < step.rows; ++r) {
    if (bf16) kernels_->from_bf16(dx.bf16() + r * columns_, row_.data(), embedded_);
    const float* row = bf16 ? row_.data() : dx.f32() + r * columns_;
    for (const View& view : tables) kernels_->pool_backward(view.term, PoolOf(view), r, row);
  }
}

}  // namespace mariana
