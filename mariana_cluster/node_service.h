// NodeService: what a server does for other nodes of its job (mariana_cluster/net): answers their
// workers, and, in a node's first server, keeps the net's values alike on all nodes.
//
// Threading: the server's own thread; the service and the exchange have their own.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mariana_cluster/job.h"
#include "mariana_cluster/job_memory.h"
#include "mariana_cluster/net/dense_exchange.h"
#include "mariana_cluster/net/dense_owner.h"
#include "mariana_cluster/net/push_ledger.h"
#include "mariana_cluster/net/shard_service.h"

namespace mariana {

class NodeService {
 public:
  // Listens from here on; throws Error as ShardService. `job`: of server `job.index`. `send`: to
  // the agent, thread-safe. A failure of the threads ends the process, telling the agent.
  NodeService(const JobSpec& spec, const ReceivedJob& job,
              std::function<void(const Message&)> send);
  ~NodeService();
  const std::string& endpoint() const { return service_.endpoint(); }

  // Answers from here on. `memory` outlives it.
  void Start(const std::vector<std::shared_ptr<TableShard>>& shards, JobMemory* memory);
  // Runs f while no other node's worker reads, makes or changes rows.
  void WhileQuiet(const std::function<void()>& f) { service_.WhileQuiet(f); }
  // While no worker of any node trains: DenseExchange::Flush.
  void FlushDense(uint32_t number);

 private:
  void Fail(const Error& error);
  void Handled(FrameKind kind, int64_t begin_ns, int64_t end_ns);

  const JobSpec& spec_;
  const int index_;
  std::function<void(const Message&)> send_;
  std::string token_;
  PushLedger ledger_;
  TraceWriter trace_;
  int64_t counted_in_ = 0, counted_out_ = 0;
  std::unique_ptr<DenseOwner> owner_;
  ShardService service_;
  std::unique_ptr<DenseExchange> exchange_;  // of the first server, where there is a net
};

}  // namespace mariana
