#include "common/train/train_spec.h"

namespace mariana {

void CheckpointSpec::Describe(Fields* f) {
  f->Int("every_steps", &every_steps, "Save every so many steps; 0: only at ends of epochs.",
         Rule().Min(0));
  f->Int("every_epochs", &every_epochs, "Save at the end of every so many epochs.", Rule().Min(1));
  f->Int("keep", &keep, "Newest checkpoints to keep, beside the best one.", Rule().Min(1));
  if (!may_save_changes) return;
  f->Int(
      "full_every", &full_every,
      "Of so many checkpoints one is full, the others hold the rows of tables that changed since "
      "the one before; 1: all are full.",
      Rule().Min(1).Max(1000));
}

void TrainSpec::Describe(Fields* f) {
  f->Int("epochs", &epochs, "Passes over the training set.", Rule().Min(1).Max(1000000));
  f->Int("max_steps", &max_steps, "End after so many steps in all; 0: no such end.", Rule().Min(0));
  f->Int("batch_size", &batch_size, "Samples per step, over all devices.",
         Rule().Min(1).Max(1 << 24));
  f->Int("accumulate", &accumulate,
         "Parts that each device computes its share in, to need less memory; the step is the same.",
         Rule().Min(1).Max(4096));
  DescribePrecision(f,
                    "Of activations and matrix products; parameters and gradients are fp32. On "
                    "GPUs fp32 multiplies in TF32, fp32_strict does not.");
  f->Section("optimizer", &optimizer, "How values follow gradients.");
  f->Section("schedule", &schedule, "The learning rate over time.");
  f->Section("checkpoint", &checkpoint, "When to save.");
  f->Int("patience", &patience,
         "Stop after so many epochs without a better held-out result; 0: never.", Rule().Min(0));
  f->Path("start_from", &start_from, PathKind::kInput,
          "Model (run directory, checkpoint or .safetensors) whose values a new run starts with.");
}

void TrainSpec::DescribePrecision(Fields* f, const char* text) {
  f->Choice("precision", &precision,
            {{"fp32", Precision::kFp32},
             {"fp32_strict", Precision::kFp32Strict},
             {"bf16", Precision::kBf16}},
            text);
}

void TrainSpec::DescribeIdentity(Fields* f) {
  f->Int("batch_size", &batch_size, "");
  DescribePrecision(f, "");
  f->Section("optimizer", &optimizer, "");
  f->Section("schedule", &schedule, "");
}

void RequireBlocks(Fields* f, const TrainSpec& train, const ParallelSpec& parallel, double ema) {
  if (parallel.exchange != ExchangeChoice::kBlock) return;
  f->Require(train.optimizer.type == OptimizerType::kSgd, "parallel",
             "exchange: block needs train.optimizer.type: sgd, whose state starts afresh in every "
             "block");
  f->Require(ema == 0, "parallel", "exchange: block has no average of values: remove train.ema");
  f->Require(parallel.split == 1, "parallel", "exchange: block goes with split: 1 alone");
  f->Require(train.checkpoint.every_steps % parallel.block_steps == 0, "parallel",
             "block_steps: train.checkpoint.every_steps must be a multiple of it");
}

void LogSpec::Describe(Fields* f) {
  f->Int("every_steps", &every_steps, "A line of metrics every so many steps.", Rule().Min(1));
  f->Bool("profile", &profile, "Time every layer, for the report (costs about a percent).");
}

DataParallelOptions WorkerOptions(const TrainSpec& train, const ParallelSpec& parallel,
                                  Topology topology,
                                  const std::vector<std::unique_ptr<Device>>& devices) {
  DataParallelOptions o;
  for (const auto& device : devices) o.devices.push_back(device.get());
  o.compute = train.compute();
  o.batch_size = train.batch_size;
  o.accumulate = train.accumulate;
  o.split = parallel.split_spec();
  o.optimizer = train.optimizer;
  o.topology = topology;
  o.bucket_bytes = parallel.bucket_bytes;
  o.overlap = parallel.overlap;
  o.collect_wire = o.distribute_wire = parallel.wire;
  if (parallel.exchange == ExchangeChoice::kBlock) {
    o.distribute_wire = Wire::kF32;  // a block starts from the values themselves
    o.block = {parallel.block_steps, parallel.block_momentum, parallel.block_nesterov};
  }
  return o;
}

int64_t RowsAtATime(const TrainSpec& train, int groups) {
  const int64_t share = DealOut(train.batch_size, 1, groups)[0].rows;
  return DealOut(share, 1, static_cast<int>(train.accumulate))[0].rows;
}

}  // namespace mariana
