#include "common/data/frame_stream.h"

#include <glog/logging.h>

#include <algorithm>
#include <mutex>
#include <utility>

#include "common/data/frame_plan.h"

namespace mariana {
namespace {

// Counts the blocks in memory, wherever they are referred to from.
class BlockCounter {
 public:
  std::shared_ptr<FrameBlock> Make(std::shared_ptr<BlockCounter> self) {
    const int now = ++live_;
    int peak = peak_;
    while (peak < now && !peak_.compare_exchange_weak(peak, now)) {
    }
    return {new FrameBlock, [self = std::move(self)](FrameBlock* b) {
              delete b;
              --self->live_;
            }};
  }
  int peak() const { return peak_; }

 private:
  std::atomic<int> live_{0}, peak_{0};
};

// Where a row of a block comes from.
struct Piece {
  int32_t utterance;
  int32_t begin, end;  // rows of the block
  int32_t first;       // frame of the utterance at row `begin`
};

// A block that fills: own utterances from row 0, rows carried in from the block before at the end.
struct Filling {
  int index = 0;
  std::shared_ptr<FrameBlock> block;
  std::vector<Piece> pieces;           // the utterances, ascending rows
  std::vector<int32_t> labels;         // of rows; empty without labels
  std::vector<int32_t> reading_order;  // into pieces
  size_t next = 0;                     // of reading_order, to be read
  size_t left = 0;                     // pieces not read yet
};

// A sample, with what the next block needs of it.
struct Sample {
  int32_t utterance, frame, label;
  int32_t center, begin, end;  // rows
};

}  // namespace

class FrameStream::Impl {
 public:
  Impl(const UtteranceSource* source, const FrameStreamOptions& o)
      : source_(source),
        options_(o),
        clock_(o.clock != nullptr ? o.clock : Clock::Real()),
        plan_(*source, {o.seed, o.epoch, o.block_frames, o.shuffle}),
        has_labels_(source->has_labels()),
        carry_rows_((o.batch_size - 1) * (o.left + o.right + 1)),
        next_block_(FirstBlock()),
        may_read_(clock_),
        full_(clock_, 1),
        batches_(clock_, static_cast<size_t>(std::max(o.prefetch, 1))),
        consumer_(clock_, "consume", 1),
        pipeline_(clock_) {
    CHECK(o.batch_size > 0 && o.left >= 0 && o.right >= 0 && o.first_step >= 0);
    pipeline_.OnStop([this] { Close(); });
    pipeline_.AddStage("read", std::max(o.readers, 1), [this](StageMeter* m) { Read(m); });
    pipeline_.AddStage("assemble", 1, [this](StageMeter* m) { Assemble(m); });
    returned_ns_ = clock_->NowNs();
  }

  int64_t steps() const {
    return (plan_.total_frames() + options_.batch_size - 1) / options_.batch_size;
  }

  bool Next(FrameBatch* batch) {
    if (handed_out_) consumer_.Add(StageMeter::kBusy, clock_->NowNs() - returned_ns_);
    auto next = consumer_.Pop(&batches_);
    returned_ns_ = clock_->NowNs();
    handed_out_ = next.has_value();
    if (!next) pipeline_.RethrowError();
    if (next) *batch = std::move(*next);
    return handed_out_;
  }

  std::vector<StageSeconds> Seconds() const {
    auto all = pipeline_.Seconds();
    all.push_back(consumer_.Seconds());
    return all;
  }
  int peak_blocks() const { return counter_->peak(); }

 private:
  int64_t FirstSample() const { return options_.first_step * options_.batch_size; }
  int FirstBlock() const {
    return FirstSample() >= plan_.total_frames() ? plan_.num_blocks()
                                                 : plan_.BlockOf(FirstSample());
  }

  void Close() {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      may_read_.NotifyAll();
    }
    full_.Close();
    batches_.Close();
  }

  // ---- read -----------------------------------------------------------------------------------

  std::shared_ptr<Filling> Start(int index) {
    auto f = std::make_shared<Filling>();
    f->index = index;
    int32_t row = 0;
    for (int32_t u : plan_.Utterances(index)) {
      const int32_t n = source_->frames(u);
      f->pieces.push_back({u, row, row + n, 0});
      row += n;
    }
    f->left = f->pieces.size();
    f->reading_order.resize(f->left);
    for (size_t i = 0; i < f->left; ++i) f->reading_order[i] = static_cast<int32_t>(i);
    std::sort(f->reading_order.begin(), f->reading_order.end(), [&](int32_t a, int32_t b) {
      return source_->read_rank(f->pieces[a].utterance) <
             source_->read_rank(f->pieces[b].utterance);
    });
    f->block = counter_->Make(counter_);
    f->block->dim = source_->dim();
    f->block->rows = row;
    f->block->frames.reserve((row + carry_rows_) * f->block->dim);
    f->block->frames.resize(row * f->block->dim);
    if (has_labels_) f->labels.resize(row);
    return f;
  }

  // The next utterance to read, of the block that fills. A new block starts when the one before
  // has gone to the assembler, so at most one fills or waits.
  std::shared_ptr<Filling> TakePiece(StageMeter* meter, size_t* piece) {
    std::unique_lock<std::mutex> lock(mutex_);
    meter->Time(StageMeter::kWaitOutput, [&] {
      may_read_.Wait(&lock, [&] {
        return pipeline_.stopping() || next_block_ >= plan_.num_blocks() || filling_ == nullptr ||
               filling_->next < filling_->pieces.size();
      });
    });
    if (pipeline_.stopping()) return nullptr;
    if (filling_ == nullptr) {
      if (next_block_ >= plan_.num_blocks()) return nullptr;
      filling_ = Start(next_block_);
    }
    if (filling_->next >= filling_->pieces.size()) return nullptr;  // of the last block
    *piece = static_cast<size_t>(filling_->reading_order[filling_->next++]);
    return filling_;
  }

  void Read(StageMeter* meter) {
    size_t piece = 0;
    Matrix features;
    std::vector<int32_t> labels;
    while (const auto f = TakePiece(meter, &piece)) {
      meter->Time(StageMeter::kBusy, [&] {
        const Piece& p = f->pieces[piece];
        source_->Load(p.utterance, &features, has_labels_ ? &labels : nullptr);
        CHECK_EQ(features.rows, p.end - p.begin);
        CHECK_EQ(features.cols, f->block->dim);
        std::copy(features.data.begin(), features.data.end(),
                  f->block->frames.begin() + p.begin * f->block->dim);
        if (has_labels_) std::copy(labels.begin(), labels.end(), f->labels.begin() + p.begin);
      });
      bool full;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        full = --f->left == 0;
        if (full) ++next_block_;
        if (full && next_block_ >= plan_.num_blocks()) may_read_.NotifyAll();
      }
      if (full) meter->Push(&full_, f);
    }
  }

  // ---- assemble -------------------------------------------------------------------------------

  void Assemble(StageMeter* meter) {
    std::vector<Sample> carried;
    std::shared_ptr<const FrameBlock> before;
    for (int b = FirstBlock(); b < plan_.num_blocks(); ++b) {
      auto next = meter->Pop(&full_);
      if (!next) return;
      {
        std::unique_lock<std::mutex> lock(mutex_);
        filling_ = nullptr;
        may_read_.NotifyAll();
      }
      if (!CutBlock(meter, **next, &carried, &before)) return;
    }
    batches_.Close();
  }

  // Copies the context windows of samples of `from` to the end of `to`; they refer to it then.
  void Carry(const FrameBlock& from, std::vector<Sample>* samples, FrameBlock* to) {
    for (Sample& s : *samples) {
      const int32_t begin = std::max(s.begin, s.center - options_.left);
      const int32_t end = std::min(s.end, s.center + options_.right + 1);
      const auto at = static_cast<int32_t>(to->rows);
      to->frames.insert(to->frames.end(), from.frames.begin() + begin * from.dim,
                        from.frames.begin() + end * from.dim);
      to->rows += end - begin;
      s.center = at + s.center - begin;
      s.begin = at;
      s.end = at + end - begin;
    }
  }

  // Hands out the block's batches; what is left over goes to `carried`. False when stopped.
  bool CutBlock(StageMeter* meter, const Filling& f, std::vector<Sample>* carried,
                std::shared_ptr<const FrameBlock>* before) {
    std::vector<int32_t> order, piece_of;
    FrameBatch batch;
    int64_t at = 0, position = plan_.start(f.index);  // of the next own sample: in order, in epoch
    meter->Time(StageMeter::kBusy, [&] {
      if (*before != nullptr) Carry(**before, carried, f.block.get());
      order = plan_.Order(f.index);
      piece_of.resize(order.size());
      for (size_t p = 0; p < f.pieces.size(); ++p) {
        std::fill(piece_of.begin() + f.pieces[p].begin, piece_of.begin() + f.pieces[p].end,
                  static_cast<int32_t>(p));
      }
    });
    *before = f.block;
    if (position < FirstSample()) {
      at = FirstSample() - position;
      position = FirstSample();
    }
    const int64_t n = static_cast<int64_t>(order.size()), size = options_.batch_size;
    const bool last = f.index + 1 == plan_.num_blocks();
    for (;;) {
      const int64_t have = static_cast<int64_t>(carried->size());
      const int64_t take = std::min(size - have, n - at);
      meter->Time(StageMeter::kBusy, [&] {
        for (int64_t i = at; i < at + take; ++i) {
          const Piece& p = f.pieces[piece_of[order[i]]];
          carried->push_back({p.utterance, order[i] - p.begin, has_labels_ ? f.labels[order[i]] : 0,
                              order[i], p.begin, p.end});
        }
      });
      at += take;
      position += take;
      const bool full = static_cast<int64_t>(carried->size()) == size;
      if (carried->empty() || (!full && !last)) return true;
      FrameBatch batch =
          meter->Time(StageMeter::kBusy, [&] { return MakeBatch(*carried, f.block); });
      batch.step = (position - 1) / size;
      carried->clear();
      if (!meter->Push(&batches_, std::move(batch))) return false;
    }
  }

  FrameBatch MakeBatch(const std::vector<Sample>& samples,
                       const std::shared_ptr<const FrameBlock>& block) const {
    FrameBatch batch;
    batch.block = block;
    for (auto* v : {&batch.center, &batch.begin, &batch.end, &batch.utterance, &batch.frame}) {
      v->reserve(samples.size());
    }
    for (const Sample& s : samples) {
      batch.center.push_back(s.center);
      batch.begin.push_back(s.begin);
      batch.end.push_back(s.end);
      batch.utterance.push_back(s.utterance);
      batch.frame.push_back(s.frame);
      if (has_labels_) batch.label.push_back(s.label);
    }
    return batch;
  }

  const UtteranceSource* const source_;
  const FrameStreamOptions options_;
  Clock* const clock_;
  const FramePlan plan_;
  const bool has_labels_;
  const int64_t carry_rows_;  // the most that Carry appends
  const std::shared_ptr<BlockCounter> counter_ = std::make_shared<BlockCounter>();

  std::mutex mutex_;  // of filling_ and next_block_
  std::shared_ptr<Filling> filling_;
  int next_block_;
  CondVar may_read_;

  Queue<std::shared_ptr<Filling>> full_;
  Queue<FrameBatch> batches_;
  StageMeter consumer_;
  int64_t returned_ns_ = 0;
  bool handed_out_ = false;
  Pipeline pipeline_;  // last: its threads use all of the above
};

FrameStream::FrameStream(const UtteranceSource* source, const FrameStreamOptions& options)
    : impl_(std::make_unique<Impl>(source, options)) {}
FrameStream::~FrameStream() = default;
int64_t FrameStream::steps() const { return impl_->steps(); }
bool FrameStream::Next(FrameBatch* batch) { return impl_->Next(batch); }
std::vector<StageSeconds> FrameStream::Seconds() const { return impl_->Seconds(); }
int FrameStream::peak_blocks() const { return impl_->peak_blocks(); }

}  // namespace mariana
