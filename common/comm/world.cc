#include "common/comm/world.h"

#include <glog/logging.h>
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <shared_mutex>

namespace mariana {

World::World(int rank, int size, std::string node, Clock* clock)
    : rank_(rank), size_(size), node_(std::move(node)), clock_(clock), changed_(clock) {}

void World::set_place(int rank, int size, std::string node) {
  rank_ = rank;
  size_ = size;
  node_ = std::move(node);
}

void World::Send(int to, int tag, std::string bytes) {
  CHECK(0 <= to && to < size_) << "rank " << to << " of " << size_;
  CHECK(0 <= tag && tag < kTags) << "tag " << tag;
  ThrowIfFailed();
  if (to == rank_) {
    Deliver(rank_, tag, std::move(bytes));
  } else {
    SendTo(to, tag, std::move(bytes));
  }
}

std::string World::Receive(int from, int tag) {
  CHECK(0 <= from && from < size_) << "rank " << from << " of " << size_;
  std::unique_lock<std::mutex> lock(mutex_);
  std::deque<std::string>& mail = inbox_[{from, tag}];
  awaited_.fetch_add(1, std::memory_order_relaxed);
  changed_.Wait(&lock, [&] { return failed() || !mail.empty(); });
  awaited_.fetch_sub(1, std::memory_order_relaxed);
  ThrowIfFailed();
  std::string bytes = std::move(mail.front());
  mail.pop_front();
  return bytes;
}

std::optional<std::string> World::TryReceive(int from, int tag) {
  CHECK(0 <= from && from < size_) << "rank " << from << " of " << size_;
  ThrowIfFailed();
  std::unique_lock<std::mutex> lock(mutex_);
  std::deque<std::string>& mail = inbox_[{from, tag}];
  if (mail.empty()) return std::nullopt;
  std::string bytes = std::move(mail.front());
  mail.pop_front();
  return bytes;
}

// Everybody sends to everybody: one hop, and a job has few ranks.
std::vector<std::string> World::Gather(const std::string& mine, int tag) {
  for (int i = 0; i < size_; ++i) Send((rank_ + i) % size_, tag, mine);
  std::vector<std::string> all;
  for (int from = 0; from < size_; ++from) all.push_back(Receive(from, tag));
  return all;
}

std::vector<std::string> World::GatherTo(int root, const std::string& mine, int tag) {
  Send(root, tag, mine);
  std::vector<std::string> all;
  for (int from = 0; rank_ == root && from < size_; ++from) all.push_back(Receive(from, tag));
  return all;
}

std::string World::Broadcast(int root, const std::string& bytes, int tag) {
  for (int to = 0; rank_ == root && to < size_; ++to) Send(to, tag, bytes);
  return Receive(root, tag);
}

std::vector<double> World::Sum(const std::vector<double>& mine, int tag) {
  const std::string bytes(reinterpret_cast<const char*>(mine.data()), mine.size() * sizeof(double));
  std::vector<double> sum(mine.size(), 0.0), part(mine.size());
  for (const std::string& other : Gather(bytes, tag)) {
    CHECK_EQ(other.size(), bytes.size()) << "ranks bring sums of different lengths";
    if (!other.empty()) std::memcpy(part.data(), other.data(), other.size());
    for (size_t i = 0; i < sum.size(); ++i) sum[i] += part[i];
  }
  return sum;
}

void World::Listen(WorldListener* listener) {
  if (listener == nullptr && failed()) Quiesce();
  std::lock_guard<std::mutex> lock(listener_mutex_);
  CHECK(listener == nullptr || listener_ == nullptr) << "a world has one listener";
  listener_ = listener;
  while (listener_ != nullptr && !waiting_.empty()) {
    listener_->Arrived(std::move(waiting_.front()));
    waiting_.pop_front();
  }
  if (listener_ == nullptr || !failed()) return;
  try {
    ThrowIfFailed();
  } catch (const Error& error) {
    listener_->Failed(error);
  }
}

void World::Arrive(std::shared_ptr<BulkMessage> message) {
  std::lock_guard<std::mutex> lock(listener_mutex_);
  if (listener_ == nullptr) {
    waiting_.push_back(std::move(message));
  } else {
    listener_->Arrived(std::move(message));
  }
}

void World::Deliver(int from, int tag, std::string bytes) {
  if (tag == kAbortTag) {
    Fail(Error(static_cast<ExitCode>(static_cast<unsigned char>(bytes.at(0))), bytes.substr(1)));
    return;
  }
  // Told under the lock: who takes it may destroy this world next.
  std::lock_guard<std::mutex> lock(mutex_);
  inbox_[{from, tag}].push_back(std::move(bytes));
  changed_.NotifyAll();
}

void World::Abort(const Error& error) {
  if (!Fail(error)) return;
  std::string bytes(1, static_cast<char>(error.code()));
  bytes += error.message();
  for (int to = 0; to < size_; ++to) {
    if (to != rank_) SendTo(to, kAbortTag, bytes);
  }
}

bool World::Fail(const Error& error) {
  if (!failure_.Set(error)) return false;
  { std::lock_guard<std::mutex> lock(mutex_); }  // nobody is between its check and its wait
  changed_.NotifyAll();
  std::lock_guard<std::mutex> lock(listener_mutex_);
  if (listener_ != nullptr) listener_->Failed(error);
  return true;
}

std::string World::ThisNode() {
  if (const char* told = std::getenv("MARIANA_NODE")) return told;
  char name[256] = "localhost";
  gethostname(name, sizeof name - 1);
  return name;
}

// ---- ranks of one process

namespace {

// Who takes a message reads the sender's memory: as long as the sender has it.
struct Outbox {
  std::shared_mutex mutex;  // shared by readers
  bool closed = false;
};

class ThreadMessage : public BulkMessage {
 public:
  ThreadMessage(int from, int channel, const void* data, int64_t bytes, std::function<void()> sent,
                std::shared_ptr<Outbox> outbox)
      : BulkMessage(from, channel, bytes),
        data_(data),
        sent_(std::move(sent)),
        outbox_(std::move(outbox)) {}
  void Take(void* into, std::function<void()> done) override {
    {
      const std::shared_lock<std::shared_mutex> lock(outbox_->mutex);
      if (outbox_->closed) return;
      if (bytes() > 0) std::memcpy(into, data_, static_cast<size_t>(bytes()));
      sent_();
    }
    done();
  }

 private:
  const void* const data_;
  const std::function<void()> sent_;
  const std::shared_ptr<Outbox> outbox_;
};

class ThreadWorld : public World {
 public:
  using Ranks = std::vector<ThreadWorld*>;
  ThreadWorld(int rank, int size, std::string node, Clock* clock, std::shared_ptr<Ranks> ranks)
      : World(rank, size, std::move(node), clock), ranks_(std::move(ranks)) {}

  void Post(int to, int channel, const void* data, int64_t bytes,
            std::function<void()> sent) override {
    ranks_->at(static_cast<size_t>(to))
        ->Arrive(std::make_shared<ThreadMessage>(rank(), channel, data, bytes, std::move(sent),
                                                 outbox_));
  }
  int64_t channels() const override { return INT32_MAX; }

 protected:
  void SendTo(int to, int tag, std::string bytes) override {
    ranks_->at(static_cast<size_t>(to))->Deliver(rank(), tag, std::move(bytes));
  }
  void Quiesce() override {
    const std::lock_guard<std::shared_mutex> lock(outbox_->mutex);
    outbox_->closed = true;
  }

 private:
  const std::shared_ptr<Ranks> ranks_;
  const std::shared_ptr<Outbox> outbox_ = std::make_shared<Outbox>();
};

}  // namespace

std::unique_ptr<World> MakeLocalWorld(Clock* clock) {
  return std::move(MakeThreadWorlds({World::ThisNode()}, clock)[0]);
}

std::vector<std::unique_ptr<World>> MakeThreadWorlds(const std::vector<std::string>& nodes,
                                                     Clock* clock) {
  if (clock == nullptr) clock = Clock::Real();
  const int n = static_cast<int>(nodes.size());
  const auto ranks = std::make_shared<ThreadWorld::Ranks>();
  std::vector<std::unique_ptr<World>> worlds;
  for (int r = 0; r < n; ++r) {
    auto world = std::make_unique<ThreadWorld>(r, n, nodes[static_cast<size_t>(r)], clock, ranks);
    ranks->push_back(world.get());
    worlds.push_back(std::move(world));
  }
  return worlds;
}

}  // namespace mariana
