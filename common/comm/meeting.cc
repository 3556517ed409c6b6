#include "common/comm/meeting.h"

#include <glog/logging.h>

namespace mariana {

Meeting::Meeting(Clock* clock, int n, const Failure* failure)
    : n_(n), failure_(failure), changed_(clock), values_(n), parts_(n) {}

template <class Enter, class Conclude>
void Meeting::Meet(Kind kind, Enter enter, Conclude conclude) {
  std::unique_lock<std::mutex> lock(mutex_);
  failure_->ThrowIfSet();
  CHECK(kind_ == Kind::kNone || kind_ == kind) << "some workers are in Commit, some in GatherHost";
  kind_ = kind;
  enter();
  if (++arrived_ == n_) {
    conclude();
    kind_ = Kind::kNone;
    arrived_ = 0;
    ++held_;
    lock.unlock();
    changed_.NotifyAll();
    return;
  }
  const int64_t now = held_;
  changed_.Wait(&lock, [&] { return held_ != now || failure_->set(); });
  failure_->ThrowIfSet();
}

CommitValues Meeting::Commit(int worker, const CommitValues& mine) {
  Meet(
      Kind::kCommit, [&] { values_[worker] = mine; },
      [&] {
        total_ = CommitValues();
        for (const CommitValues& v : values_) {
          total_.squared_norm += v.squared_norm;
          total_.loss += v.loss;
          total_.correct += v.correct;
          total_.samples += v.samples;
          total_.stop |= v.stop;
        }
      });
  return total_;
}

void Meeting::Gather(int worker, const float* mine, int64_t n, std::vector<float>* all) {
  Meet(
      Kind::kGather,
      [&] {
        parts_[worker] = {mine, n};
      },
      [&] {
        gathered_.clear();
        for (const auto& [data, count] : parts_) {
          gathered_.insert(gathered_.end(), data, data + count);
        }
      });
  *all = gathered_;
}

void Meeting::Wake() {
  { std::lock_guard<std::mutex> lock(mutex_); }  // nobody is between its check and its wait
  changed_.NotifyAll();
}

}  // namespace mariana
