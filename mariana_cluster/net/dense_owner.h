// Dense parameters over nodes. Each node keeps all values of the net in its own shared memory and
// trains on them; slice k belongs to node k % nodes, its owner. A node sends the owner of a slice
// what it has added to it since they last spoke, and gets back what others have added meanwhile.
// So every step of every worker counts once everywhere, with the delay of an exchange.
//
// Numbers travel as bf16, and what rounding leaves over stays in the difference and goes next time
// (error feedback, Seide et al. 2014): both ends keep the same copy, `known`, of what the node has
// been told, in shared memory (DenseMirror), so that a server process that is started again goes
// on.
//
//   node i:  d = round(v - known); known += d;  send d
//   owner :  v += d; known[i] += d; r = round(v - known[i]); known[i] += r;  answer r
//   node i:  v += r; known += r
//
// A question that comes twice (its answer was lost) is answered by `known[i]` itself in fp32, which
// mends the node's copy; a node whose process was started again asks for that (kDenseAsk). Flush,
// while no worker trains: every node sends its last difference in fp32; when all others have, the
// owner answers its values; then all nodes agree to the bit.
//
// DenseOwner: the owner's part: a server's desk calls it. Threading: one thread; values under their
// slices' locks.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "mariana_cluster/net/dense_mirror.h"
#include "mariana_cluster/net/frame.h"

namespace mariana {

class DenseOwner {
 public:
  // Both outlive it.
  DenseOwner(DenseParameters* dense, DenseMirror* mirror) : dense_(dense), mirror_(mirror) {}

  // What is to be sent to whom.
  struct Answer {
    std::string peer;
    FrameHeader header;
    std::string body;
  };
  // A kDense, kDenseFinal or kDenseAsk frame; header.shard: the node that asks. Null and what is to
  // be sent now, to others too who waited for this node's last word; or why the frame is refused.
  const char* Handle(const std::string& peer, const Frame& frame, std::vector<Answer>* answers);

 private:
  const char* WhyNot(const FrameHeader& header) const;
  void Exchange(const std::string& peer, const Frame& frame, std::vector<Answer>* answers);
  Answer Known(const std::string& peer, const FrameHeader& question);
  void Finish(const std::string& peer, const Frame& frame, std::vector<Answer>* answers);
  void Add(int64_t slice, const float* difference, float* known);

  DenseParameters* dense_;
  DenseMirror* mirror_;
  std::vector<float> floats_;
  // Of a flush, by slice and node: who waits for its end.
  std::map<std::pair<int64_t, int>, Answer> waiting_;
};

}  // namespace mariana
