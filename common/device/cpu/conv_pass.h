// One pass of a convolution on oneDNN: forward, or the gradient of its input or of its weights.
// Every call runs on one thread (onednn.h): the caller splits the images.
//
// Threading: Prepare by one thread, then Run by many.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "common/device/device.h"

namespace mariana {

// Where a weight lies that has coordinates (output o, input i of its group, row h, column w).
// oneDNN's layouts: dimensions in some order, some of them in blocks that come last.
struct WeightLayout {
  struct Block {
    int dimension;  // 0..4: group, output of the group, input of the group, row, column
    int64_t size;
  };
  int64_t dims[5] = {}, strides[5] = {};
  std::vector<Block> blocks;  // outermost first
  int64_t elements = 0;       // padding included

  int64_t At(int64_t o, int64_t i, int64_t h, int64_t w) const;
  // The layout [o / panel, h, w, i, panel], or 0 when it is another.
  int64_t Panel() const;
  bool operator==(const WeightLayout& other) const;
};

enum class ConvPassKind { kForward, kInputGradient, kWeightGradient };

class ConvPass {
 public:
  class Compiled;  // for a number of images

  // Error(kUsage) when oneDNN has none, such as bf16 on a CPU without AVX-512.
  ConvPass(const ConvSpec& spec, ConvPassKind kind, int64_t images);
  ~ConvPass();

  // Of the weights, or of their gradient (fp32); the same for any number of images.
  const WeightLayout& layout() const;
  const Compiled* Prepare(int64_t images);
  static int64_t ScratchBytes(const Compiled* c);
  // Which of the arrays is written follows from the pass. b is null but in a forward pass with
  // bias. scratch: 64-byte aligned.
  static void Run(const Compiled* c, const void* x, const void* w, const float* b, const void* y,
                  void* scratch);

 private:
  struct State;
  std::unique_ptr<State> state_;
};

}  // namespace mariana
