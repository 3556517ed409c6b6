#include "common/device/cpu/conv_weights.h"

#include <algorithm>
#include <cstring>
#include <type_traits>

namespace mariana {
namespace {

constexpr int64_t kVector = 16;  // outputs are taken in multiples of
constexpr int64_t kHalf = kVector / 2;
constexpr int64_t kChunk = 4 * kVector;
constexpr int64_t kDyFloats = 6 << 10;        // of a block, in the first cache
constexpr int64_t kMergedChannels = kVector;  // fewer are taken with their neighbours

int64_t Ceil(int64_t n, int64_t d) { return (n + d - 1) / d; }
int64_t RoundUp(int64_t n, int64_t d) { return Ceil(n, d) * d; }

}  // namespace

bool ConvWeightGradient::Usable(const ConvSpec& spec, int64_t panel) {
  const Window& w = spec.window;
  const int64_t in = spec.in.channels, out = spec.out.channels;
  const bool once = w.kernel_h * w.kernel_w == 1;  // then gathering does not pay
  return spec.input == Dtype::kF32 && spec.groups == 1 && panel > 0 && panel % kVector == 0 &&
         out % kVector == 0 && (in >= kMergedChannels || w.dilation_w == 1) && !once;
}

ConvWeightGradient::ConvWeightGradient(const ConvSpec& spec, int64_t panel,
                                       const CpuContext& context)
    : spec_(spec),
      context_(context),
      panel_(panel),
      elements_(RoundUp(spec.out.channels, panel) * spec.window.kernel_h * spec.window.kernel_w *
                spec.in.channels),
      merged_(spec.in.channels < kMergedChannels),
      three_(!merged_ && spec.out.channels == kVector && spec.window.kernel_w == 3 &&
             spec.window.stride_w == 1 && spec.window.dilation_w == 1 && spec.window.left <= 2 &&
             spec.window.right <= 2),
      pitch_(((spec.out.width - 1) * spec.window.stride_w + spec.window.kernel_w) *
             spec.in.channels) {
  const int64_t per_panel = spec.window.kernel_h * spec.window.kernel_w * spec.in.channels * panel;
  for (int64_t p = 0; p < spec.out.channels; p += panel) {
    const int64_t end = std::min(panel, spec.out.channels - p);
    for (int64_t o = 0; o < end; o += kChunk) {
      chunks_.push_back({p + o, std::min(kChunk, end - o), p / panel * per_panel + o});
    }
  }
}

int64_t ConvWeightGradient::BlockPixels(int64_t width) const { return kDyFloats / width; }

int64_t ConvWeightGradient::RowsBehind(int64_t outputs) const {
  const Window& w = spec_.window;
  return (outputs - 1) * w.stride_h + w.dilation_h * (w.kernel_h - 1) + 1;
}

// f(block) over the pixels of images, some rows of one image or some whole images at a time.
template <class F>
void ConvWeightGradient::EachBlock(Range images, int64_t width, const F& f) const {
  const int64_t pixels = spec_.out.height * spec_.out.width, budget = BlockPixels(width);
  const int64_t together = std::max<int64_t>(1, budget / pixels);
  const int64_t rows = std::clamp<int64_t>(budget / spec_.out.width, 1, spec_.out.height);
  for (int64_t n = images.begin; n < images.end; n += together) {
    for (int64_t r = 0; r < spec_.out.height; r += rows) {
      f(Block{{n, std::min(images.end, n + together)}, {r, std::min(spec_.out.height, r + rows)}});
    }
  }
}

// f(first row of a tile, rows) over n rows in about equal tiles.
template <class F>
void ConvWeightGradient::Tiles(int64_t n, int64_t width, const F& f) const {
  const Kernels& k = *context_.kernels;
  const int64_t tiles = Ceil(n, k.conv_rows[width / kVector - 1]);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t begin = n * i / tiles;
    f(begin, n * (i + 1) / tiles - begin);
  }
}

// The pixels [images, rows, cols] of an image array, `width` of their channels from `channel` on,
// side by side: rows of a power of two of bytes would keep each other out of the first cache.
// Pixels are to_pixel apart; what is too much of one copy is overwritten by the next.
void ConvWeightGradient::Gather(const float* from, const ImageSize& size, const Block& b,
                                int64_t channel, int64_t width, int64_t to_pixel, float* to) {
  const int64_t pixels = b.rows.size() * size.width, c = size.channels;
  for (int64_t n = b.images.begin; n < b.images.end; ++n) {
    const float* p = from + (n * size.height + b.rows.begin) * size.width * c + channel;
    int64_t i = 0;
    const auto whole = [&](auto floats) {  // a constant: compiled to a few moves
      for (; i < pixels; ++i) std::memcpy(to + i * floats, p + i * c, floats * sizeof(float));
    };
    if (channel + to_pixel <= c) {
      switch (to_pixel / kHalf) {
        case 1: whole(std::integral_constant<int64_t, kHalf>()); break;
        case 2: whole(std::integral_constant<int64_t, kVector>()); break;
        case 4: whole(std::integral_constant<int64_t, 2 * kVector>()); break;
        case 8: whole(std::integral_constant<int64_t, kChunk>()); break;
      }
    }
    for (; i < pixels; ++i) std::copy_n(p + i * c, width, to + i * to_pixel);
    to += pixels * to_pixel;
  }
}

ConvWeightGradient::Block ConvWeightGradient::Behind(const Block& b) const {
  const Window& w = spec_.window;
  const int64_t first = b.rows.begin * w.stride_h - w.top;
  const int64_t end = first + RowsBehind(b.rows.size());
  const int64_t begin = std::clamp<int64_t>(first, 0, spec_.in.height);
  return {b.images, {begin, std::clamp<int64_t>(end, begin, spec_.in.height)}};
}

void ConvWeightGradient::Add(const Chunk& c, const Block& b, const float* x, const float* dz,
                             float* dw, bool add, float* scratch) const {
  const Window& w = spec_.window;
  const int64_t in = spec_.in.channels;
  const Block behind = Behind(b);
  const int64_t pixels = b.images.size() * b.rows.size() * spec_.out.width;
  float *dy_tile = scratch, *x_tile = scratch + pixels * c.width;
  if (three_) {
    PadRows(dz, b, dy_tile);
    x_tile = scratch + b.images.size() * b.rows.size() * (spec_.out.width + 4) * kVector;
  } else {
    Gather(dz, spec_.out, b, c.output, c.width, c.width, dy_tile);
  }
  Tiles(in, three_ ? 3 * kVector : c.width, [&](int64_t first, int64_t height) {
    const int64_t lanes = height <= kHalf ? kHalf : kVector;
    Gather(x, spec_.in, behind, first, height, lanes, x_tile);
    for (int64_t kh = 0; kh < w.kernel_h; ++kh) {
      if (three_) {
        AddThree(b, behind, kh, x_tile, lanes, dy_tile, height,
                 dw + (kh * w.kernel_w * in + first) * panel_, add);
        continue;
      }
      for (int64_t kw = 0; kw < w.kernel_w; ++kw) {
        AddPlace(c, b, behind, kh, kw, x_tile, lanes, dy_tile, height,
                 dw + c.at + ((kh * w.kernel_w + kw) * in + first) * panel_, add);
      }
    }
  });
}

// The rows of dy of a block between two zero pixels on either side.
void ConvWeightGradient::PadRows(const float* dz, const Block& b, float* rows) const {
  const int64_t width = spec_.out.width * kVector, zeros = 2 * kVector;
  for (int64_t n = b.images.begin; n < b.images.end; ++n) {
    for (int64_t r = b.rows.begin; r < b.rows.end; ++r, rows += width + 2 * zeros) {
      std::fill_n(rows, zeros, 0.0f);
      std::copy_n(dz + (n * spec_.out.height + r) * width, width, rows + zeros);
      std::fill_n(rows + zeros + width, zeros, 0.0f);
    }
  }
}

// With 16 outputs and three places side by side: pixel v of x meets pixels v + left - 2, - 1 and 0
// of dy, which lie side by side, for places 2, 1 and 0: a product 48 columns wide.
void ConvWeightGradient::AddThree(const Block& b, const Block& behind, int64_t kh,
                                  const float* x_tile, int64_t lanes, const float* dy_tile,
                                  int64_t height, float* sums, bool add) const {
  const Window& w = spec_.window;
  const int64_t down = kh * w.dilation_h - w.top;
  const Range rows = Inside(b.rows, down, w.stride_h, spec_.in.height);
  const int64_t x_row = spec_.in.width * lanes, dy_row = (spec_.out.width + 4) * kVector;
  ConvTile t{};
  t.n[0] = b.images.size();
  t.n[1] = rows.size();
  t.n[2] = spec_.in.width;
  t.a_step[0] = behind.rows.size() * x_row;
  t.a_step[1] = w.stride_h * x_row;
  t.a_step[2] = lanes;
  t.b_step[0] = b.rows.size() * dy_row;
  t.b_step[1] = dy_row;
  t.b_step[2] = kVector;
  t.a = x_tile;
  t.b = dy_tile + (rows.begin - b.rows.begin) * dy_row + w.left * kVector;
  if (rows.size() > 0) t.a += (rows.begin * w.stride_h + down - behind.rows.begin) * x_row;
  t.c_group = -spec_.in.channels * panel_;
  t.c = sums - 2 * t.c_group;
  t.c_stride = panel_;
  t.rows = height;
  t.width = 3 * kVector;
  t.add = add;
  context_.kernels->conv_tile(t);
}

// Outputs of `range` whose place in the window falls on one of `size` pixels.
ConvWeightGradient::Range ConvWeightGradient::Inside(Range range, int64_t place, int64_t stride,
                                                     int64_t size) {
  const int64_t begin = place >= 0 ? 0 : Ceil(-place, stride);
  const int64_t end = place >= size ? 0 : (size - 1 - place) / stride + 1;
  const Range r{std::max(range.begin, begin), std::min(range.end, end)};
  return r.end > r.begin ? r : Range{range.begin, range.begin};
}

// One place of the window, over the pixels where it lies inside the image.
void ConvWeightGradient::AddPlace(const Chunk& c, const Block& b, const Block& behind, int64_t kh,
                                  int64_t kw, const float* x_tile, int64_t lanes,
                                  const float* dy_tile, int64_t height, float* sums,
                                  bool add) const {
  const Window& w = spec_.window;
  const int64_t down = kh * w.dilation_h - w.top, right = kw * w.dilation_w - w.left;
  const Range rows = Inside(b.rows, down, w.stride_h, spec_.in.height);
  const Range cols = Inside({0, spec_.out.width}, right, w.stride_w, spec_.in.width);
  const int64_t x_row = spec_.in.width * lanes, dy_row = spec_.out.width * c.width;
  ConvTile t{};
  t.a = x_tile;
  t.b = dy_tile;
  t.c = sums;
  if (rows.size() * cols.size() > 0) {
    const int64_t n[3] = {b.images.size(), rows.size(), cols.size()};
    const int64_t a_step[3] = {behind.rows.size() * x_row, w.stride_h * x_row, w.stride_w * lanes};
    const int64_t b_step[3] = {b.rows.size() * dy_row, dy_row, c.width};
    std::copy_n(n, 3, t.n);
    std::copy_n(a_step, 3, t.a_step);
    std::copy_n(b_step, 3, t.b_step);
    t.a += (rows.begin * w.stride_h + down - behind.rows.begin) * x_row +
           (cols.begin * w.stride_w + right) * lanes;
    t.b += (rows.begin - b.rows.begin) * dy_row + cols.begin * c.width;
  }
  t.c_stride = panel_;
  t.rows = height;
  t.width = c.width;
  t.add = add;
  context_.kernels->conv_tile(t);
}

// Floats of a part's scratch memory.
int64_t ConvWeightGradient::Scratch(int64_t images) const {
  int64_t most = 0;
  for (const Chunk& c : chunks_) {
    EachBlock({0, images}, merged_ ? kChunk : c.width, [&](const Block& b) {
      const int64_t n = b.images.size();
      const int64_t floats = merged_ ? n * RowsBehind(b.rows.size()) * pitch_
                                     : n * (b.rows.size() * (spec_.out.width + 4) * c.width +
                                            std::min(RowsBehind(b.rows.size()), spec_.in.height) *
                                                spec_.in.width * kVector);
      most = std::max(most, floats);
    });
  }
  return RoundUp(most, kVector);
}

// The rows of x that a block is made of, padding and all: [images, rows, pitch_].
void ConvWeightGradient::CopyRows(const Block& b, const float* x, float* rows) const {
  const Window& w = spec_.window;
  const int64_t in = spec_.in.channels, behind = RowsBehind(b.rows.size());
  const int64_t before = std::min(w.left * in, pitch_);
  const int64_t inside = std::min(spec_.in.width * in, pitch_ - before);
  for (int64_t n = b.images.begin; n < b.images.end; ++n) {
    for (int64_t i = 0; i < behind; ++i, rows += pitch_) {
      const int64_t h = b.rows.begin * w.stride_h - w.top + i;
      if (h < 0 || h >= spec_.in.height) {
        std::fill_n(rows, pitch_, 0.0f);
        continue;
      }
      std::fill_n(rows, before, 0.0f);
      std::copy_n(x + (n * spec_.in.height + h) * spec_.in.width * in, inside, rows + before);
      std::fill(rows + before + inside, rows + pitch_, 0.0f);
    }
  }
}

void ConvWeightGradient::AddMerged(const Chunk& c, const Block& b, const float* rows,
                                   const float* dz, float* dw, bool add) const {
  const Window& w = spec_.window;
  const int64_t in = spec_.in.channels, out = spec_.out.channels, wide = w.kernel_w * in;
  for (int64_t kh = 0; kh < w.kernel_h; ++kh) {
    ConvTile t;
    const int64_t n[3] = {b.images.size(), b.rows.size(), spec_.out.width};
    const int64_t a_step[3] = {RowsBehind(b.rows.size()) * pitch_, w.stride_h * pitch_,
                               w.stride_w * in};
    const int64_t b_step[3] = {spec_.out.elements(), spec_.out.width * out, out};
    std::copy_n(n, 3, t.n);
    std::copy_n(a_step, 3, t.a_step);
    std::copy_n(b_step, 3, t.b_step);
    t.b = dz + b.images.begin * b_step[0] + b.rows.begin * b_step[1] + c.output;
    t.c_stride = panel_;
    t.width = c.width;
    t.add = add;
    Tiles(wide, c.width, [&](int64_t first, int64_t height) {
      t.a = rows + kh * w.dilation_h * pitch_ + first;
      t.c = dw + c.at + (kh * wide + first) * panel_;
      t.rows = height;
      context_.kernels->conv_tile(t);
    });
  }
}

void ConvWeightGradient::RunImages(Range images, const float* x, const float* dz, float* dw,
                                   bool accumulate, float* scratch) const {
  if (!merged_) {
    for (const Chunk& c : chunks_) RunChunk(c, images, x, dz, dw, accumulate, scratch);
    return;
  }
  bool add = accumulate;
  EachBlock(images, kChunk, [&](const Block& b) {
    CopyRows(b, x, scratch);
    for (const Chunk& c : chunks_) AddMerged(c, b, scratch, dz, dw, add);
    add = true;
  });
}

void ConvWeightGradient::RunChunk(const Chunk& c, Range images, const float* x, const float* dz,
                                  float* dw, bool accumulate, float* scratch) const {
  bool add = accumulate;
  EachBlock(images, c.width, [&](const Block& b) {
    Add(c, b, x, dz, dw, add, scratch);
    add = true;
  });
}

void ConvWeightGradient::Run(const float* x, const float* dz, float* dw, int64_t images,
                             bool accumulate) {
  const bool padded = spec_.out.channels % panel_ != 0;
  if (padded && !accumulate) std::fill_n(dw, elements_, 0.0f);
  const int64_t threads = context_.pool->threads(), scratch = Scratch(images);
  const int64_t chunks = static_cast<int64_t>(chunks_.size());
  if (!merged_ && chunks >= 4 * threads) {
    context_.workspace->Reserve(threads * scratch);
    context_.pool->Run(threads, [&](int64_t i) {
      for (int64_t c = chunks * i / threads; c < chunks * (i + 1) / threads; ++c) {
        RunChunk(chunks_[c], {0, images}, x, dz, dw, accumulate,
                 context_.workspace->data() + i * scratch);
      }
    });
    return;
  }
  const int64_t parts = std::min(images, threads), sums = RoundUp(elements_, kVector);
  context_.workspace->Reserve(parts * scratch + (parts - 1) * sums);
  float *own = context_.workspace->data(), *others = own + parts * scratch;
  if (padded) std::fill_n(others, (parts - 1) * sums, 0.0f);
  context_.pool->Run(parts, [&](int64_t i) {
    RunImages({images * i / parts, images * (i + 1) / parts}, x, dz,
              i == 0 ? dw : others + (i - 1) * sums, i == 0 && accumulate, own + i * scratch);
  });
  for (int64_t i = 1; i < parts; ++i) {
    const float* part = others + (i - 1) * sums;
    context_.pool->Split(elements_, 4096, [&](int64_t begin, int64_t end) {
      context_.kernels->add(part + begin, dw + begin, dw + begin, end - begin, Dtype::kF32);
    });
  }
}

}  // namespace mariana
