#include "mariana_cluster/node_service.h"

#include <glog/logging.h>
#include <unistd.h>

#include <utility>

namespace mariana {
namespace {

constexpr int kTraceThread = 1;  // of a server's: 0 is its own

std::string TokenOf(const JobSpec& spec) {
  return spec.parallel.token_file.empty() ? "" : ReadToken(spec.parallel.token_file);
}

}  // namespace

NodeService::NodeService(const JobSpec& spec, const ReceivedJob& job,
                         std::function<void(const Message&)> send)
    : spec_(spec),
      index_(job.index),
      send_(std::move(send)),
      token_(TokenOf(spec)),
      ledger_(PushLedger::Attach(job.remains.ledger)),
      service_([&] {
        ShardService::Options o;
        o.desk.shard = job.place.node * static_cast<int>(spec.parallel.servers) + job.index;
        o.desk.token = token_;
        o.desk.warn = [this](const std::string& what) { send_({"warning", 0, what, {}}); };
        o.address = AddressOf(spec.parallel.interface);
        o.endpoint = job.remains.endpoint;
        o.failed = [this](const Error& e) { Fail(e); };
        o.handled = [this](FrameKind kind, int64_t begin, int64_t end) {
          Handled(kind, begin, end);
        };
        return o;
      }()) {
  LOG(INFO) << "listens at " << service_.endpoint();
}

NodeService::~NodeService() = default;

void NodeService::Fail(const Error& error) {
  LOG(ERROR) << error.message();
  send_({kErrorMessage, static_cast<int64_t>(error.code()), error.message(), {}});
  _exit(static_cast<int>(error.code()));
}

void NodeService::Start(const std::vector<std::shared_ptr<TableShard>>& shards, JobMemory* memory) {
  trace_ = memory->writer;
  const bool dense = index_ == 0 && memory->dense && memory->mirror;
  if (dense) owner_ = std::make_unique<DenseOwner>(&*memory->dense, &*memory->mirror);
  service_.Start(shards, &ledger_, owner_.get());
  if (!dense) return;
  const ClusterSpec& p = spec_.parallel;
  DenseExchange::Options o;
  o.wire = p.wire;
  o.token = token_;
  o.bytes_per_second = static_cast<double>(p.dense_rate);
  o.failed = [this](const Error& e) { Fail(e); };
  exchange_ = std::make_unique<DenseExchange>(
      memory->Nodes(static_cast<int>(p.servers), static_cast<int>(p.workers)), o, &*memory->dense,
      &*memory->mirror);
}

void NodeService::FlushDense(uint32_t number) {
  if (exchange_ != nullptr) exchange_->Flush(number);
  const ShardDesk::Counters c = service_.counters();
  // scripts/bench/cluster reads this line.
  LOG(INFO) << "for other nodes: received " << c.bytes_in << " sent " << c.bytes_out
            << " bytes; keys pulled " << c.keys_pulled << " pushed " << c.keys_pushed << "; pushes "
            << c.pushes << ", repeated " << c.repeated << ", cut short " << c.torn
            << "; frames refused " << c.refused << "; dense bytes "
            << (exchange_ == nullptr ? 0 : exchange_->bytes());
}

void NodeService::Handled(FrameKind kind, int64_t begin_ns, int64_t end_ns) {
  if (kind == FrameKind::kPull)
    trace_.AddServerTime(ServerStage::kPull, begin_ns, end_ns, kTraceThread);
  if (kind == FrameKind::kPush)
    trace_.AddServerTime(ServerStage::kPush, begin_ns, end_ns, kTraceThread);
  const ShardDesk::Counters c = service_.counters();
  trace_.AddBytes(c.bytes_in - counted_in_, c.bytes_out - counted_out_);
  counted_in_ = c.bytes_in;
  counted_out_ = c.bytes_out;
}

}  // namespace mariana
