// ShardService: a thread of a server's process that answers the workers of other nodes (ShardDesk)
// at a ROUTER socket of ZeroMQ. A worker that dies takes nothing with it; a server that is started
// again on the same shards, ledger and endpoint goes on where it was.
//
// Threading: once started, WhileQuiet, set_epoch and counters from any thread. The service's own
// thread waits in zmq_poll: sockets know no Clock.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "common/base/error.h"
#include "mariana_cluster/net/shard_desk.h"

namespace mariana {

class ShardService {
 public:
  struct Options {
    ShardDesk::Options desk;
    std::string address;   // an IPv4 address of this machine (AddressOf)
    std::string endpoint;  // that a former process of this server had; empty: any port
    // The service cannot go on (memory ended): called once, on its thread, which then ends.
    std::function<void(const Error&)> failed;
    // After each frame, on its thread: what it was, and how long it took. May be empty.
    std::function<void(FrameKind kind, int64_t begin_ns, int64_t end_ns)> handled;
  };
  // Listens from here on; what comes waits for Start. Error(kUsage) for an address that is not
  // loopback without a token, Error(kIo) when it cannot listen.
  explicit ShardService(const Options& options);
  ~ShardService();
  ShardService(const ShardService&) = delete;
  ShardService& operator=(const ShardService&) = delete;

  const std::string& endpoint() const { return endpoint_; }
  // Answers from here on. As ShardDesk; once.
  void Start(std::vector<std::shared_ptr<TableShard>> shards, PushLedger* ledger,
             DenseOwner* dense);
  // Runs f while no frame is handled; rows that were looked up before count no more.
  void WhileQuiet(const std::function<void()>& f);
  void set_epoch(uint32_t epoch) { desk_->set_epoch(epoch); }
  ShardDesk::Counters counters() const { return desk_->counters(); }

 private:
  void Run();
  bool HandleOne();

  const Options options_;
  SocketContext context_;
  Socket router_;
  std::string endpoint_;
  int wake_fd_;
  std::atomic<bool> stop_{false};
  std::mutex mutex_;  // held while a frame is handled
  std::unique_ptr<ShardDesk> desk_;
  std::thread thread_;
};

}  // namespace mariana
