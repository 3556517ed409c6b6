#include "common/data/images/image_stream.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <mutex>
#include <new>
#include <utility>

#include "common/base/error.h"
#include "common/data/images/image_plan.h"

namespace mariana {
namespace {

constexpr size_t kAlignment = 64;
constexpr int64_t kLongestRun = 8;  // images that go through the stages together

// Memory of batches, used again. Lives as long as a batch does.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  explicit BufferPool(size_t bytes)
      : bytes_((std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment) {}
  ~BufferPool() {
    for (void* p : free_) std::free(p);
  }
  std::shared_ptr<void> Take() {
    void* p = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        p = free_.back();
        free_.pop_back();
      } else {
        ++buffers_;
      }
    }
    if (p == nullptr) p = std::aligned_alloc(kAlignment, bytes_);
    if (p == nullptr) throw Fail(ExitCode::kIo, "out of memory: a batch of ", bytes_, " bytes");
    return {p, [pool = shared_from_this()](void* used) { pool->Return(used); }};
  }
  int buffers() const {
    std::unique_lock<std::mutex> lock(mutex_);
    return buffers_;
  }

 private:
  void Return(void* p) {
    std::unique_lock<std::mutex> lock(mutex_);
    free_.push_back(p);
  }

  const size_t bytes_;
  mutable std::mutex mutex_;
  std::vector<void*> free_;
  int buffers_ = 0;
};

// A batch that fills.
struct Filling {
  std::shared_ptr<ImageBatch> batch;
  int64_t left = 0;           // rows not decoded yet
  std::vector<uint8_t> lost;  // row has no image; empty as long as there is none
};

// Some consecutive rows of a batch, on their way.
struct Run {
  Filling* filling = nullptr;
  int64_t first_row = 0;
  std::vector<int64_t> records;
  std::vector<ImageBytes> bytes;     // as many, or more left from an earlier use
  std::vector<std::string> problem;  // empty: it was read
};

}  // namespace

class ImageStream::Impl {
 public:
  Impl(const ImageSource* source, const ImageStreamOptions& o)
      : source_(source),
        options_(o),
        clock_(o.clock != nullptr ? o.clock : Clock::Real()),
        plan_(*source, {o.seed, o.epoch, o.shuffle_window, o.shuffle}),
        row_bytes_(o.input.elements() * SizeOf(o.dtype)),
        has_targets_(source->classes().empty()),
        readers_(std::max(o.readers, 1)),
        decoders_(std::max(o.decoders, 1)),
        run_(std::clamp<int64_t>(o.batch_size / (4 * int64_t{decoders_}), 1, kLongestRun)),
        pool_(std::make_shared<BufferPool>(static_cast<size_t>(o.batch_size * row_bytes_))),
        next_position_(std::min(o.first_step * o.batch_size, plan_.size())),
        handed_out_(o.first_step),
        readers_left_(readers_),
        may_read_(clock_),
        complete_(clock_),
        to_decode_(clock_, static_cast<size_t>(decoders_) * 2),
        consumer_(clock_, "consume", 1),
        pipeline_(clock_) {
    CHECK(o.batch_size > 0 && o.first_step >= 0 && o.prefetch > 0);
    CHECK(o.make_decoder != nullptr && o.broken != nullptr);
    pipeline_.OnStop([this] { Close(); });
    pipeline_.AddStage("read", readers_, [this](StageMeter* m) { Read(m); });
    pipeline_.AddStage("decode", decoders_, [this](StageMeter* m) { Decode(m); });
    returned_ns_ = clock_->NowNs();
  }

  int64_t steps() const { return (plan_.size() + options_.batch_size - 1) / options_.batch_size; }

  std::shared_ptr<ImageBatch> Next() {
    if (in_use_) consumer_.Add(StageMeter::kBusy, clock_->NowNs() - returned_ns_);
    std::shared_ptr<ImageBatch> batch =
        consumer_.Time(StageMeter::kWaitInput, [&] { return Await(); });
    returned_ns_ = clock_->NowNs();
    in_use_ = batch != nullptr;
    if (!in_use_) pipeline_.RethrowError();
    return batch;
  }

  std::vector<StageSeconds> Seconds() const {
    auto all = pipeline_.Seconds();
    all.push_back(consumer_.Seconds());
    return all;
  }
  int peak_batches() const { return pool_->buffers(); }

 private:
  void Close() {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      may_read_.NotifyAll();
      complete_.NotifyAll();
    }
    to_decode_.Close();
  }

  // The next step's batch; null at the end and when the pipeline stops.
  std::shared_ptr<ImageBatch> Await() {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      complete_.Wait(&lock, [&] {
        return pipeline_.stopping() || handed_out_ >= steps() ||
               (!filling_.empty() && filling_.front()->left == 0);
      });
      if (pipeline_.stopping() || handed_out_ >= steps()) return nullptr;
      const std::unique_ptr<Filling> done = std::move(filling_.front());
      filling_.pop_front();
      ++handed_out_;
      may_read_.NotifyAll();
      lock.unlock();
      if (!done->lost.empty()) LeaveOut(done->lost, done->batch.get());
      if (done->batch->rows() > 0) return std::move(done->batch);
    }
  }

  void LeaveOut(const std::vector<uint8_t>& lost, ImageBatch* batch) const {
    size_t kept = 0;
    auto* pixels = static_cast<char*>(batch->input.get());
    for (size_t r = 0; r < lost.size(); ++r) {
      if (lost[r] != 0) continue;
      if (kept != r) {
        std::memmove(pixels + kept * static_cast<size_t>(row_bytes_),
                     pixels + r * static_cast<size_t>(row_bytes_), static_cast<size_t>(row_bytes_));
      }
      batch->record[kept] = batch->record[r];
      batch->sample[kept] = batch->sample[r];
      if (has_targets_) {
        batch->target[kept] = batch->target[r];
      } else {
        batch->label[kept] = batch->label[r];
      }
      ++kept;
    }
    batch->record.resize(kept);
    batch->sample.resize(kept);
    (has_targets_ ? batch->target.resize(kept) : batch->label.resize(kept));
  }

  // ---- read -----------------------------------------------------------------------------------

  // The next rows to read; false at the end and when the pipeline stops.
  bool TakeRun(StageMeter* meter, Run* run) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto step = [&] { return next_position_ / options_.batch_size; };
    meter->Time(StageMeter::kWaitOutput, [&] {
      may_read_.Wait(&lock, [&] {
        return pipeline_.stopping() || next_position_ >= plan_.size() ||
               step() < handed_out_ + options_.prefetch;
      });
    });
    if (pipeline_.stopping() || next_position_ >= plan_.size()) return false;
    const int64_t begin = step() * options_.batch_size;
    const int64_t end = std::min(begin + options_.batch_size, plan_.size());
    if (next_position_ == begin) filling_.push_back(Start(begin, end));
    if (!spare_.empty()) {
      *run = std::move(spare_.back());
      spare_.pop_back();
    }
    const int64_t take = std::min(run_, end - next_position_);
    run->filling = filling_.back().get();
    run->first_row = next_position_ - begin;
    run->records.clear();
    for (int64_t k = 0; k < take; ++k) run->records.push_back(RecordAt(next_position_ + k));
    next_position_ += take;
    return true;
  }

  std::unique_ptr<Filling> Start(int64_t begin, int64_t end) {
    auto filling = std::make_unique<Filling>();
    filling->left = end - begin;
    filling->batch = std::make_shared<ImageBatch>();
    ImageBatch& batch = *filling->batch;
    batch.step = begin / options_.batch_size;
    batch.input = pool_->Take();
    const auto rows = static_cast<size_t>(end - begin);
    batch.record.resize(rows);
    (has_targets_ ? batch.target.resize(rows) : batch.label.resize(rows));
    for (int64_t p = begin; p < end; ++p) batch.sample.push_back(options_.first_sample + p);
    return filling;
  }

  // Positions are asked for in order.
  int64_t RecordAt(int64_t position) {
    if (order_.empty() || position >= order_start_ + static_cast<int64_t>(order_.size())) {
      const int64_t w = plan_.WindowOf(position);
      order_ = plan_.Order(w);
      order_start_ = plan_.start(w);
    }
    return order_[static_cast<size_t>(position - order_start_)];
  }

  void Read(StageMeter* meter) {
    Run run;
    while (TakeRun(meter, &run)) {
      meter->Time(StageMeter::kBusy, [&] {
        const size_t n = run.records.size();
        if (run.bytes.size() < n) run.bytes.resize(n);
        run.problem.assign(n, "");
        for (size_t k = 0; k < n; ++k) {
          ReadRecord(run.records[k], &run.bytes[k], &run.problem[k]);
        }
      });
      if (!meter->Push(&to_decode_, std::move(run))) return;
      run = Run();
    }
    std::unique_lock<std::mutex> lock(mutex_);
    if (--readers_left_ == 0) to_decode_.Close();
  }

  void ReadRecord(int64_t record, ImageBytes* bytes, std::string* problem) const {
    try {
      source_->Read(record, bytes);
    } catch (const Error& e) {
      if (e.code() != ExitCode::kBadData) throw;
      *problem = e.message();
    }
  }

  // ---- decode ---------------------------------------------------------------------------------

  void Decode(StageMeter* meter) {
    const DecodeImage decode = options_.make_decoder();
    while (std::optional<Run> run = meter->Pop(&to_decode_)) {
      meter->Time(StageMeter::kBusy, [&] {
        for (size_t k = 0; k < run->records.size(); ++k) DecodeRow(decode, k, &*run);
      });
      std::unique_lock<std::mutex> lock(mutex_);
      Filling* filling = run->filling;
      filling->left -= static_cast<int64_t>(run->records.size());
      if (filling->left == 0) complete_.NotifyAll();
      spare_.push_back(std::move(*run));
    }
  }

  void DecodeRow(const DecodeImage& decode, size_t k, Run* run) {
    const auto row = static_cast<size_t>(run->first_row) + k;
    ImageBatch* batch = run->filling->batch.get();
    void* out = static_cast<char*>(batch->input.get()) + row * static_cast<size_t>(row_bytes_);
    int64_t record = run->records[k];
    bool good =
        DecodeRecord(decode, record, run->bytes[k], run->problem[k], batch->sample[row], out);
    if (!good && !options_.replace_broken) {
      std::unique_lock<std::mutex> lock(mutex_);
      run->filling->lost.resize(batch->record.size());
      run->filling->lost[row] = 1;
    }
    for (int64_t tried = 1; !good && options_.replace_broken; ++tried) {
      if (tried == source_->size()) {
        throw Fail(ExitCode::kBadData, source_->where(0), " and all after it: broken images");
      }
      record = (record + 1) % source_->size();
      run->problem[k].clear();
      ReadRecord(record, &run->bytes[k], &run->problem[k]);
      good = DecodeRecord(decode, record, run->bytes[k], run->problem[k], batch->sample[row], out);
    }
    batch->record[row] = record;
    if (has_targets_) {
      batch->target[row] = source_->target(record);
    } else {
      batch->label[row] = source_->label(record);
    }
  }

  // False for a broken one, which is told.
  bool DecodeRecord(const DecodeImage& decode, int64_t record, const ImageBytes& bytes,
                    std::string problem, int64_t sample, void* out) {
    if (problem.empty()) {
      try {
        decode(bytes, options_.seed, sample, out);
        return true;
      } catch (const Error& e) {
        if (e.code() != ExitCode::kBadData) throw;
        problem = StrCat(source_->where(record), ": ", e.message());
      }
    }
    options_.broken->Add(record, problem);
    return false;
  }

  const ImageSource* const source_;
  const ImageStreamOptions options_;
  Clock* const clock_;
  const ImagePlan plan_;
  const int64_t row_bytes_;
  const bool has_targets_;
  const int readers_, decoders_;
  const int64_t run_;  // images
  const std::shared_ptr<BufferPool> pool_;

  std::mutex mutex_;  // of what follows, up to the condition variables
  int64_t next_position_;
  int64_t handed_out_;                            // steps before the next one
  std::deque<std::unique_ptr<Filling>> filling_;  // steps handed_out_, handed_out_ + 1, ...
  std::vector<int64_t> order_;                    // of the window that is read
  int64_t order_start_ = 0;
  std::vector<Run> spare_;
  int readers_left_;
  CondVar may_read_, complete_;

  Queue<Run> to_decode_;
  StageMeter consumer_;
  int64_t returned_ns_ = 0;
  bool in_use_ = false;
  Pipeline pipeline_;  // last: its threads use all of the above
};

ImageStream::ImageStream(const ImageSource* source, const ImageStreamOptions& options)
    : impl_(std::make_unique<Impl>(source, options)) {}
ImageStream::~ImageStream() = default;
int64_t ImageStream::steps() const { return impl_->steps(); }
std::shared_ptr<ImageBatch> ImageStream::Next() { return impl_->Next(); }
std::vector<StageSeconds> ImageStream::Seconds() const { return impl_->Seconds(); }
int ImageStream::peak_batches() const { return impl_->peak_batches(); }

}  // namespace mariana
