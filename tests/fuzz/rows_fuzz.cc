// Click logs from arbitrary bytes, in every format: no crash, memory bounded by the input, each
// line is a row or is counted as malformed, the batch is consistent, and cutting the text into
// small chunks gives the same rows.
//
// The first byte chooses the format and its config; the rest is the file.
#include <cstdint>
#include <cstdlib>
#include <memory>
#include <string>
#include <vector>

#include "common/base/error.h"
#include "common/config/config.h"
#include "common/data/rows/packed_rows.h"
#include "common/data/rows/row_parser.h"

namespace mariana {
namespace {

const char* const kConfigs[] = {
    "format: criteo\n",
    "format: csv\nheader: false\ncolumns: [label, a, b, t]\nmultiline: true\nmissing: ['?']\n"
    "fields: [{name: a, kind: multi, separator: ';'}, {name: b, kind: numeric, value: true, "
    "bucket: "
    "true, boundaries: [0, 1]}]\ncrosses: [{fields: [a, b]}]\nheld_out: {kind: after, column: t, "
    "after: '5'}\n",
    "format: csv\nheader: false\ncolumns: [label, a, w, u]\ndelimiter: tab\nlabels: "
    "number\nweight: "
    "w\ngroup: u\nfields: [{name: a}]\n",
    "format: libsvm\nfields: [{name: a, kind: multi}, {name: b, kind: numeric}, {name: x, column: "
    "'*'}]\ngroup: qid\n",
    "format: libffm\nfield_count: 8\n",
    "format: libffm\nfields: [{name: a}, {name: b, kind: numeric, log: true}, {name: x, column: "
    "'*'}]\ncrosses: [{fields: [a, x]}]\n",
    "format: vw\nid: tag\nfields: [{name: a}, {name: b, kind: numeric, value: true}, {name: x, "
    "column: '*'}]\n",
    "format: libsvm\nnegatives: {keep: 0.5}\n",
};
constexpr size_t kFormats = sizeof kConfigs / sizeof *kConfigs;

// A format with its plan, made once.
struct Format {
  explicit Format(const char* yaml) {
    LoadConfigText(yaml, "fuzz", "/", {}, [&](Fields* f) { spec.Describe(f); });
    spec.line_limit = 256;
    plan = std::make_unique<RowPlan>(spec);
    files = std::make_unique<RowFiles>(std::vector<std::string>{"-"}, spec);
    parser = MakeRowParser(plan.get(), files.get(), RowPart::kTrain, &bad);
  }
  RowSpec spec;
  std::unique_ptr<RowPlan> plan;
  std::unique_ptr<RowFiles> files;
  BadRows bad{1,
              [](const std::string& line) {
                if (line.size() > 2000 || line.find('\n') != std::string::npos) std::abort();
              },
              1000000000};
  std::unique_ptr<RowParser> parser;
};

void CheckConsistent(const RowBatch& batch, const RowPlan& plan) {
  const auto rows = static_cast<size_t>(batch.rows);
  const size_t features = batch.key.size();
  if (batch.label.size() != rows || batch.weight.size() != rows || batch.begin.size() != rows + 1 ||
      batch.begin[0] != 0 || batch.begin[rows] != features || batch.field.size() != features ||
      batch.value.size() != features ||
      batch.dense.size() != rows * static_cast<size_t>(plan.dense_columns())) {
    std::abort();
  }
  for (size_t r = 0; r < rows; ++r) {
    for (uint32_t i = batch.begin[r]; i < batch.begin[r + 1]; ++i) {
      const bool ordered = i == batch.begin[r] || batch.field[i - 1] <= batch.field[i];
      if (!ordered || batch.key[i] == 0 || !(batch.value[i] * 0 == 0)) std::abort();
    }
  }
}

// As the reader cuts it: whole lines, ended, padded.
void ParsePiece(Format* format, std::string_view text, int64_t offset, RowBatch* batch) {
  TextChunk chunk;
  chunk.offset = offset;
  chunk.text = std::string(text);
  if (text.back() != '\n') chunk.text += '\n';
  chunk.size = chunk.text.size();
  chunk.text.append(kTextPadding, '\0');
  format->parser->Parse(chunk, batch);
}

void Consume(Format* format, std::string_view text) {
  RowBatch whole, pieces;
  ParsePiece(format, text, 0, &whole);
  CheckConsistent(whole, *format->plan);
  if (!format->spec.multiline) {
    for (size_t begin = 0; begin < text.size();) {
      const size_t end = std::min(text.find('\n', begin), text.size() - 1) + 1;
      ParsePiece(format, text.substr(begin, end - begin), static_cast<int64_t>(begin), &pieces);
      begin = end;
    }
    if (pieces.key != whole.key || pieces.label != whole.label) std::abort();
  }
  if (whole.rows == 0) return;
  const int fields = static_cast<int>(format->plan->FieldNames().size());
  std::vector<char> packed;
  packed.resize(PackRows(whole, 0, whole.rows, fields, 8, &packed));
  packed.shrink_to_fit();
  const PackedRows rows(packed.data());
  const size_t features = whole.key.size();
  std::vector<uint64_t> key(features + PackedRows::kSlack);
  std::vector<uint16_t> field(features + PackedRows::kSlack);
  std::vector<float> value(features + PackedRows::kSlack);
  size_t used = 0;
  for (int64_t r = 0; r < rows.rows(); ++r) {
    used += rows.ReadFeatures(r, &key[used], &field[used], &value[used]);
  }
  key.resize(features);
  field.resize(features);
  value.resize(features);
  if (used != features || key != whole.key || field != whole.field || value != whole.value) {
    std::abort();
  }
}

}  // namespace
}  // namespace mariana

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  static const auto formats = [] {
    std::vector<std::unique_ptr<mariana::Format>> all;
    for (const char* yaml : mariana::kConfigs)
      all.push_back(std::make_unique<mariana::Format>(yaml));
    return all;
  }();
  if (size < 2) return 0;
  mariana::Consume(formats[data[0] % mariana::kFormats].get(),
                   {reinterpret_cast<const char*>(data) + 1, size - 1});
  return 0;
}
