// Pipeline: named stages, each with its threads, joined by bounded Queues. It owns the threads,
// keeps the first exception of any stage, and measures how long each stage worked and waited, so
// that a run can say which stage is the limit.
//
// Threading: Stop, RethrowError and Seconds are thread-safe; AddStage and OnStop come first, from
// one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <exception>
#include <functional>
#include <list>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "common/base/clock.h"

namespace mariana {

// Summed over the threads of a stage, clock time. Working is what is not waiting.
struct StageSeconds {
  std::string name;
  int threads = 1;
  double busy = 0;
  double wait_input = 0;   // for the stage before: that one is slower
  double wait_output = 0;  // for the stage after
};

// The time of one stage's threads. Thread-safe.
class StageMeter {
 public:
  enum Kind { kBusy, kWaitInput, kWaitOutput };
  StageMeter(Clock* clock, std::string name, int threads)
      : clock_(clock), name_(std::move(name)), threads_(threads) {}

  // Runs `f` and counts its time as `kind`.
  template <class F>
  auto Time(Kind kind, F f) {
    struct Timer {
      StageMeter* meter;
      Kind kind;
      int64_t start;
      ~Timer() { meter->ns_[kind] += meter->clock_->NowNs() - start; }
    } timer{this, kind, clock_->NowNs()};
    return f();
  }
  template <class T>
  std::optional<T> Pop(Queue<T>* queue) {
    return Time(kWaitInput, [&] { return queue->Pop(); });
  }
  template <class T>
  bool Push(Queue<T>* queue, T value) {
    return Time(kWaitOutput, [&] { return queue->Push(std::move(value)); });
  }
  void Add(Kind kind, int64_t ns) { ns_[kind] += ns; }
  StageSeconds Seconds() const;

 private:
  Clock* clock_;
  std::string name_;
  int threads_;
  std::atomic<int64_t> ns_[3] = {{0}, {0}, {0}};
};

class Pipeline {
 public:
  explicit Pipeline(Clock* clock) : clock_(clock) {}
  ~Pipeline() { Stop(); }
  Pipeline(const Pipeline&) = delete;
  Pipeline& operator=(const Pipeline&) = delete;

  // `close` wakes every thread of the stages that waits (closes the queues); called once, when the
  // pipeline stops or a stage throws. Before the first AddStage.
  void OnStop(std::function<void()> close) { close_ = std::move(close); }
  // Starts `threads` threads that each run body(meter) once.
  void AddStage(const std::string& name, int threads, const std::function<void(StageMeter*)>& body);
  // Waits for every stage to end by itself, then rethrows.
  void Join();
  // Closes, joins. Idempotent.
  void Stop();
  bool stopping() const { return stopping_; }
  void RethrowError();
  std::vector<StageSeconds> Seconds() const;

 private:
  void Close();
  void Run(StageMeter* meter, const std::function<void(StageMeter*)>& body);

  Clock* clock_;
  std::function<void()> close_;
  std::list<StageMeter> meters_;
  std::list<ClockedThread> threads_;
  std::atomic<bool> stopping_{false};
  std::mutex mutex_;  // of error_
  std::exception_ptr error_;
};

// Adds stages to those of the same name in `sum`, or behind them. at_once: they ran beside each
// other, so their threads add up too; else one after the other.
void SumStages(const std::vector<StageSeconds>& stages, bool at_once,
               std::vector<StageSeconds>* sum);

// The stage that sets the pace: the one whose threads were busy longest.
// Empty when nothing ran.
std::string LimitingStage(const std::vector<StageSeconds>& stages);

}  // namespace mariana
