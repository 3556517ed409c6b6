#include "mariana_cluster/scores/stored_weights.h"

#include <algorithm>
#include <cmath>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr int64_t kRowsAtOnce = 1 << 14;

const SafetensorsFile::Entry& FindTensor(const SafetensorsFile& file, const std::string& name,
                                         Dtype dtype, const Shape& shape) {
  const SafetensorsFile::Entry* e = file.Find(name);
  if (e == nullptr || e->dtype != dtype || e->shape != shape ||
      e->stored != SafetensorsFile::Stored::kAsRead) {
    throw Fail(ExitCode::kBadData, file.path(), ": tensor \"", name, "\" is ",
               e == nullptr ? "missing" : StrCat(Name(e->dtype), " ", e->shape.ToString()),
               "; expected ", Name(dtype), " ", shape.ToString());
  }
  return *e;
}

// "I1 < 2", "I1 in [2, 5)", "I1 >= 5".
std::string BucketName(const FieldPlan& field, size_t bucket) {
  const std::vector<float>& b = field.boundaries;
  if (b.empty()) return field.name;
  if (bucket == 0) return StrCat(field.name, " < ", b.front());
  if (bucket == b.size()) return StrCat(field.name, " >= ", b.back());
  return StrCat(field.name, " in [", b[bucket - 1], ", ", b[bucket], ")");
}

}  // namespace

int64_t StoredRows(const SafetensorsFile& file, const ClickTable& table) {
  const SafetensorsFile::Entry* e = file.Find(table.spec.name + ".key");
  return e == nullptr || e->shape.rank() != 1 ? 0 : e->shape[0];
}

void ForEachStoredRow(const SafetensorsFile& file, const ClickTable& table,
                      const std::function<void(int64_t key, const float* weights)>& f) {
  const int64_t rows = StoredRows(file, table), width = table.spec.width();
  const auto& keys = FindTensor(file, table.spec.name + ".key", Dtype::kI64, {rows});
  const auto& values = FindTensor(file, table.spec.name + ".value", Dtype::kF32, {rows, width});
  std::vector<int64_t> key(static_cast<size_t>(std::min(rows, kRowsAtOnce)));
  std::vector<float> value(key.size() * static_cast<size_t>(width));
  for (int64_t first = 0; first < rows; first += kRowsAtOnce) {
    const int64_t n = std::min(kRowsAtOnce, rows - first), row_bytes = width * 4;
    file.ReadBytes(keys, first * 8, n * 8, reinterpret_cast<char*>(key.data()));
    file.ReadBytes(values, first * row_bytes, n * row_bytes, reinterpret_cast<char*>(value.data()));
    for (int64_t i = 0; i < n; ++i)
      f(key[static_cast<size_t>(i)], &value[static_cast<size_t>(i * width)]);
  }
}

std::multimap<int64_t, std::string> KnownFeatures(const RowPlan& plan, const ClickTable& table) {
  std::multimap<int64_t, std::string> names;
  const bool hashed = table.spec.form == TableForm::kHashed;
  const auto add = [&](uint64_t key, const std::string& name) {
    names.emplace(static_cast<int64_t>(hashed ? key >> (64 - table.spec.bits) : key), name);
  };
  if (table.bias) add(BiasKey(), "bias");
  for (const uint16_t f : table.fields) {
    if (f >= plan.fields().size()) continue;  // a cross
    const FieldPlan& field = plan.fields()[f];
    if (field.kind != RowFieldKind::kNumeric) continue;
    if (field.value) add(field.value_key, field.name);
    for (size_t b = 0; field.bucket && b <= field.boundaries.size(); ++b) {
      add(MakeKey(field.seed, HashNumber(b)), BucketName(field, b));
    }
  }
  return names;
}

std::vector<WeightSummary> SummarizeWeights(const SafetensorsFile& file, const ClickTable& table) {
  std::vector<WeightSummary> parts;
  for (const PartSpec& part : table.spec.parts) {
    parts.emplace_back();
    parts.back().part = part.name;
  }
  ForEachStoredRow(file, table, [&](int64_t, const float* w) {
    for (size_t p = 0; p < parts.size(); ++p) {
      for (int64_t i = 0; i < table.spec.parts[p].width; ++i, ++w) {
        ++parts[p].weights;
        parts[p].zeros += *w == 0 ? 1 : 0;
        parts[p].norm += static_cast<double>(*w) * *w;
        parts[p].largest = std::max(parts[p].largest, std::abs(static_cast<double>(*w)));
      }
    }
  });
  for (WeightSummary& part : parts) part.norm = std::sqrt(part.norm);
  return parts;
}

}  // namespace mariana
