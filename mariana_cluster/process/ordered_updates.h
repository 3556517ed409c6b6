// OrderedUpdates: how `deterministic: true` gives the same bits with any number of workers and
// servers. Training goes in rounds of a fixed number of blocks of samples. Within a round the
// parameters stand still: workers compute the updates of its blocks, whoever takes which, and put
// them here. Each server then applies, block by block in their order, what concerns its shard, so
// every row sees the same updates in the same order on whatever machine. The next round begins when
// all servers are through.
//
// A block's updates are bytes to this class, one section for each server (trainers write table,
// keys, gradients; a server finds the rows itself). Sightings of new keys belong there, too: rows
// are admitted by the server, in order.
//
// Threading: workers call Await, Put and EndAfter, each server Apply with its own number, at once,
// in different processes. A block is put once a round.
#pragma once

#include <cstdint>
#include <functional>
#include <string_view>
#include <vector>

#include "mariana_cluster/process/board.h"
#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

class OrderedUpdates {
 public:
  // block_bytes: the most that a block's sections take together; address space, not memory.
  static OrderedUpdates Create(int blocks, int servers, int64_t block_bytes);
  static OrderedUpdates Attach(int fd);
  int fd() const { return memory_.fd(); }
  int blocks() const;
  int servers() const;

  // ---- workers
  // Waits until the parameters are those that `round` (from 0) is to see. False: training ends
  // before it.
  bool Await(Board* board, int64_t round);
  // sections[s] is for server s. Error(kUsage) when they take more than block_bytes.
  void Put(Board* board, int64_t round, int block, const std::vector<std::string_view>& sections);
  // Rounds in which the block has been put: where a worker that takes the place of one that was
  // killed goes on.
  int64_t RoundsPut(int block) const;
  // No round after `round` begins. Who calls it must yet have a block of `round` to put.
  void EndAfter(int64_t round);
  // Takes that back, when all have come to know it.
  void Continue();

  // ---- servers
  // Waits for the blocks of `round` and calls f(block, section) for each, in order. False: training
  // ends before it.
  bool Apply(Board* board, int server, int64_t round,
             const std::function<void(int block, std::string_view section)>& f);
  // A resumed run begins at this round; before any of the above.
  void StartAt(int64_t round);

 private:
  struct Shared;
  struct Block;
  explicit OrderedUpdates(SharedMemory memory);
  Block* BlockAt(int block) const;
  char* BytesOf(int block) const;

  SharedMemory memory_;
  Shared* shared_;
  std::vector<int64_t> committed_;  // by this process, of each block's bytes
};

}  // namespace mariana
