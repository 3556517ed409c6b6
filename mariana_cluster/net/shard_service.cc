#include "mariana_cluster/net/shard_service.h"

#include <glog/logging.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstddef>
#include <utility>

#include "common/base/clock.h"
#include "mariana_cluster/net/token.h"

namespace mariana {
namespace {

const ShardService::Options& Checked(const ShardService::Options& options) {
  if (options.desk.token.empty() && !IsLoopback(options.address)) {
    throw Fail(ExitCode::kUsage, "parallel.interface: ", options.address,
               " can be reached from other machines: set parallel.token_file to a file with a "
               "secret that all nodes have");
  }
  return options;
}

// Every worker of another node is a connection, which many systems allow 1024 of at first.
void AllowConnections() {
  rlimit files;
  if (getrlimit(RLIMIT_NOFILE, &files) != 0) return;
  files.rlim_cur = files.rlim_max;
  setrlimit(RLIMIT_NOFILE, &files);
}

}  // namespace

ShardService::ShardService(const Options& options)
    : options_(Checked(options)),
      router_(context_, ZMQ_ROUTER),
      endpoint_(router_.Bind(options.endpoint.empty() ? StrCat("tcp://", options.address, ":*")
                                                      : options.endpoint)),
      wake_fd_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) {
  CHECK_GE(wake_fd_, 0);
  AllowConnections();
}

void ShardService::Start(std::vector<std::shared_ptr<TableShard>> shards, PushLedger* ledger,
                         DenseOwner* dense) {
  CHECK(desk_ == nullptr);
  const auto reply = [this](const std::string& peer, Packet frame) {
    // False: the client is gone, or comes back and asks again.
    if (router_.Send(Packet(peer), true)) router_.Send(std::move(frame));
  };
  desk_ = std::make_unique<ShardDesk>(options_.desk, std::move(shards), ledger, dense, reply);
  thread_ = std::thread([this] { Run(); });
}

ShardService::~ShardService() {
  stop_ = true;
  const uint64_t one = 1;
  PCHECK(write(wake_fd_, &one, sizeof(one)) == sizeof(one));
  if (thread_.joinable()) thread_.join();
  close(wake_fd_);
}

void ShardService::WhileQuiet(const std::function<void()>& f) {
  std::unique_lock<std::mutex> lock(mutex_);
  f();
  desk_->ForgetRows();
}

// False when no frame is there.
bool ShardService::HandleOne() {
  std::unique_lock<std::mutex> lock(mutex_);
  const auto peer = router_.Receive();
  if (!peer) return false;
  if (!router_.more()) return true;
  auto frame = router_.Receive();
  // The parts of a message come together; ours have two.
  bool more = router_.more();
  while (more) {
    router_.Receive();
    more = router_.more();
    frame.reset();
  }
  if (!frame) return true;
  const int64_t begin = options_.handled ? Clock::Real()->NowNs() : 0;
  desk_->Handle(std::string(peer->view()), frame->view());
  if (options_.handled && frame->bytes() >= int64_t{sizeof(FrameHeader)}) {
    const auto kind = static_cast<FrameKind>(frame->data()[offsetof(FrameHeader, kind)]);
    options_.handled(kind, begin, Clock::Real()->NowNs());
  }
  return true;
}

void ShardService::Run() {
  try {
    zmq_pollitem_t items[] = {{router_.get(), 0, ZMQ_POLLIN, 0},
                              {nullptr, wake_fd_, ZMQ_POLLIN, 0}};
    while (!stop_) {
      while (!stop_ && HandleOne()) {
      }
      zmq_poll(items, 2, -1);
    }
  } catch (const Error& e) {
    options_.failed(e);
  }
}

}  // namespace mariana
