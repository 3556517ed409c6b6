// Convolutions by products of our own, where they beat oneDNN's: with sixteen outputs, and the
// gradient of the input where the stride is more than one (each of stride x stride classes of
// pixels is a convolution of dy with every so-manieth weight; Dumoulin and Visin 2016). NHWC,
// fp32, one group. An image is copied with its padding first, so that no product has an edge.
//
// Weights: [outputs / kPanel, height, width, inputs, kPanel], what is written being the output.
//
// Threading: Run by many threads, each with scratch memory of its own.
#pragma once

#include <cstdint>
#include <vector>

#include "common/device/cpu/kernels.h"
#include "common/device/device.h"

namespace mariana {

class DirectConvolution {
 public:
  static DirectConvolution Forward(const ConvSpec& spec, int64_t panel, const Kernels& kernels);
  // From dy to dx; no dilation. Its outputs are the convolution's inputs, and its window is not
  // turned.
  static DirectConvolution InputGradient(const ConvSpec& spec, int64_t panel,
                                         const Kernels& kernels);

  int64_t scratch_floats() const { return padded_.elements(); }
  // One image. `bias`: the outputs start from it, if not null.
  void Run(const float* from, const float* w, const float* bias, float* to, float* scratch) const;

 private:
  // Outputs (row0 + row_step * i, col0 + col_step * j) for i < rows, j < cols, each the sum over
  // taps of a pixel of the padded image times a matrix.
  struct Class {
    int64_t row0, row_step, rows, col0, col_step, cols;
    int64_t from_row, from_col;            // of the first tap at the first output, padded image
    int64_t from_row_step, from_col_step;  // from one output to the next
    int64_t taps_h, taps_w, depth;         // depth: products of a tap
    int64_t tap_row, tap_col;              // pixels from one tap to the next
    bool three;                            // three taps side by side, taken at once
    int64_t w_first, w_row, w_col;         // weights likewise
  };
  DirectConvolution(const ConvSpec& spec, int64_t panel, const Kernels& kernels)
      : kernels_(kernels), panel_(panel), window_(spec.window) {}
  void Pad(const float* from, float* padded) const;
  void RunClass(const Class& c, const float* padded, const float* w, const float* bias,
                float* to) const;

  const Kernels& kernels_;
  const int64_t panel_;
  const Window window_;
  ImageSize from_, to_, padded_;
  int64_t top_ = 0, left_ = 0;  // of the image in its padding
  int64_t panel_floats_ = 0;    // of the weights of a panel
  std::vector<Class> classes_;
};

}  // namespace mariana
