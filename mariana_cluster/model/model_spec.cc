#include "mariana_cluster/model/model_spec.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/rows/key_hash.h"
#include "mariana_cluster/model/click_kernels.h"

namespace mariana {
namespace {

constexpr int64_t kMaxSize = kMostFloats;
constexpr int64_t kMaxWidth = 4096;  // of a row (table/row_layout.cc)
constexpr const char* kTerms[] = {"linear", "fm", "ffm", "net"};

std::string Hint(const std::string& near) {
  return near.empty() ? "" : "; did you mean \"" + near + "\"?";
}

// Which of the plan's fields a part is for, by the key that lists them; and their sizes.
class FieldChoice {
 public:
  explicit FieldChoice(const RowPlan& plan) : plan_(plan), names_(plan.FieldNames()) {}

  size_t count() const { return names_.size(); }
  const std::string& name(size_t f) const { return names_[f]; }

  // Numbers of the fields listed under `key`; all when none are, crosses among them if wanted.
  std::vector<size_t> Of(const char* key, const std::vector<std::string>& listed,
                         bool crosses) const {
    std::vector<size_t> chosen;
    for (const std::string& name : listed) chosen.push_back(Find(key, name));
    if (!listed.empty()) return chosen;
    const size_t end = crosses ? names_.size() : plan_.fields().size();
    for (size_t f = 0; f < end; ++f) {
      if (HasSparseFeatures(f)) chosen.push_back(f);
    }
    return chosen;
  }

 private:
  bool HasSparseFeatures(size_t f) const {
    if (f >= plan_.fields().size()) return true;
    const FieldPlan& field = plan_.fields()[f];
    return field.kind != RowFieldKind::kNumeric || field.bucket || field.value;
  }

  size_t Find(const char* key, const std::string& name) const {
    const auto found = std::find(names_.begin(), names_.end(), name);
    if (found == names_.end()) {
      throw Fail(ExitCode::kUsage, key, ": there is no field \"", name, "\"",
                 Hint(DidYouMean(name, names_)));
    }
    const auto f = static_cast<size_t>(found - names_.begin());
    if (!HasSparseFeatures(f)) {
      throw Fail(ExitCode::kUsage, key, ": the number \"", name,
                 "\" has no sparse features without bucket: true or value: true");
    }
    return f;
  }

  const RowPlan& plan_;
  const std::vector<std::string> names_;
};

// What the rows of a field's features hold: parts by size, 0 for none.
struct Parts {
  int64_t linear = 0, embedding = 0, factors = 0;
  bool any() const { return linear + embedding + factors > 0; }
  bool operator<(const Parts& o) const {
    return std::tie(linear, embedding, factors) < std::tie(o.linear, o.embedding, o.factors);
  }
};

void ChooseEmbeddings(const EmbeddingSpec& spec, const FieldChoice& choice,
                      std::vector<Parts>* parts) {
  for (const size_t f : choice.Of("click.embedding.fields", spec.fields, false)) {
    (*parts)[f].embedding = spec.size;
  }
  for (const FieldSizeSpec& other : spec.sizes) {
    for (const size_t f : choice.Of("click.embedding.sizes.fields", other.fields, false)) {
      if ((*parts)[f].embedding == 0) {
        throw Fail(ExitCode::kUsage, "click.embedding.sizes.fields: \"", choice.name(f),
                   "\" is not among click.embedding.fields");
      }
      (*parts)[f].embedding = other.size;
    }
  }
}

// fm multiplies the embeddings of all fields with each other.
void CheckOneSize(const std::vector<Parts>& parts, const FieldChoice& choice) {
  int64_t size = 0;
  for (size_t f = 0; f < parts.size(); ++f) {
    if (parts[f].embedding == 0) continue;
    if (size != 0 && parts[f].embedding != size) {
      throw Fail(ExitCode::kUsage,
                 "click.embedding.sizes: term fm needs embeddings of one size; \"", choice.name(f),
                 "\" has ", parts[f].embedding, ", others ", size);
    }
    size = parts[f].embedding;
  }
}

void ChooseFactors(const FieldFactorsSpec& spec, const FieldChoice& choice,
                   std::vector<Parts>* parts) {
  const std::vector<size_t> fields = choice.Of("click.factors.fields", spec.fields, false);
  const int64_t width = static_cast<int64_t>(fields.size()) * spec.size;
  if (width > kMaxWidth) {
    throw Fail(ExitCode::kUsage, "click.factors.size: ", fields.size(), " fields times ", spec.size,
               " is ", width, " weights a feature; at most ", kMaxWidth);
  }
  for (const size_t f : fields) (*parts)[f].factors = width;
}

void AddPart(const std::string& name, int64_t width, const RowOptimizerSpec& optimizer, double init,
             TableSpec* table) {
  PartSpec part;
  part.name = name;
  part.width = width;
  part.optimizer = optimizer;
  part.init = init;
  table->parts.push_back(std::move(part));
}

ClickTable MakeTable(const ClickModelSpec& spec, const Parts& parts, uint64_t seed) {
  ClickTable table;
  int at = 0;
  if (parts.linear > 0) {
    table.linear = at++;
    AddPart("linear", 1, spec.linear.optimizer, 0, &table.spec);
    table.spec.name = "linear";
  }
  const auto begin = [&](const std::string& name, int64_t size) {
    table.spec.name += StrCat(table.spec.name.empty() ? "" : "_", name, size);
    return at;
  };
  if (parts.embedding > 0) {
    const EmbeddingSpec& e = spec.embedding;
    table.embedding = begin("embedding", parts.embedding);
    table.embedding_size = parts.embedding;
    AddPart("embedding", parts.embedding, e.optimizer, e.init, &table.spec);
    at += static_cast<int>(parts.embedding);
  }
  if (parts.factors > 0) {
    table.factors = begin("factors", spec.factors.size);
    AddPart("factors", parts.factors, spec.factors.optimizer, spec.factors.init, &table.spec);
  }
  table.spec.form = spec.rows.form;
  table.spec.bits = spec.rows.bits;
  table.spec.max_rows = spec.rows.max_rows;
  table.spec.admission = spec.rows.admission;
  // Rows of hashed tables draw initial values by their number: tables must not draw the same.
  table.spec.seed = seed ^ HashText(table.spec.name);
  return table;
}

RowOptimizerSpec AdaGrad(double learning_rate) {
  RowOptimizerSpec spec;
  spec.type = RowOptimizer::kAdaGrad;
  spec.learning_rate = learning_rate;
  return spec;
}

}  // namespace

// ---- specs
void LinearTermSpec::Describe(Fields* f) {
  f->TextList("fields", &fields, "Fields and crosses with a weight; none listed: all.");
  f->Section("optimizer", &optimizer, "How these weights follow gradients.");
}

void FieldSizeSpec::Describe(Fields* f) {
  f->TextList("fields", &fields, "Names of fields.", Rule().Required());
  f->Int("size", &size, "Length of their vectors.", Rule().Min(1).Max(kMaxSize));
}

EmbeddingSpec::EmbeddingSpec() : optimizer(AdaGrad(0.05)) {}

void EmbeddingSpec::Describe(Fields* f) {
  f->TextList("fields", &fields,
              "Fields whose features have a vector; none listed: all but crosses.");
  f->Int("size", &size, "Length of a feature's vector.", Rule().Min(1).Max(kMaxSize));
  f->List("sizes", &sizes, "Fields whose vectors have another length.");
  f->Choice("pooling", &pooling, {{"sum", Pooling::kSum}, {"mean", Pooling::kMean}},
            "How the net sees a field with several values: the sum of their vectors, or the mean.");
  f->Real("init", &init, "Vectors start uniform within so much of 0.", Rule().Min(0));
  f->Section("optimizer", &optimizer, "How the vectors follow gradients.");
}

FieldFactorsSpec::FieldFactorsSpec() : optimizer(AdaGrad(0.1)) {}

void FieldFactorsSpec::Describe(Fields* f) {
  f->TextList("fields", &fields, "Fields that meet each other; none listed: all but crosses.");
  f->Int("size", &size, "Length of a feature's vector for each field that it meets.",
         Rule().Min(1).Max(kMaxSize));
  f->Bool("normalise", &normalise,
          "Divide a row's interactions by the sum of squares of its features' values (libffm's "
          "instance-wise normalisation).");
  f->Real("init", &init, "Vectors start uniform within so much of 0.", Rule().Min(0));
  f->Section("optimizer", &optimizer, "How the vectors follow gradients.");
}

void RowStoreSpec::Describe(Fields* f) {
  f->Choice("form", &form, {{"hashed", TableForm::kHashed}, {"keyed", TableForm::kKeyed}},
            "hashed: a fixed number of rows, which features share by chance; keyed: a row for each "
            "feature, made when it is needed.");
  f->Int("bits", &bits, "hashed: 2^bits rows in each table.", Rule().Min(10).Max(36));
  f->Int("max_rows", &max_rows, "keyed: rows of a table at most; costs address space only.",
         Rule().Min(1024).Max(int64_t{1} << 40));
  f->Int("admission", &admission, "keyed: a feature gets its row when it is seen so many times.",
         Rule().Min(1).Max(255));
  f->Int("evict_after_epochs", &evict_after_epochs,
         "keyed: rows without a gradient for so many epochs are forgotten; 0: never.",
         Rule().Min(0).Max(1000));
}

bool ClickModelSpec::has(const std::string& term) const {
  return std::find(terms.begin(), terms.end(), term) != terms.end();
}

void ClickModelSpec::Describe(Fields* f) {
  f->TextList("terms", &terms,
              "What the logit is the sum of: linear, fm (factorisation machine), ffm (field-aware "
              "one), net (the `net:` section over embeddings and dense numbers).");
  f->Choice("loss", &loss, {{"logistic", ClickLoss::kLogistic}, {"squared", ClickLoss::kSquared}},
            "logistic for clicks, squared for numbers.");
  f->Section("linear", &linear, "A weight for each feature.");
  f->Section("embedding", &embedding, "A vector for each feature: of fm and net, which share it.");
  f->Section("factors", &factors, "ffm: a vector for each feature and field that it meets.");
  f->Section("rows", &rows, "How weights of features are kept.");
  f->Require(!terms.empty(), "terms", "must name at least one of linear, fm, ffm, net");
  const std::vector<std::string> known(std::begin(kTerms), std::end(kTerms));
  for (const std::string& term : terms) {
    const bool right = std::find(known.begin(), known.end(), term) != known.end();
    f->Require(right, "terms",
               StrCat("has \"", term, "\"; the terms are linear, fm, ffm and net",
                      Hint(DidYouMean(term, known))));
    f->Require(std::count(terms.begin(), terms.end(), term) == 1, "terms",
               StrCat("has \"", term, "\" twice"));
  }
}

// ---- tables
uint64_t BiasKey() { return HashText("mariana.bias"); }

std::vector<ClickTable> MakeClickTables(const ClickModelSpec& spec, const RowPlan& plan,
                                        uint64_t seed) {
  const FieldChoice choice(plan);
  std::vector<Parts> parts(choice.count());
  if (spec.has("linear")) {
    for (const size_t f : choice.Of("click.linear.fields", spec.linear.fields, true)) {
      parts[f].linear = 1;
    }
  }
  if (spec.has_embedding()) ChooseEmbeddings(spec.embedding, choice, &parts);
  if (spec.has("fm")) CheckOneSize(parts, choice);
  if (spec.has("ffm")) ChooseFactors(spec.factors, choice, &parts);

  std::map<Parts, std::vector<uint16_t>> groups;
  for (size_t f = 0; f < parts.size(); ++f) {
    if (parts[f].any()) groups[parts[f]].push_back(static_cast<uint16_t>(f));
  }
  std::vector<ClickTable> tables;
  for (auto& [wanted, fields] : groups) {
    tables.push_back(MakeTable(spec, wanted, seed));
    tables.back().fields = std::move(fields);
  }
  if (tables.empty() && (!spec.has("net") || plan.dense_columns() == 0)) {
    throw Fail(ExitCode::kUsage, "click.terms: no field has sparse features: numbers need ",
               "bucket: true or value: true");
  }
  // The narrowest table with linear weights: the bias needs nothing else.
  const auto first =
      std::find_if(tables.begin(), tables.end(), [](const ClickTable& t) { return t.linear >= 0; });
  if (first != tables.end()) first->bias = true;
  return tables;
}

}  // namespace mariana
