// The terms without a net against float64 references, and the parts of the model.
#include "mariana_cluster/model/click_model.h"

#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "common/base/error.h"
#include "mariana_cluster/model/click_kernels.h"
#include "mariana_cluster/model/distinct_keys.h"
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
    const auto width = static_cast<size_t>(model.tables()[t].spec.width());
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

std::vector<uint64_t> Some(int64_t n, uint64_t distinct, uint64_t seed) {
  RandomSequence random(seed, 2);
  std::vector<uint64_t> keys;
  for (int64_t i = 0; i < n; ++i) keys.push_back(MakeKey(seed, HashNumber(random.Below(distinct))));
  return keys;
}

TEST_CASE("Distinct keys come in the order of first appearance, each once") {
  std::vector<uint64_t> distinct;
  KeyScratch scratch;
  for (const uint64_t values : {uint64_t{1}, uint64_t{50}, uint64_t{1} << 40}) {
    for (const int64_t n : {0, 1, 7, 1000, 9984}) {
      for (const int bits : {2, 11, 64}) {
        const uint64_t mask = bits == 64 ? ~uint64_t{0} : ~uint64_t{0} << (64 - bits);
        const std::vector<uint64_t> keys = Some(n, values, 5);
        const uint64_t first = BiasKey() & mask;
        std::vector<uint32_t> index(keys.size());
        FindDistinct(&first, n % 2, keys.data(), n, mask, &distinct, index.data(), &scratch);
        std::vector<uint64_t> expected(static_cast<size_t>(n % 2), first);
        std::map<uint64_t, uint32_t> place;
        for (const uint64_t key : expected) place.emplace(key, 0);
        bool right = true;
        for (size_t i = 0; i < keys.size(); ++i) {
          const uint64_t key = keys[i] & mask;
          const auto found = place.emplace(key, static_cast<uint32_t>(expected.size()));
          if (found.second) expected.push_back(key);
          right &= index[i] == found.first->second;
        }
        CHECK(right);
        CHECK(distinct == expected);
      }
    }
  }
}

TEST_CASE("Losses are exact for logits of any size, weighted, and their gradients the slopes") {
  RowBatch rows;
  std::vector<float> logits;
  for (const float z : {-200.0f, -30.0f, -3.0f, -1e-4f, 0.0f, 0.5f, 17.0f, 90.0f, 1000.0f}) {
    for (const float label : {0.0f, 1.0f}) {
      logits.push_back(z);
      rows.label.push_back(label);
      rows.weight.push_back(z > 0 ? 1.5f : 1.0f);
    }
  }
  for (int64_t i = 0; i < 500; ++i) {  // over several blocks
    logits.push_back(0.01f * static_cast<float>(i));
    rows.label.push_back(1);
    rows.weight.push_back(1);
  }
  rows.rows = static_cast<int64_t>(logits.size());
  std::vector<float> g(logits.size());
  double expected = 0, worst = 0;
  for (size_t r = 0; r < logits.size(); ++r) {
    const double z = logits[r], sign = rows.label[r] > 0 ? -1 : 1;  // log(1 + exp(sign z))
    expected += rows.weight[r] * (std::max(sign * z, 0.0) + std::log1p(std::exp(-std::abs(z))));
  }
  CHECK(ClickLossOf(ClickLoss::kLogistic, rows, logits.data(), g.data()) ==
        Approx(expected).epsilon(1e-6));
  for (size_t r = 0; r < logits.size(); ++r) {
    const double slope = 1 / (1 + std::exp(-double{logits[r]})) - rows.label[r];
    worst = std::max(worst, std::abs(g[r] - rows.weight[r] * slope));
  }
  CHECK(worst < 1e-6);
  CHECK(ClickLossOf(ClickLoss::kLogistic, rows, logits.data(), nullptr) ==
        Approx(expected).epsilon(1e-6));

  rows.rows = 2;
  rows.label = {3, -1};
  rows.weight = {1, 2};
  logits = {1, 1};
  CHECK(ClickLossOf(ClickLoss::kSquared, rows, logits.data(), g.data()) == Approx(0.5 * 4 + 4));
  CHECK((g[0] == -2 && g[1] == 4));
}

TEST_CASE("Every instruction set computes the same") {
  const RowBatch rows = TestRows(40, 3);
  RandomSequence random(1, 3);
  std::vector<uint32_t> index;
  for (size_t i = 0; i < rows.key.size(); ++i) {
    index.push_back(static_cast<uint32_t>(random.Below(30)));
  }
  std::vector<std::vector<float>> results;
  for (const ClickKernels& k : UsableClickKernels()) {
    for (const int64_t size : {4, 5, 16, 37}) {
      const int64_t width = size + 1;
      std::vector<float> weights(static_cast<size_t>(30 * width)), out(weights.size() + 80);
      RandomSequence values(2, 3);
      for (float& w : weights) w = values.Normal();
      std::vector<float> g(40), sums(static_cast<size_t>(40 * size));
      for (float& x : g) x = values.Normal();
      float* logits = out.data() + weights.size();
      const TermView t = {40,
                          rows.begin.data(),
                          index.data(),
                          rows.field.data(),
                          rows.value.data(),
                          weights.data(),
                          out.data(),
                          width};
      k.linear(t, 0, logits);
      k.fm(t, 1, size, sums.data(), logits + 40);
      k.fm_finish(sums.data(), 40, size, logits + 40);
      k.linear_backward(t, 0, g.data());
      k.fm_backward(t, 1, size, sums.data(), g.data());
      std::vector<uint16_t> half(weights.size());
      k.to_bf16(weights.data(), half.data(), static_cast<int64_t>(half.size()));
      k.from_bf16(half.data(), weights.data(), static_cast<int64_t>(half.size()));
      out.insert(out.end(), weights.begin(), weights.end());
      results.push_back(std::move(out));
    }
  }
  for (size_t i = 4; i < results.size(); ++i) {
    for (size_t j = 0; j < results[i].size(); ++j) {
      CHECK(results[i][j] == Approx(results[i % 4][j]).margin(1e-4));
    }
  }
}

TEST_CASE("Fields with the same parts share a table") {
  ClickModelSpec spec = Spec({"linear", "net"});
  spec.embedding.size = 16;
  spec.embedding.sizes.resize(1);
  spec.embedding.sizes[0].fields = {"ad"};
  spec.embedding.sizes[0].size = 4;
  spec.linear.fields = {"user", "user*ad", "ad"};
  const std::vector<ClickTable> tables = MakeClickTables(spec, TestPlan(), 3);
  std::map<std::string, std::vector<uint16_t>> fields;
  std::set<uint64_t> seeds;
  int biases = 0;
  for (const ClickTable& t : tables) {
    fields[t.spec.name] = t.fields;
    seeds.insert(t.spec.seed);
    biases += t.bias ? 1 : 0;
    CHECK(t.bias == (t.spec.name == "linear"));
    CHECK(t.spec.bits == 12);
  }
  const std::map<std::string, std::vector<uint16_t>> expected = {{"linear", {5}},
                                                                 {"linear_embedding16", {0}},
                                                                 {"linear_embedding4", {1}},
                                                                 {"embedding16", {2, 3}}};
  CHECK(fields == expected);
  CHECK((seeds.size() == 4 && biases == 1));
}

void CheckRefused(const ClickModelSpec& spec, const std::string& message) {
  INFO(message);
  try {
    MakeClickTables(spec, TestPlan(), 1);
    FAIL("accepted");
  } catch (const Error& e) {
    CHECK(e.code() == ExitCode::kUsage);
    CHECK(e.message() == message);
  }
}

TEST_CASE("Fields that cannot be used are named, with the key that names them") {
  ClickModelSpec spec = Spec({"linear"});
  spec.linear.fields = {"ad", "usr"};
  CheckRefused(spec, "click.linear.fields: there is no field \"usr\"; did you mean \"user\"?");
  spec.linear.fields = {"height"};
  CheckRefused(spec,
               "click.linear.fields: the number \"height\" has no sparse features without bucket: "
               "true or value: true");
  spec = Spec({"fm"});
  spec.embedding.sizes.resize(1);
  spec.embedding.sizes[0].fields = {"ad"};
  spec.embedding.sizes[0].size = 5;
  CheckRefused(
      spec, "click.embedding.sizes: term fm needs embeddings of one size; \"ad\" has 5, others 8");
  spec.embedding.fields = {"user"};
  CheckRefused(spec, "click.embedding.sizes.fields: \"ad\" is not among click.embedding.fields");
  spec = Spec({"ffm"});
  spec.factors.size = 1024;
  spec.factors.fields = {"user", "ad", "words", "age", "user*ad"};
  CheckRefused(spec,
               "click.factors.size: 5 fields times 1024 is 5120 weights a feature; at most 4096");
}

}  // namespace
}  // namespace mariana
