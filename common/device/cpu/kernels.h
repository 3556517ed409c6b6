// The inner loops of the CPU device, as a table of functions over consecutive elements or rows,
// compiled once per instruction set (kernels/*.cc with MARIANA_ISA = avx2, avx512; BUILD gives
// the compiler flags) and chosen once at run time. They run on one thread; the device splits the
// work. Row-major; `stride`s are in elements; arguments may alias only when equal.
// Nothing here throws or allocates. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "common/device/device.h"

namespace mariana {

constexpr int kPanel = 32;  // columns of a panel, and of a tile

// A tile of a product: c [rows, kPanel] (dense) = or += sum over k steps of a column of a times a
// row of b. b is a panel [k, kPanel]; a is
//   packed:   [k, rows], steps of one block of kPanel steps following the other, or
//   a panel:  element (step s, row i) at (s / kPanel) * a_block + i * kPanel + s % kPanel.
struct TileArgs {
  const float* a;
  int64_t a_block;
  bool a_is_panel;
  const float* b;
  int64_t k;
  float* c;
  int64_t rows;  // 1..tile_rows
  bool add;
  // Fetched into the second cache on the way: 64 floats at next + i * next_block for block i.
  const float* next;
  int64_t next_block;
};

// A tile of a convolution: c [rows, width], rows c_stride apart, = or += the sum over three nested
// loops of rows of a times rows of b (width elements). conv_tile: the elements of a are side by
// side; conv_lanes: a_lane apart, and the innermost step of a is 1.
struct ConvTile {
  const float *a, *b;
  float* c;
  int64_t n[3], a_step[3], b_step[3];  // of the loops, outermost first
  int64_t a_lane, c_stride;
  int64_t c_group = 16;  // from 16 columns of c to the next
  int64_t b_group = 0;   // of conv_three: from one row of b to the next
  int64_t rows;          // at most conv_rows[width / 16 - 1]
  int64_t width;         // 16, 32, 48 or 64
  bool add;
};

// A linear layer of few outputs: rows [in] to rows [out], dense.
struct NarrowShape {
  int64_t rows, in, out;
  Activation activation;
  Dtype input, output;
};

// Rows of `vectors` vectors of `size`, of which each pair makes a product.
struct DotsShape {
  int64_t vectors, size;
  int64_t products() const { return vectors * (vectors - 1) / 2; }
  int64_t scratch() const {  // floats, for any instruction set
    const int64_t in = vectors * size, out = products();
    return 16 * (2 * in + out + (in > out ? in : out));
  }
};

// Rows of `width` values, `stride` apart.
struct NormBlock {
  int64_t rows, stride, width;
};
constexpr int64_t kNormLanes = 128;  // the usual width, and the largest

struct Kernels {
  const char* isa;  // "avx512"

  // ---- element-wise, n elements (kernels/elementwise.cc)
  void (*fill)(float* x, float value, int64_t n);
  void (*add)(const void* a, const void* b, void* y, int64_t n, Dtype t);
  void (*activate)(Activation a, const void* x, void* y, int64_t n, Dtype t);
  void (*activate_backward)(Activation a, const void* y, const void* dy, void* dx, int64_t n,
                            Dtype t);
  void (*leaky_relu)(const void* x, void* y, float slope, int64_t n, Dtype t);
  // dx = dy where y > 0, slope * dy elsewhere.
  void (*leaky_relu_backward)(const void* y, const void* dy, void* dx, float slope, int64_t n,
                              Dtype t);
  void (*multiply_add)(const void* a, const void* b, const void* c, void* y, int64_t n, Dtype t);
  // da = dy * b, db = dy * a; null where not wanted.
  void (*multiply_add_backward)(const void* a, const void* b, const void* dy, void* da, void* db,
                                int64_t n, Dtype t);
  void (*gelu)(const void* x, void* y, int64_t n, Dtype t);
  void (*gelu_backward)(const void* x, const void* dy, void* dx, int64_t n, Dtype t);
  void (*convert)(const void* x, Dtype from, void* y, Dtype to, int64_t n);
  // Elements first .. first + n of the flat index that the draws are numbered by.
  void (*dropout)(const void* x, void* y, int64_t first, int64_t n, float rate, uint64_t seed,
                  uint64_t stream, Dtype t);

  // ---- around a linear layer (kernels/linear.cc)
  // y = a(c + b), c [rows, cols] dense with rows of kPanel; b may be null.
  void (*bias_activate)(Activation a, const float* c, const float* b, float* y, int64_t y_stride,
                        int64_t rows, int64_t cols);
  // dy *= a'(y) in place, fp32; db = or += its column sums (skipped when null), summed from the
  // first row to the last. panels: the result again, [ceil(cols / kPanel), rows, kPanel], zero
  // beyond cols; a panel begins every panel_stride.
  void (*slope_and_panels)(Activation a, const float* y, float* dy, int64_t stride, int64_t rows,
                           int64_t cols, float* db, bool accumulate, float* panels,
                           int64_t panel_stride);
  // The same without panels; copy16, when not null, receives the result rounded to bf16 (same
  // stride).
  void (*slope_and_sums)(Activation a, const void* y, void* dy, int64_t stride, int64_t rows,
                         int64_t cols, float* db, bool accumulate, uint16_t* copy16, Dtype t);

  // ---- fp32 products (kernels/gemm.cc)
  int64_t tile_rows;
  void (*tile)(const TileArgs& args);
  // dst[j, i] = src[i, j] for i < rows, j < cols.
  void (*transpose)(const float* src, int64_t src_stride, int64_t rows, int64_t cols, float* dst,
                    int64_t dst_stride);
  // src [rows, cols] to tiles of tile_rows columns (the last may have fewer): each [rows, width].
  void (*gather_tiles)(const float* src, int64_t src_stride, int64_t rows, int64_t cols,
                       float* dst);

  // ---- batch normalisation of a block; parameters and sums have b.width values
  // (kernels/batch_norm.cc)
  // Sums of x - shift and of its squares, written.
  void (*norm_sums)(const NormBlock& b, const void* x, const float* shift, float* sum,
                    float* square, Dtype t);
  // y = (x - mean) * slope + beta, + residual when there is one, ReLU if so wished.
  void (*norm_apply)(const NormBlock& b, const void* x, const void* residual, const float* mean,
                     const float* slope, const float* beta, bool relu, void* y, Dtype t);
  // With g = dy where y > 0 (everywhere if y is null) and 0 elsewhere: sums of g and of
  // g * (x - mean), written; g itself to copy, if not null.
  void (*norm_backward_sums)(const NormBlock& b, const void* x, const void* y, const void* dy,
                             const float* mean, void* copy, float* sum, float* product, Dtype t);
  // dx = slope * (g - shift - (x - mean) * tilt).
  void (*norm_backward)(const NormBlock& b, const void* x, const void* y, const void* dy,
                        const float* mean, const float* slope, const float* shift,
                        const float* tilt, void* dx, Dtype t);

  // ---- a linear layer of few outputs (kernels/narrow.cc); w and dw are [out, in]
  void (*narrow_forward)(const NarrowShape& s, const void* x, const float* w, const float* b,
                         void* y);
  // Columns [begin, end) of dw, of all rows.
  void (*narrow_weights)(const NarrowShape& s, const void* x, const void* dz, int64_t begin,
                         int64_t end, float* dw, bool accumulate);
  void (*narrow_input)(const NarrowShape& s, const void* dz, const float* w, void* dx);

  // ---- products of pairs of vectors (kernels/dots.cc); scratch: s.scratch() floats
  void (*dots)(const DotsShape& s, const void* x, void* y, int64_t rows, float* scratch, Dtype t);
  void (*dots_backward)(const DotsShape& s, const void* x, const void* dy, void* dx, int64_t rows,
                        float* scratch, Dtype t);

  // ---- images
  int64_t conv_rows[4];
  void (*conv_tile)(const ConvTile& t);  // kernels/conv.cc
  void (*conv_lanes)(const ConvTile& t);
  // width is 16, n[1] is 1; a has rows + 2 lanes, each of which meets three rows of b: row i of c
  // sums lanes i, i + 1 and i + 2. At most conv_three_rows.
  void (*conv_three)(const ConvTile& t);
  int64_t conv_three_rows;
  // One image; saved: a byte an output, its place in the window (kernels/pooling.cc). dx is
  // written.
  void (*pool)(const PoolSpec& spec, const void* x, void* y, uint8_t* saved);
  void (*pool_backward)(const PoolSpec& spec, const void* dy, const uint8_t* saved, void* dx);
  // Rows of n channels; scratch: 3 * n + 2 * spec.size floats (kernels/lrn.cc).
  void (*lrn)(const LrnSpec& spec, const void* x, void* y, int64_t pixels, int64_t n,
              float* scratch, Dtype t);
  void (*lrn_backward)(const LrnSpec& spec, const void* x, const void* dy, void* dx, int64_t pixels,
                       int64_t n, float* scratch, Dtype t);

  // ---- losses, one row (kernels/losses.cc). They return the row's loss and set *correct.
  double (*softmax_cross_entropy)(const float* x, int32_t label, float* gradient, float scale,
                                  int64_t cols, float smoothing, bool* correct);
  // Of classes split into parts (Device::MakeSplitSoftmax); `label` is among this part's n where it
  // is in [0, n). `summaries`: of all parts, this one's is number `part`.
  void (*softmax_summary)(const float* x, int64_t label, int64_t n, float* summary);
  double (*softmax_part)(const float* x, int64_t label, const SplitSoftmaxSpec& spec,
                         const float* summaries, float* gradient, float scale, bool* correct);
  double (*squared_error)(const float* x, const float* target, float* gradient, float scale,
                          int64_t cols, bool* correct);
  double (*logistic)(const float* x, const float* target, float* gradient, float scale,
                     int64_t cols, bool* correct);
  void (*log_softmax)(const float* x, float* y, int64_t cols);
  int32_t (*arg_max)(const float* x, int64_t cols);  // the first of equals

  // ---- parameters (kernels/update.cc)
  void (*update)(const OptimizerStep& step, const float* g, float* w, uint16_t* w16, float* slot0,
                 float* slot1, int64_t n);
  double (*sum_of_squares)(const float* x, int64_t n);
};

// What this CPU can run, the best first. Error(kUsage) when it lacks AVX2.
const std::vector<Kernels>& UsableKernels();

}  // namespace mariana
