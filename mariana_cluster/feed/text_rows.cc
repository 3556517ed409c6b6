#include "mariana_cluster/feed/text_rows.h"

#include <algorithm>

namespace mariana {
namespace {

class ThreadedRows : public TextRows {
 public:
  ThreadedRows(const TextRowsInputs& in, const RowReader::Options& options)
      : reader_(in.clock, in.plan, in.files, in.shards, options, in.bad),
        cut_(in.clock, "cut", 1) {}

  bool Next(int64_t rows, RowBatch* batch) override {
    batch->Clear();
    while (batch->rows < rows) {
      if (at_ == chunk_.rows) {
        at_ = 0;
        const auto next = [&] { return reader_.Next(&chunk_); };
        if (!cut_.Time(StageMeter::kWaitInput, next)) {
          chunk_.Clear();
          break;
        }
      }
      const int64_t taken = std::min(rows - batch->rows, chunk_.rows - at_);
      cut_.Time(StageMeter::kBusy, [&] { AppendRows(chunk_, at_, at_ + taken, batch); });
      at_ += taken;
    }
    return batch->rows > 0;
  }
  std::vector<StageSeconds> Seconds() const override {
    std::vector<StageSeconds> all = reader_.Seconds();
    all.push_back(cut_.Seconds());
    return all;
  }

 private:
  RowReader reader_;
  StageMeter cut_;
  RowBatch chunk_;
  int64_t at_ = 0;  // rows of chunk_ that were given out
};

class InlineRows : public TextRows {
 public:
  explicit InlineRows(const TextRowsInputs& in)
      : in_(in),
        parser_(MakeRowParser(in.plan, in.files, in.part, in.bad)),
        read_(in.clock, "read", 1),
        parse_(in.clock, "parse", 1) {
    options_.line_limit = in.plan->spec().line_limit;
    options_.quoted_breaks = in.plan->spec().format == RowFormat::kCsv && in.plan->spec().multiline;
  }

  bool Next(int64_t rows, RowBatch* batch) override {
    batch->Reuse();
    while (batch->rows < rows && (in_chunk_ || OpenChunk())) {
      parse_.Time(StageMeter::kBusy, [&] {
        in_chunk_ = parser_->Append(rows, batch);
        in_.bad->Check(false);
      });
    }
    if (batch->rows == 0) batch->Clear();
    return batch->rows > 0;
  }
  std::vector<StageSeconds> Seconds() const override { return {read_.Seconds(), parse_.Seconds()}; }

 private:
  bool OpenChunk() {
    if (!read_.Time(StageMeter::kBusy, [&] { return NextChunk(); })) {
      in_.bad->Check(true);
      return false;
    }
    parser_->Start(chunk_);
    return true;
  }
  bool NextChunk() {
    while (reader_ == nullptr || !reader_->Next(&chunk_)) {
      if (next_shard_ == in_.shards.size()) return false;
      reader_ = std::make_unique<ChunkReader>(in_.files, in_.shards[next_shard_++], options_);
    }
    return true;
  }

  const TextRowsInputs in_;
  const std::unique_ptr<RowParser> parser_;
  ChunkReader::Options options_;
  StageMeter read_, parse_;
  std::unique_ptr<ChunkReader> reader_;
  size_t next_shard_ = 0;
  TextChunk chunk_;
  bool in_chunk_ = false;  // the parser has more of it
};

}  // namespace

std::unique_ptr<TextRows> MakeTextRows(const TextRowsInputs& inputs, int parse_threads) {
  if (parse_threads == 0) return std::make_unique<InlineRows>(inputs);
  RowReader::Options options;
  options.part = inputs.part;
  options.parse_threads = parse_threads;
  return std::make_unique<ThreadedRows>(inputs, options);
}

}  // namespace mariana
