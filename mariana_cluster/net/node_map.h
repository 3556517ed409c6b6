// NodeMap: the nodes of a job and where their parameter servers listen. Shard s of every table
// lives on node s / servers. A plain value that travels from the agent to every server and worker.
#pragma once

#include <string>
#include <vector>

namespace mariana {

struct NodeMap {
  int nodes = 1, node = 0;  // this one
  int servers = 1;          // of each node
  int workers = 1;          // of each node
  // Of all nodes' servers in order ("tcp://10.0.0.2:40001"); empty where there is one node.
  std::vector<std::string> endpoints;

  int shards() const { return nodes * servers; }
  int first_shard() const { return node * servers; }
  bool is_local(int shard) const { return shard / servers == node; }
  // "server 1 of node 2 (tcp://10.0.0.3:40001)", for people.
  std::string Describe(int shard) const;

  std::string ToBytes() const;
  static NodeMap FromBytes(const std::string& bytes);  // CHECKs
};

}  // namespace mariana
