// The gradient of a convolution's weights, by products of our own: for each place (h, w) in the
// window, dw[i, o] is the sum over pixels of x moved by that place times dy. Sums stay in
// registers over a block of pixels whose dy stays in the first cache. NHWC, fp32, one group;
// weights in panels, [outputs / panel, height, width, inputs, panel].
//
// With few input channels (an image's three), a row of the window is taken as one: width times
// inputs neighbours, read from rows that were copied with their padding.
//
// Threading: as the device. Threads share the outputs where there are many, else the images; then
// what each adds up is added in order.
#pragma once

#include <cstdint>
#include <vector>

#include "common/device/cpu/context.h"
#include "common/device/device.h"

namespace mariana {

class ConvWeightGradient {
 public:
  // Whether there is one for such a convolution; panel as WeightLayout::Panel.
  static bool Usable(const ConvSpec& spec, int64_t panel);
  ConvWeightGradient(const ConvSpec& spec, int64_t panel, const CpuContext& context);

  void Run(const float* x, const float* dz, float* dw, int64_t images, bool accumulate);

 private:
  struct Range {
    int64_t begin, end;
    int64_t size() const { return end - begin; }
  };
  struct Chunk {  // of outputs: at most 64
    int64_t output, width;
    int64_t at;  // in the weights
  };
  struct Block {  // of pixels
    Range images, rows;
  };
  template <class F>
  void EachBlock(Range images, int64_t width, const F& f) const;
  static void Gather(const float* from, const ImageSize& size, const Block& b, int64_t channel,
                     int64_t width, int64_t to_pixel, float* to);
  Block Behind(const Block& b) const;  // the rows of x that a block is made of
  void Add(const Chunk& c, const Block& b, const float* x, const float* dz, float* dw, bool add,
           float* scratch) const;
  void AddPlace(const Chunk& c, const Block& b, const Block& behind, int64_t kh, int64_t kw,
                const float* x_tile, int64_t lanes, const float* dy_tile, int64_t height,
                float* sums, bool add) const;
  void PadRows(const float* dz, const Block& b, float* rows) const;
  void AddThree(const Block& b, const Block& behind, int64_t kh, const float* x_tile, int64_t lanes,
                const float* dy_tile, int64_t height, float* sums, bool add) const;
  static Range Inside(Range range, int64_t place, int64_t stride, int64_t size);
  void AddMerged(const Chunk& c, const Block& b, const float* rows, const float* dz, float* dw,
                 bool add) const;
  void CopyRows(const Block& b, const float* x, float* rows) const;
  void RunImages(Range images, const float* x, const float* dz, float* dw, bool accumulate,
                 float* scratch) const;
  void RunChunk(const Chunk& c, Range images, const float* x, const float* dz, float* dw,
                bool accumulate, float* scratch) const;
  int64_t Scratch(int64_t images) const;
  template <class F>
  void Tiles(int64_t n, int64_t width, const F& f) const;

  int64_t BlockPixels(int64_t width) const;
  int64_t RowsBehind(int64_t outputs) const;  // rows of x that so many rows of y are made of

  const ConvSpec spec_;
  const CpuContext context_;
  const int64_t panel_, elements_;
  const bool merged_, three_;
  const int64_t pitch_;  // floats of a copied row
  std::vector<Chunk> chunks_;
};

}  // namespace mariana
