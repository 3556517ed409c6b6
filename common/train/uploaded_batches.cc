#include "common/train/uploaded_batches.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

namespace mariana {
namespace {

Shape WithRows(int64_t rows, const Shape& sample) {
  std::vector<int64_t> dims{rows};
  dims.insert(dims.end(), sample.dims().begin(), sample.dims().end());
  return Shape(std::move(dims));
}

const char* RowAt(const void* rows, int64_t i, const Shape& sample, Dtype type) {
  return static_cast<const char*>(rows) + i * sample.elements() * SizeOf(type);
}

void UploadRows(const Tensor& to, const char* from) {
  to.device()->UploadAside(to.data(), from, to.bytes());
}

}  // namespace

UploadedBatches::UploadedBatches(const DataParallelOptions& workers, const Options& options,
                                 std::function<std::shared_ptr<HostBatch>()> next)
    : workers_(workers),
      options_(options),
      clock_(workers.clock != nullptr ? workers.clock : Clock::Real()),
      batches_(clock_, options.first_step, std::move(next)),
      pipeline_(clock_) {
  const int64_t most = DealOut(workers_.batch_size, options_.group, workers_.groups())[0].rows;
  int threads = 0;
  for (Device* device : workers_.devices) {
    lanes_.emplace_back();
    if (device->info().host_memory && !options_.always_copy) continue;
    ++threads;
    lanes_.back() = std::make_unique<Lane>(clock_);
    Lane& lane = *lanes_.back();
    const size_t local = lanes_.size() - 1;
    if (local < options_.room.size()) lane.room = options_.room[local];
    lane.uploaded = lane.current = options_.first_step;
    lane.allowed = options_.first_step + (lane.room.empty() ? 1 : 0);
    for (DeviceBatch& buffer : lane.buffers) {
      buffer.labels = Tensor(device, workers_.label_dtype, WithRows(most, workers_.label));
      if (!lane.room.empty() && &buffer != lane.buffers) continue;
      buffer.input = Tensor(device, workers_.compute, WithRows(most, workers_.input));
    }
  }
  if (threads == 0) return;
  pipeline_.OnStop([this] {
    for (const auto& lane : lanes_) {
      if (!lane) continue;
      std::unique_lock<std::mutex> lock(lane->mutex);
      lane->stopping = true;
      lane->changed.NotifyAll();
    }
  });
  // One stage, a thread for each worker that has a lane.
  auto next_worker = std::make_shared<std::atomic<int>>(0);
  pipeline_.AddStage("upload", threads, [this, next_worker](StageMeter* meter) {
    int local;
    do {
      local = (*next_worker)++;
    } while (!lanes_[static_cast<size_t>(local)]);
    Upload(local, meter);
  });
}

UploadedBatches::~UploadedBatches() = default;

Share UploadedBatches::ShareOf(int local, int64_t rows) const {
  const int group = workers_.group_of(workers_.first() + local);
  return DealOut(rows, options_.group, workers_.groups())[static_cast<size_t>(group)];
}

void UploadedBatches::Upload(int local, StageMeter* meter) {
  Lane& lane = *lanes_[static_cast<size_t>(local)];
  for (int64_t step = options_.first_step; step < options_.last_step; ++step) {
    std::function<void()> used;
    {
      std::unique_lock<std::mutex> lock(lane.mutex);
      meter->Time(StageMeter::kWaitOutput, [&] {
        lane.changed.Wait(&lock, [&] { return lane.stopping || step <= lane.allowed; });
      });
      if (lane.stopping) return;
      used = lane.used;
    }
    std::exception_ptr error;
    try {
      if (used) meter->Time(StageMeter::kWaitOutput, used);
      const auto batch = meter->Time(StageMeter::kWaitInput, [&] { return batches_.Get(step); });
      meter->Time(StageMeter::kBusy, [&] {
        const Share share = ShareOf(local, batch->rows);
        const int64_t at = share.begin - batch->first;
        const DeviceBatch& to = lane.buffers[step % 2];
        const Tensor& input = lane.room.empty() ? to.input : lane.room;
        UploadRows(input.Rows(0, share.rows),
                   RowAt(batch->input, at, workers_.input, workers_.compute));
        UploadRows(to.labels.Rows(0, share.rows),
                   RowAt(batch->labels, at, workers_.label, workers_.label_dtype));
      });
    } catch (...) {  // for the worker to rethrow: it knows where it happened
      error = std::current_exception();
    }
    std::unique_lock<std::mutex> lock(lane.mutex);
    lane.error = error;
    if (!error) lane.uploaded = step + 1;
    lane.changed.NotifyAll();
    if (error) return;
  }
}

// Runs a worker's call, and counts its time as waiting.
template <class F>
auto UploadedBatches::Waiting(F f) {
  struct Timer {
    UploadedBatches* self;
    int64_t begin;
    ~Timer() {
      const int64_t now = self->clock_->NowNs();
      std::unique_lock<std::mutex> lock(self->mutex_);
      if (self->first_call_ns_ < 0) self->first_call_ns_ = begin;
      self->last_return_ns_ = now;
      self->waited_ns_ += now - begin;
    }
  } timer{this, clock_->NowNs()};
  return f();
}

int64_t UploadedBatches::Rows(int64_t step) {
  return Waiting([&] { return batches_.Get(step)->rows; });
}

DeviceBatch UploadedBatches::HostRows(Device* device, const std::shared_ptr<const HostBatch>& batch,
                                      int64_t begin, int64_t rows) const {
  const auto view = [&](const void* all, const Shape& sample, Dtype type) {
    // Workers read their input only.
    void* first = const_cast<char*>(RowAt(all, begin - batch->first, sample, type));
    return Tensor(device, type, WithRows(rows, sample),
                  std::shared_ptr<void>(std::const_pointer_cast<void>(batch->keep), first));
  };
  return {view(batch->input, workers_.input, workers_.compute),
          view(batch->labels, workers_.label, workers_.label_dtype)};
}

DeviceBatch UploadedBatches::Take(int worker, int64_t step, int64_t begin, int64_t rows) {
  return Waiting([&]() -> DeviceBatch {
    const auto batch = batches_.Get(step);
    CHECK_LE(begin + rows, batch->rows);
    const auto w = static_cast<size_t>(worker - workers_.first());
    if (!lanes_[w]) return HostRows(workers_.devices[w], batch, begin, rows);
    Lane& lane = *lanes_[w];
    std::unique_lock<std::mutex> lock(lane.mutex);
    if (step != lane.current) {
      lane.current = step;
      Allow(&lane, workers_.devices[w], step + (lane.room.empty() ? 1 : 0));
    }
    lane.changed.Wait(&lock, [&] { return lane.error || lane.uploaded > step; });
    if (lane.uploaded <= step) std::rethrow_exception(lane.error);
    lock.unlock();
    const int64_t first = begin - ShareOf(static_cast<int>(w), batch->rows).begin;
    const DeviceBatch& from = lane.buffers[step % 2];
    const Tensor& input = lane.room.empty() ? from.input : lane.buffers[0].input;
    if (!lane.room.empty() && lane.moved != step) {
      workers_.devices[w]->Copy(input.data(), lane.room.data(), input.bytes());
      lane.moved = step;
    }
    return {input.Rows(first, rows), from.labels.Rows(first, rows)};
  });
}

void UploadedBatches::HasRoom(int worker, int64_t step) {
  const auto w = static_cast<size_t>(worker - workers_.first());
  if (!lanes_[w] || lanes_[w]->room.empty()) return;
  std::unique_lock<std::mutex> lock(lanes_[w]->mutex);
  Allow(lanes_[w].get(), workers_.devices[w], step + 1);
}

// Steps up to this one may be uploaded once the work queued so far is done. Under the lane's lock.
void UploadedBatches::Allow(Lane* lane, Device* device, int64_t step) {
  if (step <= lane->allowed) return;
  lane->used = device->Mark();
  lane->allowed = step;
  lane->changed.NotifyAll();
}

std::vector<StageSeconds> UploadedBatches::Seconds() const {
  std::vector<StageSeconds> all = pipeline_.Seconds();
  StageSeconds train;
  train.name = "train";
  train.threads = static_cast<int>(workers_.devices.size());
  std::unique_lock<std::mutex> lock(mutex_);
  train.wait_input = static_cast<double>(waited_ns_) * 1e-9;
  if (first_call_ns_ >= 0) {
    train.busy = static_cast<double>(last_return_ns_ - first_call_ns_) * 1e-9 * train.threads -
                 train.wait_input;
  }
  all.push_back(train);
  return all;
}

}  // namespace mariana
