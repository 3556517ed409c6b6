// DenseParameters: the values of a net and their optimizer's state, once for all processes of a
// node, in shared memory, in the net's arena layout. Every worker has a net of its own; after its
// backward pass it takes one slice of the shared values after the other, makes the optimizer's step
// with its gradients under the slice's lock, and copies the new values into its own net. So no
// update is lost (unlike Hogwild's), a worker leaves with values as fresh as any, and one worker
// alone trains exactly as if the values were its own.
//
// Threading: DenseParameters' floats are anybody's who holds a slice's lock; Lock and Unlock work
// between threads and processes. A lock names the process that holds it. Of one that is killed, the
// agent releases all (ReleaseOf) once it is gone: the step that it was in is then made for a part
// of the slice only, every float being as before or after it, and never half of one; the gradients
// of that batch are lost for the rest. DenseStep belongs to one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>

#include "mariana_cluster/table/shared_memory.h"

namespace mariana {

// Elements [begin, end) of the arena.
struct DenseRange {
  int64_t begin = 0, end = 0;
  int64_t size() const { return end - begin; }
};

class DenseParameters {
 public:
  static constexpr int64_t kSliceElements = 16 << 10;

  // Zeroed. `slots`: OptimizerSlots.
  static DenseParameters Create(int64_t elements, int slots);
  static DenseParameters Attach(int fd);  // takes the descriptor over
  int fd() const { return memory_.fd(); }

  int64_t elements() const;
  int slots() const;
  int64_t slices() const { return (elements() + kSliceElements - 1) / kSliceElements; }
  DenseRange SliceRange(int64_t slice) const;
  float* values() { return At(0); }
  float* slot(int k) { return At(1 + k); }

  // All floats, optimizer state included, as bytes for another node's DenseParameters.
  std::string Arenas() const;
  void SetArenas(const std::string& bytes);

  void Lock(int64_t slice);
  void Unlock(int64_t slice);
  // Unlocks what this process held, which has ended and been reaped; how many slices.
  int64_t ReleaseOf(int pid);

 private:
  struct Header;
  explicit DenseParameters(SharedMemory memory);
  std::atomic<uint32_t>* LockOf(int64_t slice) const;
  float* At(int arena) const;

  SharedMemory memory_;
};

}  // namespace mariana
