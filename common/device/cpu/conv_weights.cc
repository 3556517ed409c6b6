#include "common/device/cpu/conv_weights.h"

#include <algorithm>

namespace mariana {
namespace {

constexpr int64_t kVector = 16;  // outputs are taken in multiples of
constexpr int64_t kChunk = 2 * kVector;
constexpr int64_t kDyFloats = 6 << 10;        // of a block, in the first cache
constexpr int64_t kMergedChannels = kVector;  // fewer are taken with their neighbours

int64_t Ceil(int64_t n, int64_t d) { return (n + d - 1) / d; }
int64_t RoundUp(int64_t n, int64_t d) { return Ceil(n, d) * d; }

}  // namespace

bool ConvWeightGradient::Usable(const ConvSpec& spec, int64_t panel) {
  return spec.input == Dtype::kF32 && spec.groups == 1 && panel > 0 && panel % kVector == 0 &&
         spec.out.channels % kVector == 0 &&
         (spec.in.channels >= kMergedChannels || spec.window.dilation_w == 1);
}

ConvWeightGradient::ConvWeightGradient(const ConvSpec& spec, int64_t panel,
                                       const CpuContext& context)
    : spec_(spec),
      context_(context),
      panel_(panel),
      elements_(RoundUp(spec.out.channels, panel) * spec.window.kernel_h * spec.window.kernel_w *
                spec.in.channels),
      merged_(spec.in.channels < kMergedChannels),
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
  const int64_t tiles = Ceil(n, width > kVector ? k.conv_rows : k.conv_rows_narrow);
  for (int64_t i = 0; i < tiles; ++i) {
    const int64_t begin = n * i / tiles;
    f(begin, n * (i + 1) / tiles - begin);
  }
}

void ConvWeightGradient::Add(const Chunk& c, const Block& b, const float* x, const float* dz,
                             float* dw, bool add) const {
  const Window& w = spec_.window;
  const int64_t in = spec_.in.channels, out = spec_.out.channels;
  const int64_t x_row = spec_.in.width * in, dz_row = spec_.out.width * out;
  // Outputs of `range` whose place in the window falls on one of `size` pixels.
  const auto inside = [](Range range, int64_t place, int64_t stride, int64_t size) {
    const int64_t begin = place >= 0 ? 0 : Ceil(-place, stride);
    const int64_t end = place >= size ? 0 : (size - 1 - place) / stride + 1;
    const Range r{std::max(range.begin, begin), std::min(range.end, end)};
    return r.end > r.begin ? r : Range{range.begin, range.begin};
  };
  for (int64_t kh = 0; kh < w.kernel_h; ++kh) {
    const int64_t down = kh * w.dilation_h - w.top;
    const Range rows = inside(b.rows, down, w.stride_h, spec_.in.height);
    for (int64_t kw = 0; kw < w.kernel_w; ++kw) {
      const int64_t right = kw * w.dilation_w - w.left;
      const Range cols = inside({0, spec_.out.width}, right, w.stride_w, spec_.in.width);
      ConvTile t;
      const int64_t n[3] = {b.images.size(), rows.size(), cols.size()};
      const int64_t a_step[3] = {spec_.in.elements(), w.stride_h * x_row, w.stride_w * in};
      const int64_t b_step[3] = {spec_.out.elements(), dz_row, out};
      std::copy_n(n, 3, t.n);
      std::copy_n(a_step, 3, t.a_step);
      std::copy_n(b_step, 3, t.b_step);
      const float* from = x + b.images.begin * a_step[0];
      if (n[1] * n[2] > 0) {
        from += (rows.begin * w.stride_h + down) * x_row + (cols.begin * w.stride_w + right) * in;
      }
      t.b = dz + b.images.begin * b_step[0] + rows.begin * dz_row + cols.begin * out + c.output;
      t.c_stride = panel_;
      t.width = c.width;
      t.add = add;
      float* sums = dw + c.at + (kh * w.kernel_w + kw) * in * panel_;
      Tiles(in, c.width, [&](int64_t first, int64_t height) {
        t.a = from + first;
        t.c = sums + first * panel_;
        t.rows = height;
        context_.kernels->conv_tile(t);
      });
    }
  }
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
                                   bool accumulate, float* rows) const {
  bool add = accumulate;
  if (!merged_) {
    for (const Chunk& c : chunks_) {
      add = accumulate;
      EachBlock(images, c.width, [&](const Block& b) {
        Add(c, b, x, dz, dw, add);
        add = true;
      });
    }
    return;
  }
  EachBlock(images, kChunk, [&](const Block& b) {
    CopyRows(b, x, rows);
    for (const Chunk& c : chunks_) AddMerged(c, b, rows, dz, dw, add);
    add = true;
  });
}

void ConvWeightGradient::Run(const float* x, const float* dz, float* dw, int64_t images,
                             bool accumulate) {
  const bool padded = spec_.out.channels % panel_ != 0;
  if (padded && !accumulate) std::fill_n(dw, elements_, 0.0f);
  Pool* pool = context_.pool;
  const int64_t threads = pool->threads(), chunks = static_cast<int64_t>(chunks_.size());
  if (!merged_ && chunks >= 4 * threads) {
    pool->Run(chunks, [&](int64_t i) {
      bool add = accumulate;
      EachBlock({0, images}, chunks_[i].width, [&](const Block& b) {
        Add(chunks_[i], b, x, dz, dw, add);
        add = true;
      });
    });
    return;
  }
  const int64_t parts = std::min(images, threads);
  int64_t rows = 0;  // copied, of one part
  if (merged_) {
    EachBlock({0, images}, kChunk, [&](const Block& b) {
      rows = std::max(rows, b.images.size() * RowsBehind(b.rows.size()) * pitch_);
    });
    rows = RoundUp(rows, kVector);
  }
  const int64_t sums = RoundUp(elements_, kVector);
  context_.workspace->Reserve(parts * rows + (parts - 1) * sums);
  float *copies = context_.workspace->data(), *others = copies + parts * rows;
  if (padded) std::fill_n(others, (parts - 1) * sums, 0.0f);
  pool->Run(parts, [&](int64_t i) {
    RunImages({images * i / parts, images * (i + 1) / parts}, x, dz,
              i == 0 ? dw : others + (i - 1) * sums, i == 0 && accumulate, copies + i * rows);
  });
  for (int64_t i = 1; i < parts; ++i) {
    const float* part = others + (i - 1) * sums;
    pool->Split(elements_, 4096, [&](int64_t begin, int64_t end) {
      context_.kernels->add(part + begin, dw + begin, dw + begin, end - begin, Dtype::kF32);
    });
  }
}

}  // namespace mariana
