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

uint8_t* AllocateAligned(size_t bytes) {
  const size_t whole = (std::max<size_t>(bytes, 1) + kAlignment - 1) / kAlignment * kAlignment;
  auto* p = static_cast<uint8_t*>(std::aligned_alloc(kAlignment, whole));
  if (p == nullptr) throw Fail(ExitCode::kIo, "out of memory: a batch of ", bytes, " bytes");
  return p;
}

// Memory of batches, used again. Lives as long as a batch does.
class BufferPool : public std::enable_shared_from_this<BufferPool> {
 public:
  explicit BufferPool(size_t bytes) : bytes_(bytes) {}
  ~BufferPool() {
    for (uint8_t* p : free_) std::free(p);
  }
  PixelBytes Take() {
    uint8_t* p = nullptr;
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (!free_.empty()) {
        p = free_.back();
        free_.pop_back();
      } else {
        ++buffers_;
      }
    }
    if (p == nullptr) p = AllocateAligned(bytes_);
    return {{p, [pool = shared_from_this()](uint8_t* used) { pool->Return(used); }}, bytes_};
  }
  int buffers() const {
    std::unique_lock<std::mutex> lock(mutex_);
    return buffers_;
  }

 private:
  void Return(uint8_t* p) {
    std::unique_lock<std::mutex> lock(mutex_);
    free_.push_back(p);
  }

  const size_t bytes_;
  mutable std::mutex mutex_;
  std::vector<uint8_t*> free_;
  int buffers_ = 0;
};

// A batch that fills.
struct Filling {
  ImageBatch batch;
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

void PixelBytes::resize(size_t size) {
  bytes_ = {AllocateAligned(size), [](uint8_t* p) { std::free(p); }};
  size_ = size;
}

class ImageStream::Impl {
 public:
  Impl(const ImageSource* source, const ImageStreamOptions& o)
      : source_(source),
        options_(o),
        clock_(o.clock != nullptr ? o.clock : Clock::Real()),
        plan_(*source, {o.seed, o.epoch, o.shuffle_window, o.shuffle}),
        steps_((plan_.size() + o.batch_size - 1) / o.batch_size),
        row_bytes_(o.input.height * o.input.width * o.input.channels * SizeOf(o.dtype)),
        has_targets_(source->classes().empty()),
        readers_(std::max(o.io_threads, 1)),
        decoders_(std::max(o.cpu_threads, 1)),
        run_(std::clamp<int64_t>(o.batch_size / (4 * int64_t{decoders_}), 1, kLongestRun)),
        own_broken_(*source, o.max_bad_fraction, nullptr),
        broken_(o.broken != nullptr ? o.broken : &own_broken_),
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
    pipeline_.OnStop([this] { Close(); });
    pipeline_.AddStage("read", readers_, [this](StageMeter* m) { Read(m); });
    pipeline_.AddStage("decode", decoders_, [this](StageMeter* m) { Decode(m); });
    returned_ns_ = clock_->NowNs();
  }

  int64_t steps() const { return steps_; }

  bool Next(ImageBatch* batch) {
    if (in_use_) consumer_.Add(StageMeter::kBusy, clock_->NowNs() - returned_ns_);
    in_use_ = consumer_.Time(StageMeter::kWaitInput, [&] { return Await(batch); });
    returned_ns_ = clock_->NowNs();
    if (!in_use_) pipeline_.RethrowError();
    return in_use_;
  }

  std::vector<StageSeconds> Seconds() const {
    auto all = pipeline_.Seconds();
    all.push_back(consumer_.Seconds());
    return all;
  }
  int64_t bad_images() const { return broken_->count(); }
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

  // The next step's batch; false at the end and when the pipeline stops.
  bool Await(ImageBatch* batch) {
    for (;;) {
      std::unique_lock<std::mutex> lock(mutex_);
      complete_.Wait(&lock, [&] {
        return pipeline_.stopping() || handed_out_ >= steps_ ||
               (!filling_.empty() && filling_.front()->left == 0);
      });
      if (pipeline_.stopping() || handed_out_ >= steps_) return false;
      const std::unique_ptr<Filling> done = std::move(filling_.front());
      filling_.pop_front();
      ++handed_out_;
      may_read_.NotifyAll();
      lock.unlock();
      if (!done->lost.empty()) LeaveOut(done->lost, &done->batch);
      if (done->batch.rows() == 0 && !options_.part) continue;
      *batch = std::move(done->batch);
      return true;
    }
  }

  void LeaveOut(const std::vector<uint8_t>& lost, ImageBatch* batch) const {
    size_t kept = 0;
    uint8_t* pixels = batch->pixels.data();
    for (size_t r = 0; r < lost.size(); ++r) {
      if (lost[r] != 0) continue;
      if (kept != r) {
        std::memmove(pixels + kept * static_cast<size_t>(row_bytes_),
                     pixels + r * static_cast<size_t>(row_bytes_), static_cast<size_t>(row_bytes_));
      }
      batch->image[kept] = batch->image[r];
      batch->sample[kept] = batch->sample[r];
      if (has_targets_) {
        batch->target[kept] = batch->target[r];
      } else {
        batch->label[kept] = batch->label[r];
      }
      ++kept;
    }
    batch->image.resize(kept);
    batch->sample.resize(kept);
    (has_targets_ ? batch->target.resize(kept) : batch->label.resize(kept));
  }

  // ---- read -----------------------------------------------------------------------------------

  // The next rows to read; false at the end and when the pipeline stops.
  bool TakeRun(StageMeter* meter, Run* run) {
    std::unique_lock<std::mutex> lock(mutex_);
    const auto step = [&] { return next_position_ / options_.batch_size; };
    for (;;) {
      meter->Time(StageMeter::kWaitOutput, [&] {
        may_read_.Wait(&lock, [&] {
          return pipeline_.stopping() || next_position_ >= plan_.size() ||
                 step() < handed_out_ + options_.prefetch;
        });
      });
      if (pipeline_.stopping() || next_position_ >= plan_.size()) return false;
      const int64_t begin = step() * options_.batch_size;
      const int64_t rows = std::min(options_.batch_size, plan_.size() - begin);
      const auto [first, last] =
          options_.part ? options_.part(rows) : std::pair<int64_t, int64_t>(0, rows);
      if (next_position_ == begin) {
        filling_.push_back(Start(begin, rows, first, last));
        next_position_ += first;
      }
      const int64_t at = next_position_, take = std::min(run_, begin + last - at);
      if (take > 0) FillRun(at, take, begin + first, run);
      next_position_ = at + take == begin + last ? begin + rows : at + take;
      if (take > 0) return true;
      complete_.NotifyAll();  // no row of this step is wanted
    }
  }

  // Positions [at, at + take) of the batch that fills, whose first row is at `row_0`.
  void FillRun(int64_t at, int64_t take, int64_t row_0, Run* run) {
    if (!spare_.empty()) {
      *run = std::move(spare_.back());
      spare_.pop_back();
    }
    run->filling = filling_.back().get();
    run->first_row = at - row_0;
    run->records.clear();
    for (int64_t k = 0; k < take; ++k) run->records.push_back(RecordAt(at + k));
  }

  // The batch of `rows` rows at position `begin`, of which [first, last) are wanted.
  std::unique_ptr<Filling> Start(int64_t begin, int64_t rows, int64_t first, int64_t last) {
    auto filling = std::make_unique<Filling>();
    filling->left = last - first;
    ImageBatch& batch = filling->batch;
    batch.step = begin / options_.batch_size;
    batch.first_row = first;
    batch.whole_rows = rows;
    batch.pixels = pool_->Take();
    const auto wanted = static_cast<size_t>(last - first);
    batch.image.resize(wanted);
    (has_targets_ ? batch.target.resize(wanted) : batch.label.resize(wanted));
    batch.first_sample = options_.epoch * steps_ * options_.batch_size + begin;
    for (int64_t row = first; row < last; ++row) {
      batch.sample.push_back(batch.first_sample + row);
    }
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

  DecodeImage MakeDecoder() const {
    if (options_.make_decoder) return options_.make_decoder();
    const auto own =
        std::make_shared<ImageTransformer>(options_.input, options_.transform, options_.dtype);
    return [own](const ImageBytes& bytes, uint64_t seed, int64_t sample, void* out) {
      own->Transform(bytes, seed, sample, out);
    };
  }

  void Decode(StageMeter* meter) {
    const DecodeImage decode = MakeDecoder();
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
    ImageBatch* batch = &run->filling->batch;
    uint8_t* out = batch->pixels.data() + row * static_cast<size_t>(row_bytes_);
    int64_t record = run->records[k];
    bool good =
        DecodeRecord(decode, record, run->bytes[k], run->problem[k], batch->sample[row], out);
    if (!good && !options_.shuffle) {
      std::unique_lock<std::mutex> lock(mutex_);
      run->filling->lost.resize(batch->image.size());
      run->filling->lost[row] = 1;
    }
    for (int64_t tried = 1; !good && options_.shuffle; ++tried) {
      if (tried == source_->size()) {
        throw Fail(ExitCode::kBadData, source_->where(0), " and all after it: broken images");
      }
      record = (record + 1) % source_->size();
      run->problem[k].clear();
      ReadRecord(record, &run->bytes[k], &run->problem[k]);
      good = DecodeRecord(decode, record, run->bytes[k], run->problem[k], batch->sample[row], out);
    }
    batch->image[row] = record;
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
    broken_->Add(record, problem);
    return false;
  }

  const ImageSource* const source_;
  const ImageStreamOptions options_;
  Clock* const clock_;
  const ImagePlan plan_;
  const int64_t steps_;
  const int64_t row_bytes_;
  const bool has_targets_;
  const int readers_, decoders_;
  const int64_t run_;  // images
  BrokenImages own_broken_;
  BrokenImages* const broken_;
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
bool ImageStream::Next(ImageBatch* batch) { return impl_->Next(batch); }
std::vector<StageSeconds> ImageStream::Seconds() const { return impl_->Seconds(); }
int64_t ImageStream::bad_images() const { return impl_->bad_images(); }
int ImageStream::peak_batches() const { return impl_->peak_batches(); }

}  // namespace mariana
