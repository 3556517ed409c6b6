// MetricsLog: what a run measured, appended to metrics.jsonl (one JSON object a line) and to a
// TensorBoard events file.
//
// On resume metrics.jsonl is cut back atomically to the checkpoint's step. TensorBoard's files
// are append-only, so each start opens its own, whose first record is a session-log START event
// that tells TensorBoard to drop later steps of earlier files (what SummaryWriter's purge_step
// does). Rows of the checkpoint's own step are kept: write them before saving it.
//
// Not finite values are written as null and read back as NaN. Thread-compatible.
#pragma once

#include <cstdint>
#include <cstdio>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "common/train/run_directory.h"
#include "common/train/tfevents.h"

namespace mariana {

struct MetricsRow {
  int64_t step = 0;
  double epoch = 0;                                    // epochs done, fractions included
  int64_t samples = 0;                                 // since the start of the run
  double seconds = 0;                                  // of training, over all starts
  std::vector<std::pair<std::string, double>> values;  // "train/loss", "test/accuracy" ...
};

class MetricsLog {
 public:
  // Rows after `last_step` are cut off; 0 starts anew.
  MetricsLog(const RunDirectory& run, int64_t last_step);
  ~MetricsLog();
  MetricsLog(const MetricsLog&) = delete;
  MetricsLog& operator=(const MetricsLog&) = delete;

  void Write(const MetricsRow& row);  // flushed before it returns; kIo on failure

 private:
  std::string path_;
  std::FILE* file_ = nullptr;
  std::unique_ptr<EventsWriter> events_;
};

// The rows of a metrics.jsonl, in order; a torn last line is left out, a missing file has none.
std::vector<MetricsRow> ReadMetrics(const std::string& path);

}  // namespace mariana
