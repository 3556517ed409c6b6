#include "mariana_cluster/net/dense_mirror.h"

#include <glog/logging.h>

#include <algorithm>
#include <atomic>
#include <new>

namespace mariana {
namespace {

constexpr int64_t kHeaderBytes = 4096;
constexpr int64_t kElements = DenseParameters::kSliceElements;

}  // namespace

struct DenseMirror::Header {
  int64_t elements, slices;
  int32_t nodes, node;
  std::atomic<int64_t> rounds;
};

// [header | words: asked[slices], asked_of[nodes x owned], flushed_of[nodes x owned]
//  | floats: known[slices], known_of[nodes x owned], each of kElements]
DenseMirror DenseMirror::Create(const DenseParameters& shape, int nodes, int node) {
  const int64_t slices = shape.slices(), owned = (slices + nodes - 1) / nodes;
  const int64_t words = slices + 2 * nodes * owned, floats = (slices + nodes * owned) * kElements;
  const int64_t bytes =
      kHeaderBytes + words * int64_t{sizeof(uint64_t)} + floats * int64_t{sizeof(float)};
  DenseMirror mirror(SharedMemory::Create("mariana dense mirror", bytes));
  mirror.memory_.Commit(0, bytes);
  new (mirror.memory_.data()) Header{shape.elements(), slices, nodes, node, {0}};
  return mirror;
}

DenseMirror DenseMirror::Attach(int fd) {
  return DenseMirror(SharedMemory::Attach(fd, "mariana dense mirror"));
}

DenseMirror::Header* DenseMirror::header() const {
  return reinterpret_cast<Header*>(memory_.data());
}
int64_t DenseMirror::slices() const { return header()->slices; }
int DenseMirror::nodes() const { return header()->nodes; }
int DenseMirror::node() const { return header()->node; }
int64_t DenseMirror::rounds() const { return header()->rounds.load(std::memory_order_acquire); }
void DenseMirror::CountRound() { header()->rounds.fetch_add(1, std::memory_order_release); }
int64_t DenseMirror::Owned() const { return (slices() + nodes() - 1) / nodes(); }

uint64_t* DenseMirror::Words() const {
  return reinterpret_cast<uint64_t*>(memory_.data() + kHeaderBytes);
}
float* DenseMirror::Floats() const {
  return reinterpret_cast<float*>(Words() + slices() + 2 * nodes() * Owned());
}
int64_t DenseMirror::PlaceOf(int of, int64_t slice) const {
  CHECK(owner(slice) == node() && of >= 0 && of < nodes()) << slice << " of " << of;
  return of * Owned() + slice / nodes();
}

float* DenseMirror::known(int64_t slice) { return Floats() + slice * kElements; }
uint64_t* DenseMirror::asked(int64_t slice) { return Words() + slice; }
float* DenseMirror::known_of(int of, int64_t slice) {
  return Floats() + (slices() + PlaceOf(of, slice)) * kElements;
}
uint64_t* DenseMirror::asked_of(int of, int64_t slice) {
  return Words() + slices() + PlaceOf(of, slice);
}
uint64_t* DenseMirror::flushed_of(int of, int64_t slice) {
  return Words() + slices() + nodes() * Owned() + PlaceOf(of, slice);
}

void DenseMirror::Start(const float* values) {
  for (int64_t slice = 0; slice < slices(); ++slice) {
    const int64_t begin = slice * kElements;
    const int64_t n = std::min(kElements, header()->elements - begin);
    std::copy_n(values + begin, n, known(slice));
    if (owner(slice) != node()) continue;
    for (int of = 0; of < nodes(); ++of) std::copy_n(values + begin, n, known_of(of, slice));
  }
}

}  // namespace mariana
