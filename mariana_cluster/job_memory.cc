#include "mariana_cluster/job_memory.h"

#include <glog/logging.h>

#include <cstring>
#include <sstream>
#include <utility>

#include "common/base/error.h"
#include "common/train/run_log.h"

namespace mariana {
namespace {

enum Parts : int64_t {
  kDense = 1,
  kOrdered = 2,
  kMirror = 4,
  kTables = 8
};  // kTables: times their number

Message Expect(Member* me, const char* kind) {
  Message m = me->Receive();
  CHECK_EQ(m.kind, kind);
  return m;
}

}  // namespace

std::vector<Table> JobMemory::MakeTables() const {
  std::vector<Table> tables;
  for (const auto& s : shards) tables.emplace_back(s);
  return tables;
}

NodeMap JobMemory::Nodes(int servers, int workers) const {
  return {place.nodes, place.node, servers, workers, endpoints};
}

void SendJob(Agent* agent, int member, int64_t index, const JobStart& job,
             const ServerRemains& remains) {
  // Longer than a message may be: [bytes | text].
  const std::string& yaml = job.yaml;
  const auto bytes = static_cast<int64_t>(yaml.size());
  const SharedMemory text = SharedMemory::Create("mariana job", bytes + int64_t{sizeof(bytes)});
  text.Commit(0, bytes + int64_t{sizeof(bytes)});
  std::memcpy(text.data(), &bytes, sizeof(bytes));
  std::memcpy(text.data() + sizeof(bytes), yaml.data(), yaml.size());
  Message m{"job",
            index,
            StrCat(job.place.node, " ", job.place.nodes, " ", job.first_rank + member, " ",
                   remains.endpoint.empty() ? "-" : remains.endpoint, " ", job.log_path),
            {text.fd()}};
  if (remains.ledger >= 0) m.fds.push_back(remains.ledger);
  m.fds.insert(m.fds.end(), remains.shards.begin(), remains.shards.end());
  agent->Send(member, m);
}

ReceivedJob ReceiveJob(Member* me) {
  Message m = Expect(me, "job");
  ReceivedJob job;
  job.index = static_cast<int>(m.number);
  std::istringstream words(m.body);
  int rank;
  words >> job.place.node >> job.place.nodes >> rank >> job.remains.endpoint >> std::ws;
  if (job.remains.endpoint == "-") job.remains.endpoint.clear();
  std::getline(words, job.log_path);
  LogToFolder(job.log_path, rank);
  LOG(INFO) << me->board()->Describe(me->number());
  const SharedMemory text = SharedMemory::Attach(m.fds.at(0), "mariana job");
  int64_t bytes;
  std::memcpy(&bytes, text.data(), sizeof(bytes));
  job.yaml.assign(text.data() + sizeof(bytes), static_cast<size_t>(bytes));
  size_t next = 1;
  if (job.place.nodes > 1 && m.fds.size() > next) job.remains.ledger = m.fds[next++];
  job.remains.shards.assign(m.fds.begin() + static_cast<ptrdiff_t>(next), m.fds.end());
  return job;
}

void SendMemory(Agent* agent, int member, const JobMemory& memory) {
  const auto tables = static_cast<int64_t>(memory.shards.size());
  Message m{"memory",
            tables * kTables,
            memory.measured,
            {memory.progress->fd(), memory.trace->fd(), memory.lanes->fd()}};
  if (memory.dense) {
    m.number |= kDense;
    m.fds.push_back(memory.dense->fd());
  }
  if (memory.ordered) {
    m.number |= kOrdered;
    m.fds.push_back(memory.ordered->fd());
  }
  if (memory.mirror) {
    m.number |= kMirror;
    m.fds.push_back(memory.mirror->fd());
  }
  agent->Send(member, m);
  std::string endpoints;
  for (const std::string& e : memory.endpoints) endpoints += e + "\n";
  agent->Send(member, {"nodes", 0, endpoints, {}});
  for (const auto& shards : memory.shards) {
    Message table{"table", 0, "", {}};
    for (const auto& s : shards) table.fds.push_back(s->fd());
    agent->Send(member, table);
  }
}

JobMemory ReceiveMemory(Member* me, Place place) {
  Message m = Expect(me, "memory");
  JobMemory memory;
  memory.place = place;
  size_t next = 0;
  memory.progress = RunProgress::Attach(m.fds.at(next++));
  memory.trace = TraceBoard::Attach(m.fds.at(next++));
  memory.writer = memory.trace->writer(me->number());
  memory.lanes = LaneQueue::Attach(m.fds.at(next++));
  if (m.number & kDense) memory.dense = DenseParameters::Attach(m.fds.at(next++));
  if (m.number & kOrdered) memory.ordered = OrderedUpdates::Attach(m.fds.at(next++));
  if (m.number & kMirror) memory.mirror = DenseMirror::Attach(m.fds.at(next++));
  memory.measured = std::move(m.body);
  std::istringstream endpoints(Expect(me, "nodes").body);
  for (std::string e; std::getline(endpoints, e);) memory.endpoints.push_back(e);
  for (int64_t t = 0; t < m.number / kTables; ++t) {
    memory.shards.emplace_back();
    for (const int fd : Expect(me, "table").fds) {
      memory.shards.back().push_back(std::make_shared<TableShard>(TableShard::Attach(fd)));
    }
  }
  return memory;
}

}  // namespace mariana
