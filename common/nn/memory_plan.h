// Where activations and their gradients live: lifetimes over one step, and offsets into a single
// block of device memory such that what is alive at the same time does not overlap.
//
// Time is counted in ticks: op i runs forward at tick i, the loss at tick n (the number of ops),
// op i runs backward at tick 2n - i. Pure functions.
#pragma once

#include <vector>

#include "common/nn/graph.h"

namespace mariana {

// Bytes needed from tick `first` to tick `last`, both included.
struct MemoryBlock {
  int64_t bytes = 0;
  int first = 0, last = 0;
  int64_t offset = 0;  // set by PlaceBlocks; a multiple of 64
  int64_t turn = 0;    // placed as if it were of so many bytes; 0: of as many as it is
};

// Sets the offsets; returns the size of the whole. Largest first, each at the lowest offset that
// is free during its life (Pisarchyk and Lee, "Efficient memory management for deep neural net
// inference", 2020: greedy by size).
int64_t PlaceBlocks(std::vector<MemoryBlock>* blocks);

struct MemoryPlan {
  std::vector<MemoryBlock> blocks;
  int64_t bytes = 0;

  // Indices into blocks; -1 where there is none (the net's input, gradients not needed). The
  // gradient of the net's input is kept to the end of the step.
  std::vector<int> value, gradient;  // by tensor
  std::vector<int> saved;            // by op
  // Where an op writes the gradient of its k-th input: the tensor's own gradient block if the op
  // is the first (in backward order) to write it, else a block of its own, added to it at once.
  struct GradientTarget {
    int block = -1;
    bool add = false;
  };
  std::vector<std::vector<GradientTarget>> targets;  // by op and input

  // Room for the next step's input, free from the end of next_input_after's backward pass to the
  // end of the step, where the rest leaves it; -1: none.
  int next_input = -1, next_input_after = -1;
};

// The layers of the graph are set up. train: activations are kept until their last backward use.
// next_input: room for it is looked for, which may take a hundredth more memory in all.
MemoryPlan PlanMemory(const Graph& graph, int64_t max_rows, bool train, bool next_input = false);

}  // namespace mariana
