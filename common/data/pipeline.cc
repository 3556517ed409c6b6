#include "common/data/pipeline.h"

#include <glog/logging.h>

#include <algorithm>

namespace mariana {

StageSeconds StageMeter::Seconds() const {
  StageSeconds s;
  s.name = name_;
  s.threads = threads_;
  s.wait_input = ns_[kWaitInput] * 1e-9;
  s.wait_output = ns_[kWaitOutput] * 1e-9;
  s.busy = ns_[kBusy] * 1e-9;
  return s;
}

void Pipeline::AddStage(const std::string& name, int threads,
                        const std::function<void(StageMeter*)>& body) {
  meters_.emplace_back(clock_, name, threads);
  StageMeter* meter = &meters_.back();
  for (int i = 0; i < threads; ++i) {
    threads_.emplace_back(clock_, name, [this, meter, body] { Run(meter, body); });
  }
}

void Pipeline::Run(StageMeter* meter, const std::function<void(StageMeter*)>& body) {
  try {
    body(meter);
  } catch (...) {
    {
      std::unique_lock<std::mutex> lock(mutex_);
      if (error_ == nullptr) error_ = std::current_exception();
    }
    Close();
  }
}

void Pipeline::Close() {
  if (!stopping_.exchange(true) && close_) close_();
}

void Pipeline::Join() {
  for (ClockedThread& t : threads_) t.Join();
  threads_.clear();
  RethrowError();
}

void Pipeline::Stop() {
  Close();
  for (ClockedThread& t : threads_) t.Join();
  threads_.clear();
}

void Pipeline::RethrowError() {
  std::unique_lock<std::mutex> lock(mutex_);
  if (error_ != nullptr) std::rethrow_exception(error_);
}

std::vector<StageSeconds> Pipeline::Seconds() const {
  std::vector<StageSeconds> all;
  for (const StageMeter& m : meters_) all.push_back(m.Seconds());
  return all;
}

void SumStages(const std::vector<StageSeconds>& stages, bool at_once,
               std::vector<StageSeconds>* sum) {
  for (const StageSeconds& s : stages) {
    const auto same = std::find_if(sum->begin(), sum->end(),
                                   [&](const StageSeconds& t) { return t.name == s.name; });
    if (same == sum->end()) {
      sum->push_back(s);
      continue;
    }
    if (at_once) same->threads += s.threads;
    same->busy += s.busy;
    same->wait_input += s.wait_input;
    same->wait_output += s.wait_output;
  }
}

std::string LimitingStage(const std::vector<StageSeconds>& stages) {
  std::string limit;
  double most = 0;
  for (const StageSeconds& s : stages) {
    if (s.busy / s.threads > most) {
      most = s.busy / s.threads;
      limit = s.name;
    }
  }
  return limit;
}

}  // namespace mariana
