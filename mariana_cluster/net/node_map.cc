#include "mariana_cluster/net/node_map.h"

#include <glog/logging.h>

#include <sstream>

#include "common/base/error.h"

namespace mariana {

std::string NodeMap::Describe(int shard) const {
  const auto s = static_cast<size_t>(shard);
  return StrCat("server ", shard % servers, " of node ", shard / servers,
                s < endpoints.size() ? " (" + endpoints[s] + ")" : "");
}

std::string NodeMap::ToBytes() const {
  std::string text = StrCat(nodes, " ", node, " ", servers, " ", workers);
  for (const std::string& e : endpoints) text += " " + e;
  return text;
}

NodeMap NodeMap::FromBytes(const std::string& bytes) {
  NodeMap map;
  std::istringstream in(bytes);
  in >> map.nodes >> map.node >> map.servers >> map.workers;
  CHECK(in && map.nodes > 0 && map.node >= 0 && map.node < map.nodes && map.servers > 0) << bytes;
  for (std::string e; in >> e;) map.endpoints.push_back(e);
  CHECK(map.endpoints.empty() || map.endpoints.size() == static_cast<size_t>(map.shards()))
      << bytes;
  return map;
}

}  // namespace mariana
