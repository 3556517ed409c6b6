#include "common/comm/mpi/mpi_world.h"

#include <glog/logging.h>
#include <mpi.h>
#include <sys/prctl.h>

#include <algorithm>
#include <atomic>
#include <climits>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <thread>

namespace mariana {
namespace {

// A message is what one MPI message holds; a byte string starts with its length and is cut into
// pieces, because MPI counts with an int.
constexpr size_t kPiece = size_t{1} << 29;

// When nothing moves the thread looks again at once for a while, then sleeps longer and longer;
// MPI moves data only while somebody looks, so not for long while some is under way or awaited.
constexpr int64_t kEagerNs = 50 * 1000;
constexpr int64_t kShortestNapNs = 10 * 1000, kBusyNapNs = 50 * 1000, kLongestNapNs = 200 * 1000;
constexpr int64_t kLastWordsNs = 200 * 1000 * 1000;

class MpiWorld : public World {
 public:
  MpiWorld()
      : World(0, 1, ThisNode(), Clock::Real()),
        changed_(clock()),
        thread_(clock(), "MPI", [this] { Run(); }) {
    std::unique_lock<std::mutex> lock(mutex_);
    changed_.Wait(&lock, [&] { return ready_; });
  }

  ~MpiWorld() override {
    const bool unwinding = std::uncaught_exceptions() > 0;
    if (unwinding && !failed()) Abort(Error(ExitCode::kInternal, StrCat("rank ", rank(), " left")));
    try {
      if (!failed()) Barrier(kLeaveTag);
    } catch (const Error& e) {
      LOG(WARNING) << "on leaving: " << e.message();
    }
    {
      std::lock_guard<std::mutex> lock(mutex_);
      leaving_ = true;
    }
    changed_.NotifyAll();
    thread_.Join();
  }

  void Post(int to, int channel, const void* data, int64_t bytes,
            std::function<void()> sent) override {
    CHECK_LE(bytes, INT_MAX);
    Request r;
    r.kind = Request::Kind::kSend;
    r.peer = to;
    r.tag = kTags + channel;
    r.send = data;
    r.bytes = bytes;
    r.done = std::move(sent);
    Leave(std::move(r));
  }

  int64_t channels() const override { return highest_tag_ - kTags; }

 protected:
  void SendTo(int to, int tag, std::string bytes) override {
    const uint64_t length = bytes.size();
    bytes.insert(0, reinterpret_cast<const char*>(&length), sizeof length);
    const auto whole = std::make_shared<const std::string>(std::move(bytes));
    for (size_t at = 0; at < whole->size(); at += kPiece) {
      Request r;
      r.kind = Request::Kind::kSend;
      r.peer = to;
      r.tag = tag;
      r.send = whole->data() + at;
      r.bytes = static_cast<int64_t>(std::min(kPiece, whole->size() - at));
      r.done = [whole] {};  // keeps it until then
      Leave(std::move(r));
    }
  }

  // The thread ends soon after a failure; from then on nobody touches anybody's memory.
  void Quiesce() override { thread_.Join(); }

 private:
  struct Request {
    enum class Kind { kSend, kTake } kind;
    int peer = 0, tag = 0;
    const void* send = nullptr;
    void* into = nullptr;
    int64_t bytes = 0;
    MPI_Message message = MPI_MESSAGE_NULL;
    std::function<void()> done;
  };

  class Message : public BulkMessage {
   public:
    Message(MpiWorld* world, MPI_Message message, int from, int channel, int64_t bytes)
        : BulkMessage(from, channel, bytes), world_(world), message_(message) {}
    void Take(void* into, std::function<void()> done) override {
      Request r;
      r.kind = Request::Kind::kTake;
      r.into = into;
      r.bytes = bytes();
      r.message = message_;
      r.done = std::move(done);
      world_->Leave(std::move(r));
    }

   private:
    MpiWorld* const world_;
    const MPI_Message message_;
  };

  void Leave(Request r) {
    {
      std::lock_guard<std::mutex> lock(mutex_);
      left_.push_back(std::move(r));
    }
    changed_.NotifyAll();
  }

  // ---- what follows is the MPI thread's

  void Run() {
    prctl(PR_SET_TIMERSLACK, 1000);  // ns: naps are short
    int provided = 0;
    MPI_Init_thread(nullptr, nullptr, MPI_THREAD_FUNNELED, &provided);
    MPI_Comm_set_errhandler(MPI_COMM_WORLD, MPI_ERRORS_RETURN);
    MPI_Comm_dup(MPI_COMM_WORLD, &comm_);
    int rank = 0, size = 1, found = 0;
    MPI_Comm_rank(comm_, &rank);
    MPI_Comm_size(comm_, &size);
    int* highest = nullptr;
    MPI_Comm_get_attr(comm_, MPI_TAG_UB, &highest, &found);
    if (found != 0) highest_tag_ = *highest;
    set_place(rank, size, node());
    {
      std::lock_guard<std::mutex> lock(mutex_);
      ready_ = true;
    }
    changed_.NotifyAll();
    try {
      Loop();
    } catch (const Error& e) {
      Fail(e);
      return;
    }
    if (failed()) return;
    MPI_Comm_free(&comm_);
    MPI_Finalize();
  }

  void Loop() {
    int64_t moved_ns = clock()->NowNs(), nap_ns = kShortestNapNs, failed_ns = 0;
    for (;;) {
      const int64_t now = clock()->NowNs();
      if (failed()) {
        if (failed_ns == 0) failed_ns = now;
        if (now - failed_ns > kLastWordsNs ||
            (SpokenAll() && now - failed_ns > kLastWordsNs / 10)) {
          return;
        }
      }
      bool moved = TakeUp();
      moved |= Complete();
      moved |= LookIn();
      if (moved) {
        moved_ns = now;
        nap_ns = kShortestNapNs;
      } else if (now - moved_ns < kEagerNs) {
        std::this_thread::yield();
      } else {
        std::unique_lock<std::mutex> lock(mutex_);
        if (leaving_ && left_.empty() && under_way_.empty()) return;
        changed_.WaitUntil(&lock, now + nap_ns, [&] { return !left_.empty() || leaving_; });
        nap_ns =
            std::min(2 * nap_ns, under_way_.empty() && !awaited() ? kLongestNapNs : kBusyNapNs);
      }
    }
  }

  // Nothing is left to say.
  bool SpokenAll() {
    std::lock_guard<std::mutex> lock(mutex_);
    return left_.empty() && under_way_.empty();
  }

  // Starts what other threads left.
  bool TakeUp() {
    std::vector<Request> requests;
    {
      std::lock_guard<std::mutex> lock(mutex_);
      requests.swap(left_);
    }
    for (Request& r : requests) {
      MPI_Request started = MPI_REQUEST_NULL;
      const int count = static_cast<int>(r.bytes);
      Check(r.kind == Request::Kind::kSend
                ? MPI_Isend(r.send, count, MPI_BYTE, r.peer, r.tag, comm_, &started)
                : MPI_Imrecv(r.into, count, MPI_BYTE, &r.message, &started));
      under_way_.push_back(started);
      done_.push_back(std::move(r.done));
    }
    return !requests.empty();
  }

  // Calls back for what has ended.
  bool Complete() {
    if (under_way_.empty()) return false;
    int count = 0;
    indices_.resize(under_way_.size());
    Check(MPI_Testsome(static_cast<int>(under_way_.size()), under_way_.data(), &count,
                       indices_.data(), MPI_STATUSES_IGNORE));
    if (count <= 0) return false;
    std::vector<std::function<void()>> ended;
    for (int i = 0; i < count; ++i) ended.push_back(std::move(done_[indices_[i]]));
    std::sort(indices_.begin(), indices_.begin() + count, std::greater<int>());
    for (int i = 0; i < count; ++i) {
      under_way_.erase(under_way_.begin() + indices_[i]);
      done_.erase(done_.begin() + indices_[i]);
    }
    for (auto& done : ended) done();
    return true;
  }

  // Takes note of what has arrived: strings into the inbox, bulk messages to the listener.
  bool LookIn() {
    bool any = false;
    for (;;) {
      int there = 0;
      MPI_Message message = MPI_MESSAGE_NULL;
      MPI_Status status;
      Check(MPI_Improbe(MPI_ANY_SOURCE, MPI_ANY_TAG, comm_, &there, &message, &status));
      if (there == 0) return any;
      any = true;
      int bytes = 0;
      MPI_Get_count(&status, MPI_BYTE, &bytes);
      if (status.MPI_TAG >= kTags) {
        Arrive(std::make_shared<Message>(this, message, status.MPI_SOURCE, status.MPI_TAG - kTags,
                                         bytes));
      } else {
        ReceivePiece(status.MPI_SOURCE, status.MPI_TAG, bytes, message);
      }
    }
  }

  void ReceivePiece(int from, int tag, int bytes, MPI_Message message) {
    std::string& whole = pieces_[{from, tag}];
    const size_t before = whole.size();
    whole.resize(before + static_cast<size_t>(bytes));
    Check(MPI_Mrecv(whole.data() + before, bytes, MPI_BYTE, &message, MPI_STATUS_IGNORE));
    uint64_t length;
    CHECK_GE(whole.size(), sizeof length);
    std::memcpy(&length, whole.data(), sizeof length);
    if (whole.size() < sizeof length + length) return;
    whole.erase(0, sizeof length);
    Deliver(from, tag, std::move(whole));
    pieces_.erase({from, tag});
  }

  static void Check(int code) {
    if (code == MPI_SUCCESS) return;
    char text[MPI_MAX_ERROR_STRING] = "";
    int length = 0;
    MPI_Error_string(code, text, &length);
    throw mariana::Fail(ExitCode::kLostWorkers, "MPI: ", std::string(text, length));
  }

  MPI_Comm comm_ = MPI_COMM_NULL;
  std::atomic<int64_t> highest_tag_{32767};  // what MPI promises at least
  std::vector<MPI_Request> under_way_;
  std::vector<std::function<void()>> done_;  // of under_way_
  std::vector<int> indices_;
  std::map<std::pair<int, int>, std::string> pieces_;  // (from, tag) -> not yet whole

  std::mutex mutex_;  // guards what follows
  CondVar changed_;
  std::vector<Request> left_;
  bool ready_ = false, leaving_ = false;
  ClockedThread thread_;  // last: it uses the rest
};

}  // namespace

std::unique_ptr<World> MakeMpiWorld() { return std::make_unique<MpiWorld>(); }

}  // namespace mariana
