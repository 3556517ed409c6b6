// The fp32 linear layer. All three products read the weights, or write their gradient, in one
// packed layout, [out / kPanel, in, kPanel]: forward takes a panel's rows as vectors, the gradient
// of x broadcasts its elements (and so computes dx transposed), the gradient of w is a panel of
// outputs itself. Only activations are repacked, which are smaller and used more often.
//
// No sum is ever split between threads: results do not depend on their number.
#include <glog/logging.h>

#include <algorithm>

#include "common/device/cpu/linear.h"

namespace mariana {
namespace {

// Cache blocks: a panel of kDepth steps is read again and again while a block of activations,
// kDepth times kBlockRows rows or kBlockColumns columns, stays in the second cache (1 MB or more).
// Measured; anything from half to twice is within 5%.
constexpr int64_t kDepth = 512, kBlockRows = 256, kBlockColumns = 512;
constexpr int64_t kStripRows = 128, kStripColumns = 256;  // of dz
constexpr int64_t kMaxTileRows = 16;
constexpr int64_t kSlack = 16;  // floats that a vector store may write too much

int64_t Ceil(int64_t n, int64_t d) { return (n + d - 1) / d; }

// [0, n) in `parts` consecutive ranges of whole multiples of `unit` (but the last).
struct Range {
  int64_t begin, end;
};
Range Part(int64_t n, int64_t unit, int64_t parts, int64_t i) {
  const int64_t units = Ceil(n, unit);
  return {units * i / parts * unit, std::min(n, units * (i + 1) / parts * unit)};
}

// f(begin, end) over [0, n) in about equal blocks of at most about `size`, in multiples of `unit`.
template <class F>
void Blocks(int64_t n, int64_t size, int64_t unit, const F& f) {
  const int64_t parts = std::min(Ceil(n, size), Ceil(n, unit));
  for (int64_t i = 0; i < parts; ++i) {
    const Range r = Part(n, unit, parts, i);
    f(r.begin, r.end);
  }
}

class F32Linear : public AffineOp {
 public:
  F32Linear(const LinearSpec& spec, const CpuContext& context)
      : spec_(spec),
        in_(spec.in),
        out_(spec.out),
        padded_out_(Ceil(spec.out, kPanel) * kPanel),
        pool_(context.pool),
        workspace_(context.workspace),
        k_(*context.kernels) {
    CHECK_LE(k_.tile_rows, kMaxTileRows);
    const int64_t rows = spec.max_rows, padded_rows = Ceil(rows, kPanel) * kPanel;
    const int64_t forward = rows * in_ + kSlack + rows * padded_out_;
    const int64_t backward = rows * (in_ + padded_out_) + kSlack +
                             (spec.input_gradient ? padded_rows * (in_ + padded_out_) : 0);
    workspace_->Reserve(std::max(forward, backward));
  }

  int64_t weight_elements() const override { return padded_out_ * in_; }

  void PackWeights(const float* plain, float* packed) const override {
    for (int64_t o = 0; o < padded_out_; ++o) {
      for (int64_t i = 0; i < in_; ++i) packed[Index(o, i)] = o < out_ ? plain[o * in_ + i] : 0;
    }
  }
  void UnpackWeights(const float* packed, float* plain) const override {
    for (int64_t o = 0; o < out_; ++o) {
      for (int64_t i = 0; i < in_; ++i) plain[o * in_ + i] = packed[Index(o, i)];
    }
  }

  void Forward(const void* x, const float* w, const uint16_t*, const float* b, void* y,
               int64_t rows) override {
    CHECK_LE(rows, spec_.max_rows);
    float* tiles = workspace_->data();
    float* partial = tiles + rows * in_ + kSlack;
    PackRows(static_cast<const float*>(x), rows, tiles);
    Grid(rows, k_.tile_rows, out_, kPanel, [&](Range r, Range o) {
      Blocks(r.end - r.begin, kBlockRows, k_.tile_rows, [&](int64_t begin, int64_t end) {
        // Partial sums of a block take the place of the last block's: they stay in the caches.
        ForwardBlock({r.begin + begin, r.begin + end}, o, rows, tiles, w, b,
                     partial + r.begin * kPanel, static_cast<float*>(y));
      });
    });
  }

  void Backward(const void* x, const void* y, void* dy, const float* w, const uint16_t*, void* dx,
                float* dw, float* db, int64_t rows, bool accumulate) override {
    CHECK_LE(rows, spec_.max_rows);
    const int64_t padded_rows = Ceil(rows, kPanel) * kPanel;
    float* tiles = workspace_->data();            // of x
    float* panels = tiles + rows * in_ + kSlack;  // of dz
    float* turned = panels + rows * padded_out_;  // dz transposed, panels of rows
    float* dx_turned = turned + padded_rows * padded_out_;
    pool_->Split(out_, kPanel, [&](int64_t begin, int64_t end) {
      // In blocks that the second cache holds while they are turned.
      for (int64_t c = begin; c < end; c += kStripColumns) {
        const Range strip{c, std::min(end, c + kStripColumns)};
        for (int64_t r = 0; r < rows; r += kStripRows) {
          const Range block{r, std::min(rows, r + kStripRows)};
          Slopes(static_cast<const float*>(y), static_cast<float*>(dy), strip, block, rows, db,
                 accumulate || r > 0, panels);
          if (dx != nullptr) Turn(panels, strip, block, rows, turned);
        }
      }
    });
    WeightGradient(static_cast<const float*>(x), rows, tiles, panels, dw, accumulate);
    if (dx != nullptr) {
      InputGradient(turned, w, rows, dx_turned, static_cast<float*>(dx));
    }
  }

 private:
  int64_t Index(int64_t o, int64_t i) const { return (o / kPanel * in_ + i) * kPanel + o % kPanel; }

  // task(rows, columns) over a result split between the threads, columns first.
  template <class F>
  void Grid(int64_t rows, int64_t row_unit, int64_t cols, int64_t col_unit, const F& task) {
    const int64_t threads = pool_->threads();
    const int64_t across = std::min(threads, Ceil(cols, col_unit));
    const int64_t down = std::min(Ceil(rows, row_unit), Ceil(threads, across));
    pool_->Run(across * down, [&](int64_t i) {
      task(Part(rows, row_unit, down, i / across), Part(cols, col_unit, across, i % across));
    });
  }

  // ---- forward
  // x as [depth blocks, row tiles, steps, tile rows].
  void PackRows(const float* x, int64_t rows, float* tiles) {
    pool_->Split(rows, k_.tile_rows, [&](int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r += k_.tile_rows) {
        const int64_t height = std::min(k_.tile_rows, end - r);
        Blocks(in_, kDepth, kPanel, [&](int64_t k, int64_t k_end) {
          k_.transpose(x + r * in_ + k, in_, height, k_end - k, tiles + k * rows + r * (k_end - k),
                       height);
        });
      }
    });
  }

  void ForwardBlock(Range r, Range o, int64_t rows, const float* tiles, const float* w,
                    const float* b, float* partial, float* y) {
    alignas(64) float tile[kMaxTileRows * kPanel];  // of a sum that is made in one piece
    Blocks(in_, kDepth, kPanel, [&](int64_t k, int64_t k_end) {
      const bool whole = k == 0 && k_end == in_;
      for (int64_t c = o.begin; c < o.end; c += kPanel) {
        const int64_t width = std::min<int64_t>(kPanel, o.end - c);
        const float* panel = w + (c * in_ + k * kPanel);
        const float* next = panel + in_ * kPanel;  // the next panel
        for (int64_t i = r.begin; i < r.end; i += k_.tile_rows) {
          const int64_t height = std::min(k_.tile_rows, r.end - i);
          float* sum = whole ? tile : partial + c * rows + (i - r.begin) * kPanel;
          k_.tile({tiles + k * rows + i * (k_end - k), kPanel * height, false, panel, k_end - k,
                   sum, height, k > 0, next, kFetch});
          next += Ceil(k_end - k, kPanel) * kFetch;
          if (k_end < in_) continue;
          k_.bias_activate(spec_.activation, sum, spec_.bias ? b + c : nullptr, y + i * out_ + c,
                           out_, height, width);
        }
      }
    });
  }

  // ---- backward
  // dz of columns o and rows r, in place and in panels [out / kPanel, rows, kPanel].
  void Slopes(const float* y, float* dy, Range o, Range r, int64_t rows, float* db, bool accumulate,
              float* panels) {
    const int64_t at = r.begin * out_ + o.begin;
    k_.slope_and_panels(spec_.activation, y + at, dy + at, out_, r.end - r.begin, o.end - o.begin,
                        db == nullptr ? nullptr : db + o.begin, accumulate,
                        panels + o.begin * rows + r.begin * kPanel, rows * kPanel);
  }

  // The same block into panels of rows, [row panels, padded out, kPanel].
  void Turn(const float* panels, Range o, Range r, int64_t rows, float* turned) {
    for (int64_t c = o.begin; c < o.end; c += kPanel) {
      for (int64_t i = r.begin; i < r.end; i += kPanel) {
        const int64_t height = std::min<int64_t>(kPanel, r.end - i);
        float* to = turned + i * padded_out_ + c * kPanel;
        if (height < kPanel) std::fill(to, to + kPanel * kPanel, 0.0f);
        k_.transpose(panels + c * rows + i * kPanel, kPanel, height, kPanel, to, kPanel);
      }
    }
  }

  void WeightGradient(const float* x, int64_t rows, float* tiles, const float* panels, float* dw,
                      bool accumulate) {
    pool_->Split(in_, k_.tile_rows, [&](int64_t i, int64_t i_end) {
      Blocks(rows, kDepth, kPanel, [&](int64_t r, int64_t r_end) {
        k_.gather_tiles(x + r * in_ + i, in_, r_end - r, i_end - i,
                        tiles + r * in_ + i * (r_end - r));
      });
    });
    Grid(in_, k_.tile_rows, out_, kPanel, [&](Range in, Range o) {
      Blocks(rows, kDepth, kPanel, [&](int64_t r, int64_t r_end) {
        Blocks(in.end - in.begin, kBlockColumns, k_.tile_rows, [&](int64_t begin, int64_t end) {
          WeightBlock({r, r_end}, {in.begin + begin, in.begin + end}, o, rows, tiles, panels, dw,
                      accumulate || r > 0);
        });
      });
    });
  }

  void WeightBlock(Range r, Range in, Range o, int64_t rows, const float* tiles,
                   const float* panels, float* dw, bool add) {
    const int64_t depth = r.end - r.begin;
    for (int64_t c = o.begin; c < o.end; c += kPanel) {
      const float* panel = panels + c * rows + r.begin * kPanel;
      const float* next = panel + rows * kPanel;  // the next panel
      for (int64_t i = in.begin; i < in.end; i += k_.tile_rows) {
        const int64_t height = std::min(k_.tile_rows, in.end - i);
        k_.tile({tiles + r.begin * in_ + i * depth, kPanel * height, false, panel, depth,
                 dw + c * in_ + i * kPanel, height, add, next, kFetch});
        next += Ceil(depth, kPanel) * kFetch;
      }
    }
  }

  // dx transposed, [row panels, in, kPanel], then dx.
  void InputGradient(const float* turned, const float* w, int64_t rows, float* dx_turned,
                     float* dx) {
    Grid(rows, kPanel, in_, k_.tile_rows, [&](Range r, Range in) {
      Blocks(r.end - r.begin, kBlockRows, kPanel, [&](int64_t begin, int64_t end) {
        const Range block{r.begin + begin, r.begin + end};
        float* sums = dx_turned + r.begin * in_;  // in the place of the last block's
        Blocks(padded_out_, kDepth, kPanel, [&](int64_t k, int64_t k_end) {
          InputBlock({k, k_end}, block, in, turned, w, sums);
        });
        for (int64_t j = block.begin; j < block.end; j += kPanel) {
          k_.transpose(sums + (j - block.begin) * in_ + in.begin * kPanel, kPanel,
                       in.end - in.begin, std::min<int64_t>(kPanel, rows - j),
                       dx + j * in_ + in.begin, in_);
        }
      });
    });
  }

  void InputBlock(Range k, Range r, Range in, const float* turned, const float* w, float* sums) {
    for (int64_t i = in.begin; i < in.end; i += k_.tile_rows) {
      const int64_t height = std::min(k_.tile_rows, in.end - i);
      const float* weights = w + k.begin * in_ + i * kPanel;
      const float* next = weights + height * kPanel;
      for (int64_t j = r.begin; j < r.end; j += kPanel) {
        k_.tile({weights, in_ * kPanel, true, turned + j * padded_out_ + k.begin * kPanel,
                 k.end - k.begin, sums + (j - r.begin) * in_ + i * kPanel, height, k.begin > 0,
                 next, in_ * kPanel});
        next += kFetch;
      }
    }
  }

  static constexpr int64_t kFetch = 64;  // floats that a tile fetches ahead per kPanel steps

  const LinearSpec spec_;
  const int64_t in_, out_, padded_out_;
  Pool* const pool_;
  Workspace* const workspace_;
  const Kernels& k_;
};

}  // namespace

std::unique_ptr<AffineOp> MakeF32Linear(const LinearSpec& spec, const CpuContext& context) {
  return std::make_unique<F32Linear>(spec, context);
}

}  // namespace mariana
