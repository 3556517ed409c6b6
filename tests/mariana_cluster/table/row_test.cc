// Layout of rows, initial values, and each optimizer against a float64 transcription of its paper.
#include <catch2/catch.hpp>
#include <cmath>
#include <cstring>
#include <vector>

#include "common/base/error.h"
#include "common/base/random.h"
#include "mariana_cluster/table/linear_kernels.h"
#include "mariana_cluster/table/row_kernels.h"
#include "mariana_cluster/table/row_layout.h"

namespace mariana {
namespace {

PartSpec Part(RowOptimizer type, int64_t width, double init = 0) {
  PartSpec part;
  part.name = "part";
  part.width = width;
  part.init = init;
  part.optimizer.type = type;
  part.optimizer.learning_rate = 0.05;
  part.optimizer.l2 = 0.01;
  part.optimizer.l1 = type == RowOptimizer::kFtrl ? 0.5 : 0.001;
  part.optimizer.initial_sum = type == RowOptimizer::kFtrl ? 0 : 0.1;
  return part;
}

double Sign(double x) { return x > 0 ? 1 : x < 0 ? -1 : 0; }

// One part in float64, as the papers write it.
struct Reference {
  RowOptimizerSpec o;
  std::vector<double> w, a, b;  // weights and two kinds of state
  double sum = 0;
  int t = 0;

  Reference(const PartSpec& part, const std::vector<float>& start)
      : o(part.optimizer),
        w(start.begin(), start.end()),
        a(w.size(), o.type == RowOptimizer::kAdaGrad ? o.initial_sum : 0),
        b(w.size(), 0),
        sum(o.initial_sum) {
    // FTRL starts from z such that w(z, 0) is the initial weight.
    for (size_t i = 0; o.type == RowOptimizer::kFtrl && i < w.size(); ++i) {
      a[i] = -w[i] * (o.beta / o.learning_rate + o.l2) - Sign(w[i]) * o.l1;
    }
  }

  void Step(const float* gradient) {
    std::vector<double> g(gradient, gradient + w.size());
    if (o.type == RowOptimizer::kFtrl) return Ftrl(g);
    ++t;
    double squares = 0;
    for (size_t i = 0; i < w.size(); ++i) {
      g[i] += o.l2 * w[i] + o.l1 * Sign(w[i]);
      squares += g[i] * g[i];
    }
    sum += squares / static_cast<double>(w.size());
    for (size_t i = 0; i < w.size(); ++i) {
      switch (o.type) {
        case RowOptimizer::kSgd: w[i] -= o.learning_rate * g[i]; break;
        case RowOptimizer::kAdaGrad:
          a[i] += g[i] * g[i];
          w[i] -= o.learning_rate * g[i] / (std::sqrt(a[i]) + o.epsilon);
          break;
        case RowOptimizer::kRowwiseAdaGrad:
          w[i] -= o.learning_rate * g[i] / (std::sqrt(sum) + o.epsilon);
          break;
        case RowOptimizer::kAdam: {
          a[i] = o.beta1 * a[i] + (1 - o.beta1) * g[i];
          b[i] = o.beta2 * b[i] + (1 - o.beta2) * g[i] * g[i];
          const double m = a[i] / (1 - std::pow(o.beta1, t)), v = b[i] / (1 - std::pow(o.beta2, t));
          w[i] -= o.learning_rate * m / (std::sqrt(v) + o.epsilon);
          break;
        }
        case RowOptimizer::kFtrl: break;
      }
    }
  }

  // McMahan et al. 2013, algorithm 1: a is z, b is n.
  void Ftrl(const std::vector<double>& g) {
    for (size_t i = 0; i < w.size(); ++i) {
      const double sigma = (std::sqrt(b[i] + g[i] * g[i]) - std::sqrt(b[i])) / o.learning_rate;
      a[i] += g[i] - sigma * w[i];
      b[i] += g[i] * g[i];
      w[i] = std::abs(a[i]) <= o.l1 ? 0
                                    : -(a[i] - Sign(a[i]) * o.l1) /
                                          ((o.beta + std::sqrt(b[i])) / o.learning_rate + o.l2);
    }
  }
};

struct Rows {
  RowLayout layout;
  std::vector<char> bytes;
  std::vector<char*> row;
  Rows(const RowLayout& l, int n) : layout(l), bytes(static_cast<size_t>(n * l.stride)) {
    for (int i = 0; i < n; ++i) {
      row.push_back(bytes.data() + i * l.stride);
      InitializeRow(layout, 7, static_cast<uint64_t>(i) + 1, row.back());
      if (layout.header_bytes == 4) std::memset(row.back(), 1, 1);
    }
  }
  RowBatchArgs args() const {
    return {&layout, row.data(), static_cast<int64_t>(row.size()), 5, nullptr, nullptr};
  }
};

TEST_CASE("every optimizer follows its paper in float64, at every width and on every CPU") {
  for (const RowKernels& kernels : UsableRowKernels()) {
    for (const auto type :
         {RowOptimizer::kSgd, RowOptimizer::kAdaGrad, RowOptimizer::kRowwiseAdaGrad,
          RowOptimizer::kAdam, RowOptimizer::kFtrl}) {
      for (const int width : {1, 3, 4, 8, 16, 32, 37}) {
        INFO(kernels.isa << " optimizer " << static_cast<int>(type) << " width " << width);
        const PartSpec part = Part(type, width, 0.3);
        Rows rows(MakeRowLayout({part}, false), 3);
        std::vector<float> values(3 * width), gradients(3 * width);
        kernels.gather(rows.args(), values.data());
        std::vector<Reference> reference;
        for (int i = 0; i < 3; ++i) {
          reference.emplace_back(part, std::vector<float>(values.begin() + i * width,
                                                          values.begin() + (i + 1) * width));
        }
        RandomSequence random(3, width);
        for (int step = 0; step < 50; ++step) {
          for (float& g : gradients) g = random.Normal();
          kernels.apply(rows.args(), gradients.data(), 1);
          for (int i = 0; i < 3; ++i) reference[i].Step(gradients.data() + i * width);
        }
        kernels.gather(rows.args(), values.data());
        double worst = 0;
        for (int i = 0; i < 3 * width; ++i) {
          worst = std::max(worst, std::abs(values[i] - reference[i / width].w[i % width]));
        }
        CHECK(worst < 2e-5);
      }
    }
  }
}

TEST_CASE(
    "FTRL without L1 and L2 is gradient descent at the rate alpha / (beta + sqrt(sum of g^2))") {
  // The paper's section 3: the two are the same then.
  PartSpec part = Part(RowOptimizer::kFtrl, 1);
  part.optimizer.l1 = part.optimizer.l2 = 0;
  Rows rows(MakeRowLayout({part}, false), 1);
  double w = 0, n = 0;
  RandomSequence random(1, 1);
  for (int step = 0; step < 100; ++step) {
    const float g = random.Normal();
    UsableRowKernels()[0].apply(rows.args(), &g, 1);
    n += static_cast<double>(g) * g;
    w -= 0.05 * g / (1 + std::sqrt(n));
  }
  float value;
  UsableRowKernels()[0].gather(rows.args(), &value);
  CHECK(std::abs(value - w) < 1e-5);
  CHECK(std::abs(w) > 0.01);
}

TEST_CASE("rows of several parts update each part with its own optimizer") {
  for (const RowKernels& kernels : UsableRowKernels()) {
    const std::vector<PartSpec> parts = {Part(RowOptimizer::kFtrl, 1),
                                         Part(RowOptimizer::kAdaGrad, 8, 0.1)};
    Rows both(MakeRowLayout(parts, true), 2), first(MakeRowLayout({parts[0]}, true), 2);
    CHECK(both.layout.width == 9);
    std::vector<float> g(18), g0(2), v(18), v0(2);
    RandomSequence random(2, 2);
    for (int step = 0; step < 10; ++step) {
      for (float& x : g) x = random.Normal();
      g0 = {g[0], g[9]};
      kernels.apply(both.args(), g.data(), 1);
      kernels.apply(first.args(), g0.data(), 1);
    }
    kernels.gather(both.args(), v.data());
    kernels.gather(first.args(), v0.data());
    CHECK(v[0] == v0[0]);
    CHECK(v[9] == v0[1]);
    CHECK(v[1] != v[10]);
    uint32_t stamp;
    std::memcpy(&stamp, both.row[1] + 8, 4);
    CHECK(stamp == 5);
  }
}

TEST_CASE("rows of one FTRL weight, which go by the vector, follow the paper one by one") {
  for (const RowKernels& kernels : UsableRowKernels()) {
    for (const bool keyed : {false, true}) {
      const PartSpec part = Part(RowOptimizer::kFtrl, 1);
      constexpr int kRows = 37, kGone = 20;
      Rows rows(MakeRowLayout({part}, keyed), kRows);
      rows.row[kGone] = nullptr;
      std::vector<Reference> reference(kRows, Reference(part, {0}));
      std::vector<float> g(kRows), v(kRows);
      RandomSequence random(4, 1);
      for (int step = 0; step < 30; ++step) {
        for (float& x : g) x = random.Normal();
        kernels.apply(rows.args(), g.data(), 1);
        for (int i = 0; i < kRows; ++i) {
          if (i != kGone) reference[i].Step(&g[i]);
        }
      }
      kernels.gather(rows.args(), v.data());
      double worst = 0;
      for (int i = 0; i < kRows; ++i) worst = std::max(worst, std::abs(v[i] - reference[i].w[0]));
      CHECK(worst < 2e-5);
      uint32_t stamp = 5;
      if (keyed) std::memcpy(&stamp, rows.row[kRows - 1] + 8, 4);
      CHECK(stamp == 5);
    }
  }
}

TEST_CASE("no row reads as zeros and drops its gradient; rate scales all but FTRL") {
  for (const RowKernels& kernels : UsableRowKernels()) {
    PartSpec sgd = Part(RowOptimizer::kSgd, 4);
    sgd.optimizer.l1 = sgd.optimizer.l2 = 0;
    Rows rows(MakeRowLayout({sgd}, true), 2);
    rows.row[0] = nullptr;
    const std::vector<float> g(8, 1.0f);
    std::vector<float> v(8, 9.0f);
    kernels.apply(rows.args(), g.data(), 0.5f);
    kernels.gather(rows.args(), v.data());
    CHECK(v == std::vector<float>{0, 0, 0, 0, -0.025f, -0.025f, -0.025f, -0.025f});
  }
}

TEST_CASE("small rows keep to a cache line, and a linear model's takes 8 bytes") {
  CHECK(MakeRowLayout({Part(RowOptimizer::kFtrl, 1)}, false).stride == 8);
  PartSpec factors = Part(RowOptimizer::kRowwiseAdaGrad, 8, 0.1);
  const RowLayout fm = MakeRowLayout({Part(RowOptimizer::kFtrl, 1), factors}, true);
  CHECK(fm.header_bytes == 12);
  CHECK(fm.stride == 64);
  factors.width = 16;
  CHECK(MakeRowLayout({factors}, false).stride == 128);
  CHECK_THROWS_AS(MakeRowLayout({}, false), Error);
  factors.width = 0;
  CHECK_THROWS_AS(MakeRowLayout({factors}, false), Error);
}

TEST_CASE("initial values depend on seed and key alone, and survive being read and written") {
  for (const auto type : {RowOptimizer::kAdam, RowOptimizer::kFtrl}) {
    const RowLayout layout = MakeRowLayout({Part(type, 6, 0.25)}, true);
    std::vector<char> a(layout.stride), b(layout.stride), c(layout.stride);
    InitializeRow(layout, 1, 42, a.data());
    InitializeRow(layout, 1, 42, b.data());
    InitializeRow(layout, 1, 43, c.data());
    CHECK(a == b);
    CHECK(a != c);
    std::vector<float> v(6), s(layout.state_floats()), v2(6);
    ReadRow(layout, a.data(), v.data(), s.data());
    for (const float x : v) CHECK(std::abs(x) <= 0.2501f);
    std::vector<char> exact(layout.stride), fresh(layout.stride);
    WriteRow(layout, v.data(), s.data(), exact.data());
    CHECK(exact == a);
    WriteRow(layout, v.data(), nullptr, fresh.data());
    ReadRow(layout, fresh.data(), v2.data(), s.data());
    for (int i = 0; i < 6; ++i) CHECK(v2[i] == Approx(v[i]).epsilon(1e-5));
  }
}

TEST_CASE("a linear model learns the same in every instruction set") {
  const RowLayout layout = MakeRowLayout({Part(RowOptimizer::kFtrl, 1)}, false);
  REQUIRE(LearnsBySample(layout));
  constexpr int64_t kSamples = 50, kRows = 64;
  RandomSequence random(1, 2);
  std::vector<uint32_t> begin{0};
  std::vector<size_t> number;
  std::vector<float> value, label, weight(kSamples, 1.0f);
  for (int64_t r = 0; r < kSamples; ++r) {
    for (uint64_t i = 0, n = random.Below(20); i < n; ++i) {
      number.push_back(3 * i + random.Below(3));  // each once
      value.push_back(random.Uniform() - 0.3f);
    }
    begin.push_back(static_cast<uint32_t>(number.size()));
    label.push_back(random.Below(2) == 0 ? 0.0f : 1.0f);
  }
  std::vector<std::vector<float>> weights, logits;
  for (const LinearKernels& kernels : UsableLinearKernels()) {
    std::vector<float> table(2 * kRows, 0.0f);  // z n
    const auto row = [&](size_t i) { return reinterpret_cast<char*>(&table[2 * i]); };
    std::vector<char*> rows;
    for (const size_t i : number) rows.push_back(row(i));
    std::vector<LinearBlock> scratch(3);
    char nobody[64] = {};
    LinearSamples s = {};
    s.layout = &layout;
    s.samples = kSamples;
    s.begin = begin.data();
    s.rows = rows.data();
    s.value = value.data();
    s.bias = row(kRows - 1);
    s.nobody = nobody;
    s.label = label.data();
    s.weight = weight.data();
    s.scratch = scratch.data();
    logits.emplace_back(kSamples);
    kernels.learn(s, logits.back().data());
    weights.push_back(table);
  }
  for (size_t k = 1; k < weights.size(); ++k) {
    CHECK(weights[k] == weights[0]);
    CHECK(logits[k] == logits[0]);
  }
  CHECK(logits[0][0] == 0);
  CHECK(logits[0][kSamples - 1] != 0);
}

}  // namespace
}  // namespace mariana
