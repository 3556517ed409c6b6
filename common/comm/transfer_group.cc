#include "common/comm/transfer_group.h"

#include <glog/logging.h>

namespace mariana {

class TransferGroup::End : public Transfers {
 public:
  End(int worker, TransferGroup* group) : worker_(worker), group_(group) {}

  void Offer(int message, const TransferRows& rows) override {
    {
      const std::unique_lock<std::mutex> lock(group_->mutex_);
      group_->failure_.ThrowIfSet();
      Message& m = Sent(message);
      CHECK_EQ(m.offered, m.taken) << "message " << message << " is offered before it is taken";
      m.rows = rows;
      ++m.offered;
    }
    if (!group_->carry_) return group_->Arrived(message);
    group_->carry_(group_->routes_[message], BytesOf(rows),
                   [group = group_, message] { group->Arrived(message); });
  }

  void AwaitTaken(int message) override {
    const Message& m = Sent(message);
    Wait([&] { return m.offered == m.taken; });
  }

  TransferRows Receive(int message) override {
    const Message& m = Received(message);
    Wait([&] { return m.arrived > m.taken; });
    return m.rows;  // stays until it is taken
  }

  void Take(int message) override {
    const std::unique_lock<std::mutex> lock(group_->mutex_);
    Message& m = Received(message);
    ++m.taken;
    m.bytes.fetch_add(BytesOf(m.rows), std::memory_order_relaxed);
    group_->changed_[group_->routes_[message].from]->NotifyAll();
  }

 private:
  static int64_t BytesOf(const TransferRows& r) { return r.rows * r.cols * SizeOf(r.dtype); }
  Message& Sent(int message) {
    CHECK_EQ(group_->routes_[message].from, worker_) << "message " << message;
    return group_->messages_[message];
  }
  Message& Received(int message) {
    CHECK_EQ(group_->routes_[message].to, worker_) << "message " << message;
    return group_->messages_[message];
  }
  template <class Predicate>
  void Wait(const Predicate& done) {
    std::unique_lock<std::mutex> lock(group_->mutex_);
    group_->changed_[worker_]->Wait(&lock, [&] { return group_->failure_.set() || done(); });
    group_->failure_.ThrowIfSet();
  }

  const int worker_;
  TransferGroup* const group_;
};

TransferGroup::TransferGroup(int workers, std::vector<TransferRoute> routes, Clock* clock,
                             Carry carry)
    : routes_(std::move(routes)),
      carry_(std::move(carry)),
      meeting_(clock != nullptr ? clock : Clock::Real(), workers, 0, workers, nullptr, &failure_),
      messages_(routes_.size()) {
  for (int w = 0; w < workers; ++w) {
    changed_.push_back(std::make_unique<CondVar>(clock != nullptr ? clock : Clock::Real()));
    ends_.push_back(std::make_unique<End>(w, this));
  }
}

TransferGroup::~TransferGroup() = default;

void TransferGroup::Arrived(int message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++messages_[message].arrived;
  changed_[routes_[message].to]->NotifyAll();
}

Transfers* TransferGroup::end(int worker) { return ends_[worker].get(); }

CommitValues TransferGroup::Commit(int worker, const CommitValues& mine) {
  return meeting_.Commit(worker, mine);
}

void TransferGroup::Abort(const Error& error) {
  if (!failure_.Set(error)) return;
  meeting_.Wake();
  { const std::lock_guard<std::mutex> lock(mutex_); }  // nobody is between its check and its wait
  for (const auto& worker : changed_) worker->NotifyAll();
}

std::vector<int64_t> TransferGroup::bytes() const {
  std::vector<int64_t> all;
  for (const Message& m : messages_) all.push_back(m.bytes.load(std::memory_order_relaxed));
  return all;
}

}  // namespace mariana
