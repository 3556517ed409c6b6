#include "mariana_cluster/table/row_layout.h"

#include <glog/logging.h>

#include <algorithm>
#include <cmath>
#include <cstring>

#include "common/base/error.h"
#include "common/base/random.h"
#include "mariana_cluster/table/row_math.h"

namespace mariana {
namespace {

constexpr int kKeyHeader = 12, kBornHeader = 4, kLine = 64;
constexpr int64_t kMaxWidth = 4096;
// Initial values of rows draw from streams of their own, away from those of dense parameters.
constexpr uint64_t kRowStream = kInitStream + (uint64_t{1} << 31);

int32_t StateFloats(RowOptimizer type, int32_t width) {
  switch (type) {
    case RowOptimizer::kSgd: return 0;
    case RowOptimizer::kAdaGrad: return width;
    case RowOptimizer::kRowwiseAdaGrad: return 1;
    case RowOptimizer::kAdam: return 2 * width + 1;
    case RowOptimizer::kFtrl: return 2 * width;
  }
  return 0;
}

// FTRL stores state alone; the others [weights | state].
bool StoresWeights(RowOptimizer type) { return type != RowOptimizer::kFtrl; }

const char* NameOf(RowOptimizer type) {
  switch (type) {
    case RowOptimizer::kSgd: return "sgd";
    case RowOptimizer::kAdaGrad: return "adagrad";
    case RowOptimizer::kRowwiseAdaGrad: return "rowwise_adagrad";
    case RowOptimizer::kAdam: return "adam";
    case RowOptimizer::kFtrl: return "ftrl";
  }
  return "";
}

int32_t Stride(int32_t bytes) {
  if (bytes > kLine) return (bytes + kLine - 1) / kLine * kLine;
  int32_t stride = 4;
  while (stride < bytes) stride *= 2;
  return stride;
}

LayoutPart MakePart(const PartSpec& spec) {
  LayoutPart p = {};
  std::snprintf(p.name, sizeof(p.name), "%s", spec.name.c_str());
  p.type = spec.optimizer.type;
  p.width = static_cast<int32_t>(spec.width);
  p.floats = StateFloats(p.type, p.width) + (StoresWeights(p.type) ? p.width : 0);
  p.learning_rate = static_cast<float>(spec.optimizer.learning_rate);
  p.beta = static_cast<float>(spec.optimizer.beta);
  p.l1 = static_cast<float>(spec.optimizer.l1);
  p.l2 = static_cast<float>(spec.optimizer.l2);
  p.initial_sum = static_cast<float>(spec.optimizer.initial_sum);
  p.epsilon = static_cast<float>(spec.optimizer.epsilon);
  p.beta1 = static_cast<float>(spec.optimizer.beta1);
  p.beta2 = static_cast<float>(spec.optimizer.beta2);
  p.init = static_cast<float>(spec.init);
  return p;
}

// What the optimizer of a part keeps beside `w` before the first update.
void StartState(const LayoutPart& p, const float* w, float* x) {
  switch (p.type) {
    case RowOptimizer::kSgd: break;
    case RowOptimizer::kAdaGrad: std::fill_n(x + p.width, p.width, p.initial_sum); break;
    case RowOptimizer::kRowwiseAdaGrad: x[p.width] = p.initial_sum; break;
    case RowOptimizer::kAdam: std::fill_n(x + p.width, 2 * p.width + 1, 0.0f); break;
    case RowOptimizer::kFtrl:
      for (int i = 0; i < p.width; ++i) x[i] = row_math::FtrlZ(p, w[i]);
      std::fill_n(x + p.width, p.width, 0.0f);
  }
}

// Rows lie in shared memory: single floats are moved by relaxed atomic loads and stores.
void Copy(const float* from, int32_t n, float* to) {
  for (int32_t i = 0; i < n; ++i) {
    float x;
    __atomic_load(from + i, &x, __ATOMIC_RELAXED);
    __atomic_store(to + i, &x, __ATOMIC_RELAXED);
  }
}

float* FloatsOf(const LayoutPart& p, char* row) { return reinterpret_cast<float*>(row + p.offset); }
const float* FloatsOf(const LayoutPart& p, const char* row) {
  return reinterpret_cast<const float*>(row + p.offset);
}

}  // namespace

void RowOptimizerSpec::Describe(Fields* f) {
  f->Choice("type", &type,
            {{"sgd", RowOptimizer::kSgd},
             {"adagrad", RowOptimizer::kAdaGrad},
             {"rowwise_adagrad", RowOptimizer::kRowwiseAdaGrad},
             {"adam", RowOptimizer::kAdam},
             {"ftrl", RowOptimizer::kFtrl}},
            "Stochastic gradient descent; AdaGrad (Duchi 2011), with a sum for each weight or one "
            "a row; Adam (2015) on the rows of a batch; FTRL-proximal (McMahan 2013).");
  f->Real("learning_rate", &learning_rate, "Step size; FTRL's alpha.", Rule().Above(0));
  f->Real("beta", &beta, "ftrl: smooths the first steps.", Rule().Min(0));
  f->Real("l1", &l1, "ftrl: weights whose evidence is below this are 0; others: adds l1 * sign(w).",
          Rule().Min(0));
  f->Real("l2", &l2, "Pulls weights towards 0, in rows that a batch touches.", Rule().Min(0));
  f->Real("initial_sum", &initial_sum, "adagrad, rowwise_adagrad: where sums of squares start.",
          Rule().Min(0));
  f->Real("epsilon", &epsilon, "adagrad, rowwise_adagrad, adam: added to the root of squares.",
          Rule().Above(0));
  f->Real("beta1", &beta1, "adam: decay of the gradient's average.", Rule().Min(0).Below(1));
  f->Real("beta2", &beta2, "adam: decay of the squared gradient's average.",
          Rule().Min(0).Below(1));
}

int32_t RowLayout::state_floats() const {
  int32_t sum = 0;
  for (int i = 0; i < parts; ++i) sum += StateFloats(part[i].type, part[i].width);
  return sum;
}

bool RowLayout::has_random_init() const {
  return std::any_of(part, part + parts, [](const LayoutPart& p) { return p.init > 0; });
}

std::string RowLayout::Signature() const {
  std::string text;
  for (int i = 0; i < parts; ++i) {
    text += StrCat(i == 0 ? "" : " ", part[i].name, ":", part[i].width, ":", NameOf(part[i].type));
  }
  return text;
}

RowLayout MakeRowLayout(const std::vector<PartSpec>& parts, bool keyed) {
  if (parts.empty() || parts.size() > kMaxParts) {
    throw Fail(ExitCode::kUsage, "a table's rows have 1 to ", kMaxParts, " parts, not ",
               parts.size());
  }
  RowLayout layout;
  for (const PartSpec& spec : parts) {
    if (spec.width < 1 || spec.width > kMaxWidth) {
      throw Fail(ExitCode::kUsage, "part ", spec.name, ": width must be 1 to ", kMaxWidth, ", not ",
                 spec.width);
    }
    LayoutPart p = MakePart(spec);
    p.value = layout.width;
    p.offset = layout.floats * 4;
    layout.width += p.width;
    layout.floats += p.floats;
    layout.part[layout.parts++] = p;
  }
  // A sum of squares that starts above 0 has to be written before the first use, too.
  const bool starts_at_zero =
      !layout.has_random_init() &&
      std::all_of(layout.part, layout.part + layout.parts, [](const LayoutPart& p) {
        return p.initial_sum == 0 || p.type == RowOptimizer::kFtrl;
      });
  layout.header_bytes = keyed ? kKeyHeader : starts_at_zero ? 0 : kBornHeader;
  for (int i = 0; i < layout.parts; ++i) layout.part[i].offset += layout.header_bytes;
  layout.stride = Stride(layout.header_bytes + layout.floats * 4);
  return layout;
}

void InitializeRow(const RowLayout& layout, uint64_t seed, uint64_t key, char* row) {
  std::vector<float> values(layout.width);
  for (int i = 0; i < layout.parts; ++i) {
    const LayoutPart& p = layout.part[i];
    if (p.init == 0) continue;
    for (int32_t j = 0; j < p.width; ++j) {
      const uint64_t stream = kRowStream + (static_cast<uint64_t>(i) << 16) + j / 4;
      const uint32_t bits = Philox(seed, stream, key).v[j % 4];
      values[p.value + j] = (2 * ToUnit(bits) - 1) * p.init;
    }
  }
  WriteRow(layout, values.data(), nullptr, row);
}

void ReadRow(const RowLayout& layout, const char* row, float* values, float* state) {
  for (int i = 0; i < layout.parts; ++i) {
    const LayoutPart& p = layout.part[i];
    const float* x = FloatsOf(p, row);
    const int32_t stored = StoresWeights(p.type) ? p.width : 0;
    Copy(x + stored, p.floats - stored, state);
    if (stored > 0) {
      Copy(x, p.width, values + p.value);
    } else {
      for (int32_t j = 0; j < p.width; ++j) {
        values[p.value + j] = row_math::FtrlWeight(p, state[j], state[p.width + j]);
      }
    }
    state += p.floats - stored;
  }
}

void WriteRow(const RowLayout& layout, const float* values, const float* state, char* row) {
  std::vector<float> fresh(layout.floats);
  for (int i = 0; i < layout.parts; ++i) {
    const LayoutPart& p = layout.part[i];
    const int32_t stored = StoresWeights(p.type) ? p.width : 0;
    if (stored > 0) Copy(values + p.value, p.width, fresh.data());
    if (state != nullptr) {
      Copy(state, p.floats - stored, fresh.data() + stored);
      state += p.floats - stored;
    } else {
      StartState(p, values + p.value, fresh.data());
    }
    Copy(fresh.data(), p.floats, FloatsOf(p, row));
  }
}

}  // namespace mariana
