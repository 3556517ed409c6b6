// export and inspect: models as files.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <utility>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/train/model_files.h"
#include "common/train/train_run.h"
#include "mariana_cluster/job.h"
#include "mariana_cluster/saved_model.h"
#include "mariana_cluster/scores/stored_weights.h"
#include "mariana_cluster/snapshot/stored_model.h"
#include "mariana_cluster/verbs.h"

namespace mariana {
namespace {

constexpr size_t kMostKnown = 20;  // features that inspect tells

std::vector<ClickTable> TablesOf(const SavedModel& model, const RowPlan& plan) {
  return MakeClickTables(model.click, plan, static_cast<uint64_t>(model.seed));
}

std::vector<std::string> NamesOf(const std::vector<ClickTable>& tables) {
  std::vector<std::string> names;
  for (const ClickTable& t : tables) names.push_back(t.spec.name);
  return names;
}

// ---- inspect

struct KnownWeight {
  std::string feature;
  float weight;
};

// Of the linear term, the largest first.
std::vector<KnownWeight> KnownWeights(const StoredModel& model, const RowPlan& plan,
                                      const ClickTable& table) {
  std::vector<KnownWeight> known;
  const auto names = KnownFeatures(plan, table);
  if (table.linear < 0 || names.empty()) return known;
  model.ForEachRow(table.spec.name, table.spec.width(), [&](int64_t key, const float* weights) {
    const auto [first, last] = names.equal_range(key);
    for (auto i = first; i != last; ++i) known.push_back({i->second, weights[table.linear]});
  });
  std::stable_sort(known.begin(), known.end(), [](const KnownWeight& a, const KnownWeight& b) {
    return std::abs(a.weight) > std::abs(b.weight);
  });
  return known;
}

void PrintTable(const StoredModel& model, const RowPlan& plan, const ClickTable& table) {
  const int64_t width = table.spec.width(), rows = model.RowsOf(table.spec.name, width);
  const bool hashed = table.spec.form == TableForm::kHashed;
  std::printf("  table %s: %s, %lld rows", table.spec.name.c_str(), hashed ? "hashed" : "keyed",
              static_cast<long long>(rows));
  if (hashed) {
    std::printf(" of 2^%lld (%.2f %%)", static_cast<long long>(table.spec.bits),
                100 * std::ldexp(static_cast<double>(rows), -static_cast<int>(table.spec.bits)));
  }
  std::printf(", %.2f MB, %zu fields\n", static_cast<double>(rows * (8 + 4 * width)) / 1e6,
              table.fields.size());
  for (const WeightSummary& part : SummarizeWeights(model, table)) {
    std::printf("    %-38s %12lld weights, norm %.6g, largest %.6g, %.2f %% are 0\n",
                part.part.c_str(), static_cast<long long>(part.weights), part.norm, part.largest,
                part.weights == 0
                    ? 0.0
                    : 100.0 * static_cast<double>(part.zeros) / static_cast<double>(part.weights));
  }
  const std::vector<KnownWeight> known = KnownWeights(model, plan, table);
  for (size_t i = 0; i < std::min(kMostKnown, known.size()); ++i) {
    std::printf("    linear weight of %-21s %12.6g\n", known[i].feature.c_str(),
                static_cast<double>(known[i].weight));
  }
  if (known.size() > kMostKnown) {
    std::printf("    and %zu more known features\n", known.size() - kMostKnown);
  }
}

void PrintDense(const HostTensor& tensor) {
  double square = 0;
  for (int64_t i = 0; i < tensor.shape.elements(); ++i) {
    square += static_cast<double>(tensor.f32()[i]) * tensor.f32()[i];
  }
  std::printf("  %-40s %-16s norm %.6g\n", tensor.name.c_str(), tensor.shape.ToString().c_str(),
              std::sqrt(square));
}

// ---- export

void CopyFile(const std::string& from, const std::string& to) {
  std::FILE* in = std::fopen(from.c_str(), "rb");
  if (in == nullptr) throw Fail(ExitCode::kBadData, from, ": cannot be opened");
  const std::unique_ptr<std::FILE, int (*)(std::FILE*)> closes(in, std::fclose);
  FileWriter out(to);
  std::vector<char> part(1 << 20);
  while (const size_t n = std::fread(part.data(), 1, part.size(), in)) out.Append(part.data(), n);
  if (std::ferror(in) != 0) throw Fail(ExitCode::kIo, from, ": cannot be read");
  out.Finish();
}

// Parts, and changes on top of them.
void JoinFiles(const StoredModel& from, const std::string& to) {
  const auto model = ReadSavedModel(from.newest());
  std::vector<std::pair<std::string, int64_t>> tables;
  for (const ClickTable& t : TablesOf(*model, RowPlan(model->rows))) {
    tables.emplace_back(t.spec.name, t.spec.width());
  }
  WriteInOneFile(from, tables, to);
}

// The sparse weights as text.
void WriteText(const StoredModel& stored, const std::string& to) {
  const auto model = ReadSavedModel(stored.newest());
  const RowPlan plan(model->rows);
  FileWriter out(to);
  const auto write = [&out](const std::string& text) { out.Append(text.data(), text.size()); };
  for (const ClickTable& table : TablesOf(*model, plan)) {
    const auto names = KnownFeatures(plan, table);
    std::string header =
        StrCat("table\t", table.spec.form == TableForm::kHashed ? "row" : "key", "\tfeature");
    const int64_t width = table.spec.width();
    for (const PartSpec& part : table.spec.parts) {
      for (int64_t i = 0; i < part.width; ++i) {
        header += "\t" + part.name + (part.width > 1 ? StrCat("_", i) : "");
      }
    }
    write(header + "\n");
    stored.ForEachRow(table.spec.name, width, [&](int64_t key, const float* weights) {
      std::string line = StrCat(table.spec.name, "\t", static_cast<uint64_t>(key), "\t");
      const auto [first, last] = names.equal_range(key);
      for (auto i = first; i != last; ++i) line += (i == first ? "" : " or ") + i->second;
      char number[32];
      for (int64_t i = 0; i < width; ++i) {
        std::snprintf(number, sizeof number, "\t%.9g", static_cast<double>(weights[i]));
        line += number;
      }
      write(line + "\n");
    });
  }
  out.Finish();
}

}  // namespace

int InspectVerb(const CommandLine& cl) {
  const StoredModel stored =
      StoredModel::Open(PathArgument(cl, "a run directory, checkpoint or .safetensors"));
  const SafetensorsFile& file = stored.newest();
  const auto model = ReadSavedModel(file);
  const RowPlan plan(model->rows);
  const std::vector<ClickTable> tables = TablesOf(*model, plan);
  std::string terms;
  for (const std::string& term : model->click.terms) terms += " " + term;
  std::printf("%s\n  terms:%s; %zu fields, %d dense columns\n", file.path().c_str(), terms.c_str(),
              plan.FieldNames().size(), plan.dense_columns());
  for (const ClickTable& table : tables) PrintTable(stored, plan, table);
  for (const SafetensorsFile::Entry& e : file.tensors()) {
    if (!stored.IsOfTable(e.name, NamesOf(tables))) PrintDense(file.Read(e.name));
  }
  for (const auto& [key, value] : file.metadata()) {
    const bool long_text = value.find('\n') != std::string::npos;
    std::printf("%s:%s%s\n", key.c_str(), long_text ? "\n" : " ", value.c_str());
  }
  return 0;
}

int ExportVerb(const CommandLine& cl) {
  JobSpec job;
  LoadConfig({cl.config, cl.overrides}, [&job](Fields* f) { job.Describe(f); });
  const std::string& to = job.output.path;
  const bool text = EndsWith(to, ".tsv");
  if (!text && !EndsWith(to, ".safetensors")) {
    throw Fail(ExitCode::kUsage, cl.config,
               ": output.path: needed by `export`, and must end in .safetensors or .tsv, e.g. "
               "output.path=model.safetensors");
  }
  const StoredModel from = StoredModel::Open(job.model.empty() ? RunPath(cl, job.name) : job.model);
  if (text) {
    WriteText(from, to);
  } else if (from.is_one_file()) {
    CopyFile(from.path(), to);
  } else {
    JoinFiles(from, to);
  }
  std::printf("%s -> %s\n", from.path().c_str(), to.c_str());
  return 0;
}

}  // namespace mariana
