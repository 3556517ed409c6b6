#include "common/comm/meeting.h"

#include <glog/logging.h>

#include <cstring>

namespace mariana {

Meeting::Meeting(Clock* clock, int workers, int first, int local, World* world,
                 const Failure* failure)
    : first_(first),
      local_(local),
      world_(world),
      failure_(failure),
      changed_(clock),
      parts_(static_cast<size_t>(workers)) {}

void Meeting::Meet(Kind kind, int worker, std::string bytes) {
  std::unique_lock<std::mutex> lock(mutex_);
  failure_->ThrowIfSet();
  CHECK(kind_ == Kind::kNone || kind_ == kind) << "some workers are in Commit, some in GatherHost";
  kind_ = kind;
  parts_[static_cast<size_t>(worker)] = std::move(bytes);
  if (++arrived_ < local_) {
    const int64_t now = held_;
    changed_.Wait(&lock, [&] { return held_ != now || failure_->set(); });
    failure_->ThrowIfSet();
    return;
  }
  lock.unlock();  // the others wait: nobody touches the parts
  if (world_ != nullptr && world_->size() > 1) FetchOthers(kind);
  Conclude(kind);
  lock.lock();
  kind_ = Kind::kNone;
  arrived_ = 0;
  ++held_;
  lock.unlock();
  changed_.NotifyAll();
}

// One string a rank: the kind, then each worker's part behind its length.
void Meeting::FetchOthers(Kind kind) {
  std::string mine(1, static_cast<char>(kind));
  for (int w = first_; w < first_ + local_; ++w) {
    const std::string& part = parts_[static_cast<size_t>(w)];
    const uint64_t length = part.size();
    mine.append(reinterpret_cast<const char*>(&length), sizeof length).append(part);
  }
  size_t worker = 0;
  for (const std::string& rank : world_->Gather(mine, World::kMeetingTag)) {
    CHECK_EQ(rank.at(0), mine[0]) << "some ranks are in Commit, some in GatherHost";
    for (size_t at = 1; at < rank.size(); ++worker) {
      uint64_t length;
      CHECK_LE(at + sizeof length, rank.size());
      std::memcpy(&length, &rank[at], sizeof length);
      at += sizeof length;
      CHECK_LE(at + length, rank.size());
      parts_.at(worker).assign(rank, at, length);
      at += length;
    }
  }
  CHECK_EQ(worker, parts_.size()) << "workers that met";
}

void Meeting::Conclude(Kind kind) {
  if (kind == Kind::kCommit) {
    total_ = CommitValues();
    for (const std::string& part : parts_) {
      CommitValues v;
      CHECK_EQ(part.size(), sizeof v);
      std::memcpy(&v, part.data(), sizeof v);
      total_.squared_norm += v.squared_norm;
      total_.loss += v.loss;
      total_.correct += v.correct;
      total_.samples += v.samples;
      total_.stop |= v.stop;
    }
    return;
  }
  size_t bytes = 0;
  for (const std::string& part : parts_) bytes += part.size();
  gathered_.resize(bytes / sizeof(float));
  char* to = reinterpret_cast<char*>(gathered_.data());
  for (const std::string& part : parts_) to = std::copy(part.begin(), part.end(), to);
}

CommitValues Meeting::Commit(int worker, const CommitValues& mine) {
  Meet(Kind::kCommit, worker, std::string(reinterpret_cast<const char*>(&mine), sizeof mine));
  return total_;
}

void Meeting::Gather(int worker, const float* mine, int64_t n, std::vector<float>* all) {
  Meet(Kind::kGather, worker,
       std::string(reinterpret_cast<const char*>(mine), static_cast<size_t>(n) * sizeof(float)));
  *all = gathered_;
}

void Meeting::Wake() {
  { std::lock_guard<std::mutex> lock(mutex_); }  // nobody is between its check and its wait
  changed_.NotifyAll();
}

}  // namespace mariana
