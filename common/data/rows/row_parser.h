// RowParser: the lines of a chunk of text -> rows of a RowBatch. One class a format (criteo.cc,
// csv.cc, libsvm.cc, libffm.cc, vw.cc) behind it; the walk over lines, the reports of malformed
// ones and the choice of rows are here.
//
// Every line is checked in full, those of rows not taken too. A malformed one is counted, told
// (BadRows) and leaves no trace in the batch (but see RowPart::kEveryRow). Empty lines are skipped.
// Threading: an object belongs to one thread; plan, files and bad rows are shared.
#pragma once

#include <cstdint>
#include <memory>
#include <string>

#include "common/data/rows/bad_rows.h"
#include "common/data/rows/chunk_reader.h"
#include "common/data/rows/row_choice.h"
#include "common/data/rows/row_encoder.h"
#include "common/data/rows/row_files.h"
#include "common/data/rows/scan.h"

namespace mariana {

// A line and where its delimiters are; offsets into `text`.
struct RowLine {
  const char* text;
  const uint32_t* at;  // [count] delimiters inside, then the line's end; at[-1] + 1 is its begin
  uint32_t count;
  uint32_t begin, end;  // without the line break, \n or \r\n
};

class RowParser {
 public:
  RowParser(const RowPlan* plan, const RowFiles* files, RowPart part, BadRows* bad);
  virtual ~RowParser() = default;
  RowParser(const RowParser&) = delete;
  RowParser& operator=(const RowParser&) = delete;

  // Appends the chunk's rows to the batch.
  void Parse(const TextChunk& chunk, RowBatch* batch) {
    Start(chunk);
    Append(INT64_MAX, batch);
  }
  // The same in parts: after Start, Append appends rows until the batch has `rows` of them; false
  // when the chunk, which must stay until then, is at its end.
  void Start(const TextChunk& chunk);
  bool Append(int64_t rows, RowBatch* batch);

 protected:
  // A line's row into the encoder (begun, not ended) and *marks. False: malformed, `what` says how.
  virtual bool ParseRow(const RowLine& line, RowMarks* marks, std::string* what) = 0;
  // Before the first line of another file.
  virtual void StartFile(int /*file*/) {}
  // Whether the record that begins with this text goes on in the next line.
  virtual bool Continues(const char* /*text*/, size_t /*n*/) const { return false; }

  // The label that a text means.
  bool ParseLabel(const char* p, size_t n, float* label, std::string* what) const;
  // A weight: a number from 0 up.
  static bool ParseWeight(const char* p, size_t n, float* weight, std::string* what);

  const RowPlan& plan() const { return *plan_; }
  const RowFiles& files() const { return *files_; }
  RowEncoder* encoder() { return &encoder_; }

  Delimiters delimiters_;
  bool skips_header_ = false;  // the first line of each file

 private:
  bool FindLines();
  void Record();
  void Row(const RowLine& line, int64_t offset, int64_t index);
  // A malformed row: told, and left out or, of every row, kept without features.
  void Report(int64_t offset, int64_t index, const std::string& what);

  const RowPlan* plan_;
  const RowFiles* files_;
  const RowChoice choice_;
  const bool every_row_;
  BadRows* bad_;
  RowEncoder encoder_;
  const TextChunk* chunk_ = nullptr;
  int64_t lines_ = 0;    // of the chunk, so far
  int64_t records_ = 0;  // likewise, since they were told
  // The slice of the chunk whose delimiters are found; lines from next_line_ on are to come.
  Positions positions_;
  size_t slice_begin_ = 0, slice_end_ = 0;
  size_t slice_bytes_ = 0;       // to look at, the next time
  size_t next_line_ = 0;         // of positions_
  uint32_t next_delimiter_ = 0;  // the first of that line
  int file_ = -1;
  size_t expected_rows_ = 64;
};

std::unique_ptr<RowParser> MakeRowParser(const RowPlan* plan, const RowFiles* files, RowPart part,
                                         BadRows* bad);

// A piece of text as messages show it: quoted, on one line, cut short.
std::string ShownText(const char* p, size_t n);

// The formats, for MakeRowParser.
struct RowParserInputs {
  const RowPlan* plan;
  const RowFiles* files;
  RowPart part;
  BadRows* bad;
};
std::unique_ptr<RowParser> MakeCriteoParser(const RowParserInputs& inputs);
std::unique_ptr<RowParser> MakeCsvParser(const RowParserInputs& inputs);
std::unique_ptr<RowParser> MakeLibsvmParser(const RowParserInputs& inputs);
std::unique_ptr<RowParser> MakeLibffmParser(const RowParserInputs& inputs);
std::unique_ptr<RowParser> MakeVwParser(const RowParserInputs& inputs);

}  // namespace mariana
