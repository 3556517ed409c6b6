#include "mariana_cluster/feed/text_rows.h"

namespace mariana {
namespace {

class ThreadedRows : public TextRows {
 public:
  ThreadedRows(const TextRowsInputs& in, const RowReader::Options& options)
      : reader_(in.clock, in.plan, in.files, in.shards, options, in.bad) {}
  bool Next(RowBatch* batch) override { return reader_.Next(batch); }
  std::vector<StageSeconds> Seconds() const override { return reader_.Seconds(); }

 private:
  RowReader reader_;
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

  bool Next(RowBatch* batch) override {
    batch->Reuse();
    while (batch->rows == 0) {
      if (!read_.Time(StageMeter::kBusy, [&] { return NextChunk(); })) {
        batch->Clear();
        in_.bad->Check(true);
        return false;
      }
      parse_.Time(StageMeter::kBusy, [&] {
        parser_->Parse(chunk_, batch);
        in_.bad->Check(false);
      });
    }
    return true;
  }
  std::vector<StageSeconds> Seconds() const override { return {read_.Seconds(), parse_.Seconds()}; }

 private:
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
