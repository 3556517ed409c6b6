#include "mariana_cluster/model/field_factors.h"

#include <algorithm>
#include <utility>

namespace mariana {
namespace {

int64_t Fields(const std::vector<int32_t>& numbers) {
  return std::count_if(numbers.begin(), numbers.end(), [](int32_t n) { return n >= 0; });
}

const float* WeightsOf(const FieldFactors::View& view, uint32_t i) {
  return view.term.weights + view.term.index[i] * view.term.width + view.at;
}

// Null in a forward pass.
float* GradientsOf(const FieldFactors::View& view, uint32_t i) {
  if (view.term.gradients == nullptr) return nullptr;
  return view.term.gradients + view.term.index[i] * view.term.width + view.at;
}

void AddScaled(float x, const float* from, int64_t n, float* to) {
#pragma GCC ivdep
  for (int64_t j = 0; j < n; ++j) to[j] += x * from[j];
}

float SquareOf(const float* x, int64_t n) {
  float sum = 0;
  for (int64_t j = 0; j < n; ++j) sum += x[j] * x[j];
  return sum;
}

}  // namespace

FieldFactors::FieldFactors(std::vector<int32_t> numbers, int64_t size, bool normalise)
    : numbers_(std::move(numbers)),
      size_(size),
      width_(Fields(numbers_) * size),
      normalise_(normalise),
      kernels_(&UsableClickKernels().front()) {}

// A row's factors are some 25 KB, a batch's more than the second cache. So they are on their way
// while the row before is computed, and the forward pass begins with the last row, whose weights
// were gathered last, and ends where the backward pass begins.
void FieldFactors::Fetch(const std::vector<View>& tables, int64_t row) const {
  constexpr int64_t kLine = 16;  // floats
  for (const View& view : tables) {
    const TermView& t = view.term;
    if (row < 0 || row >= t.rows) return;
    for (uint32_t i = t.begin[row]; i < t.begin[row + 1]; ++i) {
      const float* v = WeightsOf(view, i);
      for (int64_t j = 0; j < width_; j += kLine) __builtin_prefetch(v + j);
      if (t.gradients == nullptr) continue;
      float* dv = GradientsOf(view, i);
      for (int64_t j = 0; j < width_; j += kLine) __builtin_prefetch(dv + j, 1);
    }
  }
}

// One group a field of the row.
void FieldFactors::Collect(const std::vector<View>& tables, int64_t row) {
  groups_.clear();
  several_.clear();
  float squares = 0;
  for (const View& view : tables) {
    const TermView& t = view.term;
    const uint32_t end = t.begin[row + 1];
    for (uint32_t i = t.begin[row]; i < end;) {
      const uint16_t field = t.field[i];
      uint32_t last = i;
      for (; last < end && t.field[last] == field; ++last) squares += t.value[last] * t.value[last];
      if (last - i == 1) {
        groups_.push_back({WeightsOf(view, i), GradientsOf(view, i), t.value[i], numbers_[field]});
      } else {
        AddSeveral(view, i, last);
      }
      i = last;
    }
  }
  scale_ = normalise_ && squares > 0 ? 1 / squares : 1;
}

void FieldFactors::AddSeveral(const View& view, uint32_t begin, uint32_t end) {
  const size_t all = static_cast<size_t>(width_) * numbers_.size();
  if (sums_.empty()) sums_.resize(all);
  float* sums = SumsOf(several_.size());
  std::fill_n(sums, width_, 0.0f);
  for (uint32_t i = begin; i < end; ++i) {
    AddScaled(view.term.value[i], WeightsOf(view, i), width_, sums);
  }
  float* gradients = nullptr;
  if (view.term.gradients != nullptr) {
    gradients_.resize(all);
    gradients = gradients_.data() + several_.size() * width_;
    std::fill_n(gradients, width_, 0.0f);
  }
  several_.push_back({&view, begin, end, groups_.size()});
  groups_.push_back({sums, gradients, 1, numbers_[view.term.field[begin]]});
}

float FieldFactors::PairsWithin(const Several& s) const {
  const FactorGroup& group = groups_[s.group];
  const int64_t own = group.field * size_;
  float squares = SquareOf(group.v + own, size_);
  for (uint32_t i = s.begin; i < s.end; ++i) {
    const float x = s.view->term.value[i];
    squares -= x * x * SquareOf(WeightsOf(*s.view, i) + own, size_);
  }
  return squares / 2;
}

void FieldFactors::SpreadGradient(const Several& s, float g) const {
  const FactorGroup& group = groups_[s.group];
  const int64_t own = group.field * size_;
  AddScaled(g, group.v + own, size_, group.dv + own);
  for (uint32_t i = s.begin; i < s.end; ++i) {
    const float x = s.view->term.value[i];
    float* dv = GradientsOf(*s.view, i);
    AddScaled(x, group.dv, width_, dv);
    AddScaled(-g * x * x, WeightsOf(*s.view, i) + own, size_, dv + own);
  }
}

void FieldFactors::Forward(const std::vector<View>& tables, float* logits) {
  if (tables.empty()) return;
  for (int64_t r = tables[0].term.rows - 1; r >= 0; --r) {
    Collect(tables, r);
    Fetch(tables, r - 1);
    float sum = kernels_->ffm(groups_.data(), static_cast<int64_t>(groups_.size()), size_);
    for (const Several& s : several_) sum += PairsWithin(s);
    logits[r] += scale_ * sum;
  }
}

void FieldFactors::Backward(const std::vector<View>& tables, const float* g) {
  if (tables.empty()) return;
  for (int64_t r = 0; r < tables[0].term.rows; ++r) {
    Collect(tables, r);
    Fetch(tables, r + 1);
    const float gradient = g[r] * scale_;
    kernels_->ffm_backward(groups_.data(), static_cast<int64_t>(groups_.size()), size_, gradient);
    for (const Several& s : several_) SpreadGradient(s, gradient);
  }
}

}  // namespace mariana
