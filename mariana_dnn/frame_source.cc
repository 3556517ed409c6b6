#include "mariana_dnn/frame_source.h"

namespace mariana {

FrameSource::FrameSource(const UtteranceSource* corpus, const FrameStreamOptions& options,
                         int64_t first_step, std::vector<std::unique_ptr<WorkerFrames>>* frames,
                         int first_worker)
    : stream_(corpus, options),
      batches_(options.clock ? options.clock : Clock::Real(), first_step + options.first_step,
               [this] {
                 auto batch = std::make_shared<FrameBatch>();
                 return stream_.Next(batch.get()) ? batch : nullptr;
               }),
      frames_(frames),
      first_worker_(first_worker) {}

int64_t FrameSource::Rows(int64_t step) { return batches_.Get(step)->rows(); }

DeviceBatch FrameSource::Take(int worker, int64_t step, int64_t begin, int64_t rows) {
  return (*frames_)[static_cast<size_t>(worker - first_worker_)]->Take(*batches_.Get(step), begin,
                                                                       rows);
}

}  // namespace mariana
