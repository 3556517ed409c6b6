#include "common/data/rows/fit_numbers.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "common/base/error.h"
#include "common/data/rows/row_parser.h"

namespace mariana {
namespace {

constexpr int kShards = 64;    // the sample is the beginning of each
constexpr size_t kExact = 64;  // distinct values below which each is a bucket

bool NeedsFit(const RowFieldSpec& f) {
  return f.kind == RowFieldKind::kNumeric &&
         ((f.bucket && f.boundaries.empty()) || (f.standardise && f.deviation == 0));
}

// The numbers of the fields that need it, as they stand in the text, as dense columns.
RowSpec SampleSpec(const RowSpec& spec, std::vector<RowFieldSpec*>* targets,
                   std::vector<RowFieldSpec>* fields) {
  RowSpec sample = spec;
  sample.fields.clear();
  sample.crosses.clear();
  sample.negatives.keep = 1;
  for (RowFieldSpec& f : *fields) {
    if (!NeedsFit(f)) continue;
    targets->push_back(&f);
    RowFieldSpec raw;
    raw.name = f.name;
    raw.column = f.column;
    raw.kind = RowFieldKind::kNumeric;
    raw.missing = std::numeric_limits<double>::quiet_NaN();
    sample.fields.push_back(raw);
  }
  return sample;
}

// values[c]: the numbers of column c that are not missing.
std::vector<std::vector<float>> Sample(const RowFiles& files, const RowSpec& spec, int64_t rows) {
  const RowPlan plan(spec);
  BadRows bad(spec.max_bad_fraction, nullptr);
  const auto parser = MakeRowParser(&plan, &files, RowPart::kTrain, &bad);
  ChunkReader::Options options;
  options.line_limit = spec.line_limit;
  options.quoted_breaks = spec.format == RowFormat::kCsv && spec.multiline;
  std::vector<std::vector<float>> values(static_cast<size_t>(plan.dense_columns()));
  RowBatch batch;
  TextChunk chunk;
  for (const RowShard& shard : files.Shards(kShards)) {
    ChunkReader reader(&files, shard, options);
    for (int64_t seen = 0; seen < rows / kShards + 1 && reader.Next(&chunk); seen += batch.rows) {
      batch.Clear();
      parser->Parse(chunk, &batch);
      for (size_t i = 0; i < batch.dense.size(); ++i) {
        if (!std::isnan(batch.dense[i])) values[i % values.size()].push_back(batch.dense[i]);
      }
    }
  }
  bad.Check(true);
  return values;
}

void MeasureMoments(const std::vector<float>& values, RowFieldSpec* field) {
  double sum = 0, squares = 0;
  const auto transformed = [&](float x) {
    return field->log ? std::copysign(std::log1p(std::abs(double{x})), double{x}) : double{x};
  };
  for (const float x : values) sum += transformed(x);
  const auto n = static_cast<double>(values.size());
  field->mean = sum / n;
  for (const float x : values) {
    const double d = transformed(x) - field->mean;
    squares += d * d;
  }
  const double deviation = std::sqrt(squares / n);
  field->deviation = deviation > 0 ? deviation : 1;
}

}  // namespace

bool NeedsFit(const RowSpec& spec) {
  const std::vector<RowFieldSpec> fields = EffectiveFields(spec);
  return std::any_of(fields.begin(), fields.end(),
                     [](const RowFieldSpec& f) { return NeedsFit(f); });
}

std::vector<double> QuantileBoundaries(std::vector<float> values, int64_t parts) {
  std::sort(values.begin(), values.end());
  std::vector<float> distinct;
  std::unique_copy(values.begin(), values.end(), std::back_inserter(distinct));
  if (distinct.size() < kExact) return {distinct.begin() + 1, distinct.end()};
  const auto zeros = std::equal_range(values.begin(), values.end(), 0.0f);
  std::vector<double> boundaries;
  if (zeros.first != zeros.second) {
    boundaries.push_back(0);
    if (zeros.second != values.end()) boundaries.push_back(*zeros.second);
    values.erase(zeros.first, zeros.second);
  }
  for (int64_t q = 1; q < parts; ++q) {
    boundaries.push_back(
        values[values.size() * static_cast<size_t>(q) / static_cast<size_t>(parts)]);
  }
  std::sort(boundaries.begin(), boundaries.end());
  boundaries.erase(std::unique(boundaries.begin(), boundaries.end()), boundaries.end());
  return boundaries;
}

void FitNumbers(const RowFiles& files, int64_t rows, RowSpec* spec) {
  if (!NeedsFit(*spec)) return;
  for (int i = 0; i < files.size(); ++i) {
    if (files[i].packing != Packing::kStream) continue;
    throw Fail(ExitCode::kBadData, files[i].path,
               ": is read once only, and quantiles or deviations are to be measured first; give "
               "boundaries, mean and deviation in the config");
  }
  std::vector<RowFieldSpec*> targets;
  spec->fields = EffectiveFields(*spec);
  const RowSpec sample = SampleSpec(*spec, &targets, &spec->fields);
  const std::vector<std::vector<float>> values = Sample(files, sample, rows);
  for (size_t i = 0; i < targets.size(); ++i) {
    RowFieldSpec* field = targets[i];
    if (values[i].empty()) {
      throw Fail(ExitCode::kBadData, "field \"", field->name, "\" (column \"", field->column,
                 "\") has no number in the data: cannot measure its quantiles or deviation");
    }
    if (field->bucket && field->boundaries.empty()) {
      field->boundaries = QuantileBoundaries(values[i], field->quantiles);
      if (field->boundaries.empty()) field->boundaries.push_back(values[i][0]);
    }
    if (field->standardise && field->deviation == 0) MeasureMoments(values[i], field);
  }
}

}  // namespace mariana
