#include "common/comm/transfer_group.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

namespace mariana {
namespace {

int64_t BytesOf(const TransferRows& r) { return r.rows * r.cols * SizeOf(r.dtype); }

void Pack(const TransferRows& r, char* to) {
  const auto line = static_cast<size_t>(r.cols * SizeOf(r.dtype));
  const auto* from = static_cast<const char*>(r.data);
  for (int64_t i = 0; i < r.rows; ++i, from += r.stride * SizeOf(r.dtype), to += line) {
    std::memcpy(to, from, line);
  }
}

}  // namespace

class TransferGroup::End : public Transfers {
 public:
  End(int worker, TransferGroup* group) : worker_(worker), group_(group) {}

  void Offer(int message, const TransferRows& rows) override {
    const TransferRoute& route = group_->options_.routes[message];
    CHECK_EQ(route.from, worker_) << "message " << message;
    group_->failure_.ThrowIfSet();
    if (!group_->IsHere(route.to)) return group_->Post(message, rows);
    {
      const std::unique_lock<std::mutex> lock(group_->mutex_);
      Message& m = group_->messages_[message];
      CHECK_EQ(m.offered, m.taken) << "message " << message << " is offered before it is taken";
      m.rows = rows;
      ++m.offered;
    }
    if (!group_->options_.carry) return group_->HasArrived(message);
    group_->options_.carry(route, BytesOf(rows),
                           [group = group_, message] { group->HasArrived(message); });
  }

  void AwaitTaken(int message) override {
    CHECK_EQ(group_->options_.routes[message].from, worker_) << "message " << message;
    const Message& m = group_->messages_[message];
    Wait([&] { return m.offered == m.taken && m.posted == 0; });
  }

  TransferRows Receive(int message) override {
    const TransferRoute& route = group_->options_.routes[message];
    CHECK_EQ(route.to, worker_) << "message " << message;
    const Message& m = group_->messages_[message];
    if (group_->IsHere(route.from)) {
      Wait([&] { return m.arrived > m.taken; });
      return m.rows;  // stays until it is taken
    }
    std::shared_ptr<Landing> landing;
    Wait([&] {
      if (!m.landing.empty() && m.landing.front()->landed) landing = m.landing.front();
      return landing != nullptr;
    });
    const int64_t line = route.cols * SizeOf(route.dtype);
    CHECK_EQ(landing->bytes % line, 0) << "message " << message;
    return {landing->buffer, route.cols, landing->bytes / line, route.cols, route.dtype};
  }

  void Take(int message) override {
    const TransferRoute& route = group_->options_.routes[message];
    CHECK_EQ(route.to, worker_) << "message " << message;
    const std::unique_lock<std::mutex> lock(group_->mutex_);
    Message& m = group_->messages_[message];
    if (!group_->IsHere(route.from)) {
      m.bytes.fetch_add(m.landing.front()->bytes, std::memory_order_relaxed);
      group_->buffers_.Give(m.landing.front()->buffer);
      m.landing.pop_front();
      return;
    }
    ++m.taken;
    m.bytes.fetch_add(BytesOf(m.rows), std::memory_order_relaxed);
    group_->changed_[route.from]->NotifyAll();
  }

 private:
  template <class Predicate>
  void Wait(const Predicate& done) {
    std::unique_lock<std::mutex> lock(group_->mutex_);
    group_->changed_[worker_]->Wait(&lock, [&] { return group_->failure_.set() || done(); });
    group_->failure_.ThrowIfSet();
  }

  const int worker_;
  TransferGroup* const group_;
};

TransferGroup::TransferGroup(TransferOptions options)
    : options_([&] {
        if (options.clock == nullptr) options.clock = Clock::Real();
        return std::move(options);
      }()),
      meeting_(options_.clock, options_.workers, FirstHere(), CountHere(), options_.world,
               &failure_),
      quiet_(options_.clock),
      messages_(options_.routes.size()) {
  for (int w = 0; w < options_.workers; ++w) {
    changed_.push_back(std::make_unique<CondVar>(options_.clock));
    ends_.push_back(IsHere(w) ? std::make_unique<End>(w, this) : nullptr);
  }
  if (!remote()) return;
  if (static_cast<int64_t>(messages_.size()) > options_.world->channels()) {
    throw Fail(ExitCode::kUsage, "the split model needs ", messages_.size(), " message tags of ",
               options_.world->channels(), ": split fewer layers");
  }
  options_.world->Listen(this);
}

TransferGroup::~TransferGroup() {
  if (!remote()) return;
  {
    std::unique_lock<std::mutex> lock(mutex_);
    quiet_.Wait(&lock, [&] { return under_way_ == 0 || options_.world->failed(); });
  }
  options_.world->Listen(nullptr);
}

int TransferGroup::FirstHere() const {
  int first = 0;
  while (first < options_.workers && !IsHere(first)) ++first;
  return first;
}

int TransferGroup::CountHere() const {
  int count = 0;
  for (int w = 0; w < options_.workers; ++w) count += IsHere(w) ? 1 : 0;
  return count;
}

void TransferGroup::HasArrived(int message) {
  const std::lock_guard<std::mutex> lock(mutex_);
  ++messages_[message].arrived;
  changed_[options_.routes[message].to]->NotifyAll();
}

// Rows that lie together go from there, and are taken when they have left; others are packed.
void TransferGroup::Post(int message, const TransferRows& rows) {
  const TransferRoute& route = options_.routes[message];
  CHECK(rows.cols == route.cols && rows.dtype == route.dtype) << "message " << message;
  const int64_t bytes = BytesOf(rows);
  char* buffer = nullptr;
  if (rows.stride != rows.cols) {
    buffer = buffers_.Take(bytes);
    Pack(rows, buffer);
  }
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    ++under_way_;
    if (buffer == nullptr) ++messages_[message].posted;
  }
  options_.world->Post(options_.rank_of[route.to], message, buffer != nullptr ? buffer : rows.data,
                       bytes, [this, message, buffer] { Sent(message, buffer); });
}

void TransferGroup::Sent(int message, char* buffer) {
  if (buffer != nullptr) buffers_.Give(buffer);
  const std::lock_guard<std::mutex> lock(mutex_);  // to the end: the destructor waits for it
  if (buffer == nullptr) {
    --messages_[message].posted;
    changed_[options_.routes[message].from]->NotifyAll();
  }
  if (--under_way_ == 0) quiet_.NotifyAll();
}

void TransferGroup::Arrived(std::shared_ptr<BulkMessage> message) {
  const int number = message->channel();
  CHECK(number < static_cast<int>(messages_.size()) && IsHere(options_.routes[number].to))
      << "message " << number;
  auto landing = std::make_shared<Landing>();
  landing->bytes = message->bytes();
  landing->buffer = buffers_.Take(landing->bytes);
  {
    const std::lock_guard<std::mutex> lock(mutex_);
    messages_[number].landing.push_back(landing);
  }
  BulkMessage* const m = message.get();
  m->Take(landing->buffer, [this, number, landing, message = std::move(message)] {
    const std::lock_guard<std::mutex> lock(mutex_);
    landing->landed = true;
    changed_[options_.routes[number].to]->NotifyAll();
  });
}

Transfers* TransferGroup::end(int worker) {
  CHECK(ends_.at(static_cast<size_t>(worker))) << "worker " << worker << " is elsewhere";
  return ends_[static_cast<size_t>(worker)].get();
}

CommitValues TransferGroup::Commit(int worker, const CommitValues& mine) {
  return meeting_.Commit(worker, mine);
}

void TransferGroup::Abort(const Error& error) {
  if (EndAll(error) && remote()) options_.world->Abort(error);
}

bool TransferGroup::EndAll(const Error& error) {
  if (!failure_.Set(error)) return false;
  meeting_.Wake();
  { const std::lock_guard<std::mutex> lock(mutex_); }  // nobody is between its check and its wait
  for (const auto& worker : changed_) worker->NotifyAll();
  return true;
}

void TransferGroup::Failed(const Error& error) {
  EndAll(error);
  // Also when the group had ended before: who drains waits for the world's failure, not for that.
  { const std::lock_guard<std::mutex> lock(mutex_); }
  quiet_.NotifyAll();
}

std::vector<int64_t> TransferGroup::bytes() const {
  std::vector<int64_t> all;
  for (const Message& m : messages_) all.push_back(m.bytes.load(std::memory_order_relaxed));
  return all;
}

}  // namespace mariana
