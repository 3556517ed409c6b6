// The terms without a net against float64 references, and through real tables.
#include "mariana_cluster/model/click_model.h"

#include <catch2/catch.hpp>
#include <functional>
#include <memory>
#include <set>

#include "common/base/error.h"
#include "mariana_cluster/model/distinct_keys.h"
#include "mariana_cluster/table/table.h"
#include "tests/mariana_cluster/model/click_rig.h"

namespace mariana {
namespace {

ClickModelSpec Spec(const std::vector<std::string>& terms) {
  ClickModelSpec spec;
  spec.terms = terms;
  spec.rows.bits = 12;
  return spec;
}

// Logits, and the gradient of a weighted sum of them by every weight (central differences of the
// reference, which is a polynomial of degree 2 in each weight: exact).
void CheckAgainstReference(const ClickModelSpec& spec, int64_t rows = 23) {
  const RowPlan plan = TestPlan();
  ClickModel model(spec, NetSpec(), plan, ClickModel::Options());
  ClickBatch batch;
  batch.rows = TestRows(rows, 7);
  model.Prepare(&batch);
  Weights weights = RandomWeights(model, 3, &batch);
  const Reference reference(spec, model);
  StepContext step;
  model.Forward(step, &batch);
  REQUIRE(static_cast<int64_t>(batch.logits.size()) == rows);
  std::vector<float> g;
  RandomSequence random(5, 0);
  for (int64_t r = 0; r < rows; ++r) {
    CHECK(batch.logits[r] == Approx(reference.Logit(batch.rows, r, weights)).margin(2e-5));
    g.push_back(random.Normal());
  }
  model.Backward(step, &batch, g.data());

  const auto sum = [&] {
    double total = 0;
    for (int64_t r = 0; r < rows; ++r) total += g[r] * reference.Logit(batch.rows, r, weights);
    return total;
  };
  for (size_t t = 0; t < batch.tables.size(); ++t) {
    const TableBatch& table = batch.tables[t];
    const auto width = static_cast<size_t>(WidthOf(model.tables()[t]));
    REQUIRE(table.gradients.size() == table.keys.size() * width);
    double worst = 0;
    for (size_t i = 0; i < table.gradients.size(); ++i) {
      double& w = weights[{t, table.keys[i / width]}][i % width];
      const double kept = w;
      w = kept + 1;
      const double above = sum();
      w = kept - 1;
      const double expected = (above - sum()) / 2;
      w = kept;
      worst = std::max(worst, std::abs(table.gradients[i] - expected));
    }
    CHECK(worst < 1e-4);
  }
}

TEST_CASE("A linear term sums the weights of a row's features and its bias") {
  CheckAgainstReference(Spec({"linear"}));
  ClickModelSpec some = Spec({"linear"});
  some.linear.fields = {"ad", "user*ad"};
  CheckAgainstReference(some);
}

TEST_CASE("A factorisation machine multiplies the vectors of all pairs of features") {
  for (const int64_t size : {1, 4, 8, 16, 19, 32}) {
    ClickModelSpec spec = Spec({"linear", "fm"});
    spec.embedding.size = size;
    CheckAgainstReference(spec, 13);
  }
  ClickModelSpec alone = Spec({"fm"});
  alone.linear.fields = {"ad"};
  CheckAgainstReference(alone);
}

TEST_CASE("A field-aware machine picks each vector by the other feature's field") {
  for (const int64_t size : {1, 4, 8, 10, 16}) {
    ClickModelSpec spec = Spec({"linear", "ffm"});
    spec.factors.size = size;
    CheckAgainstReference(spec, 13);
  }
  ClickModelSpec normalised = Spec({"ffm"});
  normalised.factors.normalise = true;
  normalised.factors.fields = {"age", "words", "user*ad"};
  CheckAgainstReference(normalised);
}

TEST_CASE("All sparse terms may be combined, over one table or several") {
  ClickModelSpec spec = Spec({"linear", "fm", "ffm"});
  spec.embedding.fields = {"user", "ad", "words"};
  spec.factors.fields = {"user", "words", "age"};
  CheckAgainstReference(spec);
  spec.rows.form = TableForm::kKeyed;
  CheckAgainstReference(spec);
}

TEST_CASE("Features that collide in a small table share a weight and its gradient") {
  for (const auto& terms : std::vector<std::vector<std::string>>{
           {"linear"}, {"linear", "fm"}, {"linear", "ffm"}, {"linear", "fm", "ffm"}}) {
    ClickModelSpec spec = Spec(terms);
    spec.rows.bits = 3;
    CheckAgainstReference(spec, 11);
  }
}

}  // namespace
}  // namespace mariana
