// DenseParameters: the values of a net and their optimizer's state, once for all processes of a
// node, in shared memory, in the net's arena layout. Every worker has a net of its own; after its
// backward pass it takes one slice of the shared values after the other, makes the optimizer's step
// with its gradients under the slice's lock, and copies the new values into its own net. So no
// update is lost (unlike Hogwild's), a worker leaves with values as fresh as any, and one worker
// alone trains exactly as if the values were its own.
//
// Threading: DenseParameters' floats are anybody's who holds a slice's lock; Lock and Unlock work
// between threads and processes. A lock names the process that holds it. Of one that is killed, the
// agent releases all (ReleaseOf) once it is gone: the step that it was in is then made for a part of
// the slice only, every float being as before or after it, and never half of one; the gradients of
// that batch are lost for the rest. DenseStep belongs to one thread.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <vector>

#include "common/nn/net.h"
#include "common/optim/optimizer.h"
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

// The optimizer's steps on shared parameters. `plan` names the parameters (PlanNet or Net::plan).
class DenseStep {
 public:
  // Throws Error(kUsage) as CheckGroups.
  DenseStep(DenseParameters* shared, const NetPlan& plan, const OptimizerSpec& optimizer,
            Device* device);

  struct Rate {
    double learning_rate = 0;
    int64_t t = 1;     // of the step, from 1
    double scale = 1;  // of the gradients
  };
  // With the net's gradients, all slices from `first` on around; the net leaves with the new
  // values.
  void Update(const Rate& rate, int64_t first, Net* net);
  // One slice, with its gradients alone; no other net is told.
  void UpdateSlice(const Rate& rate, int64_t slice, const float* gradients);
  // Copies all values into the net.
  void Pull(Net* net);

 private:
  struct Segment {
    DenseRange range;
    Factors factors;
  };
  void Step(const Rate& rate, int64_t slice, const float* gradients, uint16_t* shadow);

  DenseParameters* shared_;
  OptimizerSpec optimizer_;
  Device* device_;
  std::vector<std::vector<Segment>> segments_;  // of each slice
};

// What a step multiplies the net's gradients by: `mean` makes their mean of them, and where the
// norm of that is above clip_norm (0: none) it is brought down to it.
double GradientScale(Net* net, double mean, double clip_norm);

}  // namespace mariana
