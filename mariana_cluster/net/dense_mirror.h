// DenseMirror: what a node and the owners of the dense parameters' slices know of each other's
// values (dense_owner.h), in shared memory, so that it outlives a server's process.
//
// Threading: `known`, `asked` belong to the node's DenseExchange, the rest to its DenseOwner;
// rounds are counted by the exchange and read by anyone.
#pragma once

#include <cstdint>

#include "mariana_cluster/dense_parameters.h"
#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

class DenseMirror {
 public:
  // For node `node` of `nodes`; all slices start as `values`.
  static DenseMirror Create(const DenseParameters& shape, int nodes, int node);
  static DenseMirror Attach(int fd);  // takes the descriptor over
  int fd() const { return memory_.fd(); }
  // All nodes have these values now.
  void Start(const float* values);

  int64_t slices() const;
  int owner(int64_t slice) const { return static_cast<int>(slice % nodes()); }
  int nodes() const;
  int node() const;

  // What the owner of `slice` knows that this node has.
  float* known(int64_t slice);
  uint64_t* asked(int64_t slice);  // the number of the last question about it
  // Of a slice that this node owns: what node `of` has, its last question, its last flush.
  float* known_of(int of, int64_t slice);
  uint64_t* asked_of(int of, int64_t slice);
  uint64_t* flushed_of(int of, int64_t slice);

  // Exchanges of all slices that this node has done: what bounds how far its values part from
  // those of others.
  int64_t rounds() const;
  void CountRound();

 private:
  struct Header;
  explicit DenseMirror(SharedMemory memory) : memory_(static_cast<SharedMemory&&>(memory)) {}
  Header* header() const;
  int64_t Owned() const;  // places for the slices of one owner
  float* Floats() const;
  uint64_t* Words() const;
  int64_t PlaceOf(int of, int64_t slice) const;

  SharedMemory memory_;
};

}  // namespace mariana
