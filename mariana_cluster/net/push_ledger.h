// PushLedger: which pushes of which client a server has applied, in shared memory, so that a server
// that is started again on the same shards knows it: a push that is sent again because its answer
// was lost is not applied twice.
//
// Clients are the workers of the other nodes, each with a place of its own (its number in the whole
// job) and a number that changes when the worker is started again. Pushes of a client to a server
// are numbered from 1 and applied in order.
//
// Threading: one thread of one process writes; others may read counters.
#pragma once

#include <atomic>
#include <cstdint>

#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

class PushLedger {
 public:
  static constexpr int64_t kPlaces = 1 << 13;  // workers of a job

  static PushLedger Create();
  static PushLedger Attach(int fd);  // takes the descriptor over
  int fd() const { return memory_.fd(); }

  // The place of a client: the last bits of its number.
  static int64_t PlaceOf(uint64_t client) { return static_cast<int64_t>(client % kPlaces); }

  // The last push of this client that was applied; 0 for one that was not met.
  uint64_t Last(uint64_t client) const;
  // Around applying a push.
  void Begin(uint64_t client, uint64_t push);
  void End(uint64_t client);
  // Of a server that died: pushes that it was in the middle of. They count as applied from now on:
  // nobody can tell how much of them was.
  int64_t SettleTorn();

 private:
  struct Place;
  explicit PushLedger(SharedMemory memory) : memory_(static_cast<SharedMemory&&>(memory)) {}
  Place* At(uint64_t client) const;

  SharedMemory memory_;
};

}  // namespace mariana
