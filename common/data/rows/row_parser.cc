#include "common/data/rows/row_parser.h"

#include <algorithm>
#include <cstring>

#include "common/base/error.h"
#include "common/config/mistakes.h"
#include "common/data/rows/numbers.h"

namespace mariana {
namespace {

// Text scanned at a time: it and its positions stay in the first-level cache.
constexpr size_t kSlice = 1 << 15;

}  // namespace

std::string ShownText(const char* p, size_t n) {
  return "\"" + OneLine(std::string(p, std::min<size_t>(n, 64)), 40) + "\"";
}

RowParser::RowParser(const RowPlan* plan, const RowFiles* files, RowPart part, BadRows* bad)
    : plan_(plan),
      files_(files),
      choice_(*plan, part),
      every_row_(part == RowPart::kEveryRow),
      bad_(bad),
      encoder_(plan) {}

void RowParser::Start(const TextChunk& chunk) {
  chunk_ = &chunk;
  lines_ = 0;
  if (chunk.file != file_) StartFile(file_ = chunk.file);
  const bool mark = chunk.offset == 0 && chunk.size >= 3 &&
                    std::memcmp(chunk.text.data(), "\xEF\xBB\xBF", 3) == 0;
  slice_begin_ = slice_end_ = mark ? 3 : 0;  // a byte order mark
  slice_bytes_ = kSlice;
  positions_.lines = next_line_ = 0;
}

bool RowParser::Append(int64_t rows, RowBatch* batch) {
  const int64_t before = batch->rows;
  encoder_.Attach(batch, std::min(expected_rows_, static_cast<size_t>(rows - before)));
  bool more = !chunk_->overlong;
  if (chunk_->overlong) {
    Report(chunk_->offset, 0,
           StrCat("the line is longer than line_limit (", plan_->spec().line_limit, " bytes)"));
    ++records_;
  }
  while (more && encoder_.rows() < rows) {
    more = next_line_ < positions_.lines || FindLines();
    if (more) Record();
  }
  encoder_.Detach();
  bad_->CountRows(records_);
  records_ = 0;
  expected_rows_ = static_cast<size_t>(batch->rows - before) + 16;
  return more;
}

// The lines of the next slice; false at the end of the chunk.
bool RowParser::FindLines() {
  for (slice_begin_ = slice_end_; slice_begin_ < chunk_->size; slice_bytes_ *= 2) {
    const size_t n = std::min(slice_bytes_, chunk_->size - slice_begin_);
    FindDelimiters(UsableScans().front(), delimiters_, chunk_->text.data() + slice_begin_, n,
                   &positions_);
    slice_end_ = slice_begin_ + n;
    next_line_ = next_delimiter_ = 0;
    if (positions_.lines > 0) return true;
    if (slice_end_ == chunk_->size) break;
    slice_end_ = slice_begin_;  // of a line that is longer
  }
  return false;
}

// Parses the record that begins with the next line.
void RowParser::Record() {
  const char* text = chunk_->text.data() + slice_begin_;
  uint32_t* at = positions_.delimiters();
  RowLine line{text, at + next_delimiter_, 0, 0, 0};
  line.begin = line.at[-1] + 1;
  size_t end = next_line_;
  while (Continues(text + line.begin, at[positions_.line_end[end]] - line.begin)) {
    if (++end < positions_.lines) continue;
    if (slice_end_ < chunk_->size) {  // look at it again, with what follows
      if (line.begin == 0) slice_bytes_ *= 2;
      slice_end_ = slice_begin_ + line.begin;
      next_line_ = positions_.lines;
      return;
    }
    --end;
    break;
  }
  const uint32_t line_break = positions_.line_end[end];
  line.count = line_break - next_delimiter_;
  const uint32_t text_end = at[line_break];
  line.end = text_end;
  if (line.end > line.begin && text[line.end - 1] == '\r') --line.end;
  const bool header = skips_header_ && chunk_->offset == 0 && lines_ == 0;
  if (line.end > line.begin && !header) {
    at[line_break] = line.end;
    Row(line, chunk_->offset + static_cast<int64_t>(slice_begin_ + line.begin), lines_);
    at[line_break] = text_end;
  }
  lines_ += static_cast<int64_t>(end - next_line_) + 1;
  next_delimiter_ = line_break + 1;
  next_line_ = end + 1;
  if (next_line_ < positions_.lines) return;
  slice_end_ = slice_begin_ + text_end + 1;  // what follows is a line's beginning
  slice_bytes_ = kSlice;
}

void RowParser::Row(const RowLine& line, int64_t offset, int64_t index) {
  ++records_;
  RowMarks marks;
  marks.file = chunk_->file;
  marks.offset = offset;
  marks.past_cut = offset >= (*files_)[chunk_->file].held_out_from;
  std::string what;
  if (line.end - line.begin > plan_->spec().line_limit) {
    what = StrCat("the line is longer than line_limit (", plan_->spec().line_limit, " bytes)");
  } else if (ParseRow(line, &marks, &what) && encoder_.AddCrosses(&what)) {
    if (choice_.Takes(&marks)) encoder_.EndRow(marks.label, marks.weight, marks.group, marks.id);
    return;
  }
  Report(offset, index, what);
}

void RowParser::Report(int64_t offset, int64_t index, const std::string& what) {
  bad_->Add([&] {
    const int64_t line =
        chunk_->first_line > 0 ? chunk_->first_line + index : files_->LineAt(chunk_->file, offset);
    return StrCat((*files_)[chunk_->file].path, ":", line, ": ", what);
  });
  if (!every_row_) return;
  encoder_.BeginRow(0);
  encoder_.ClearNumbers();
  encoder_.CookNumbers();
  encoder_.EndRow(kMissing, 0, 0, 0);
}

bool RowParser::ParseLabel(const char* p, size_t n, float* label, std::string* what) const {
  const RowSpec& spec = plan_->spec();
  if (!spec.positive.empty()) {
    *label = std::string_view(p, n) == spec.positive ? 1 : 0;
    return true;
  }
  if (n == 1 && (*p == '0' || *p == '1')) {
    *label = static_cast<float>(*p - '0');
    return true;
  }
  if (!ParseReal(p, n, label)) {
    *what = "the label is " + ShownText(p, n) + "; expected a number";
    return false;
  }
  if (spec.labels == LabelKind::kNumber) return true;
  if (*label != 0 && *label != 1 && *label != -1) {
    *what = "the label is " + ShownText(p, n) +
            "; expected 1 for a click, 0 or -1 for none (or set labels: number)";
    return false;
  }
  *label = *label > 0 ? 1 : 0;
  return true;
}

bool RowParser::ParseWeight(const char* p, size_t n, float* weight, std::string* what) {
  if (ParseReal(p, n, weight) && *weight >= 0) return true;
  *what = "the weight is " + ShownText(p, n) + "; expected a number from 0 up";
  return false;
}

std::unique_ptr<RowParser> MakeRowParser(const RowPlan* plan, const RowFiles* files, RowPart part,
                                         BadRows* bad) {
  const RowParserInputs inputs{plan, files, part, bad};
  switch (plan->spec().format) {
    case RowFormat::kCriteo: return MakeCriteoParser(inputs);
    case RowFormat::kCsv: return MakeCsvParser(inputs);
    case RowFormat::kLibsvm: return MakeLibsvmParser(inputs);
    case RowFormat::kLibffm: return MakeLibffmParser(inputs);
    case RowFormat::kVw: return MakeVwParser(inputs);
  }
  return nullptr;
}

}  // namespace mariana
