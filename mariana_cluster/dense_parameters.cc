#include "mariana_cluster/dense_parameters.h"

#include <glog/logging.h>
#include <sched.h>
#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <utility>

namespace mariana {
namespace {

constexpr int64_t kLineBytes = 64;
constexpr int kSpins = 64;  // before others may run on this core

}  // namespace

struct DenseParameters::Header {
  int64_t elements, slots;
};

// [header | a line for each lock | arenas]
DenseParameters DenseParameters::Create(int64_t elements, int slots) {
  CHECK(elements > 0 && slots >= 0 && slots <= 2) << elements << " " << slots;
  const int64_t slices = (elements + kSliceElements - 1) / kSliceElements;
  const int64_t padded = slices * kSliceElements;
  const int64_t bytes = (1 + slices) * kLineBytes + (1 + slots) * padded * int64_t{sizeof(float)};
  DenseParameters p(SharedMemory::Create("mariana dense parameters", bytes));
  p.memory_.Commit(0, bytes);
  *reinterpret_cast<Header*>(p.memory_.data()) = {elements, slots};
  return p;
}

DenseParameters DenseParameters::Attach(int fd) {
  return DenseParameters(SharedMemory::Attach(fd, "mariana dense parameters"));
}

DenseParameters::DenseParameters(SharedMemory memory) : memory_(std::move(memory)) {}

int64_t DenseParameters::elements() const {
  return reinterpret_cast<const Header*>(memory_.data())->elements;
}
int DenseParameters::slots() const {
  return static_cast<int>(reinterpret_cast<const Header*>(memory_.data())->slots);
}

DenseRange DenseParameters::SliceRange(int64_t slice) const {
  const int64_t begin = slice * kSliceElements;
  return {begin, std::min(begin + kSliceElements, elements())};
}

std::string DenseParameters::Arenas() const {
  const int64_t floats = (1 + slots()) * slices() * kSliceElements;
  return {reinterpret_cast<const char*>(At(0)), static_cast<size_t>(floats) * sizeof(float)};
}

void DenseParameters::SetArenas(const std::string& bytes) {
  const int64_t floats = (1 + slots()) * slices() * kSliceElements;
  CHECK_EQ(bytes.size(), static_cast<size_t>(floats) * sizeof(float));
  std::memcpy(At(0), bytes.data(), bytes.size());
}

std::atomic<uint32_t>* DenseParameters::LockOf(int64_t slice) const {
  return reinterpret_cast<std::atomic<uint32_t>*>(memory_.data() + (1 + slice) * kLineBytes);
}

float* DenseParameters::At(int arena) const {
  char* first = memory_.data() + (1 + slices()) * kLineBytes;
  return reinterpret_cast<float*>(first) + arena * slices() * kSliceElements;
}

// A slice is held for microseconds, so waiting for one is spinning; the holder may have lost its
// core, so not for long.
void DenseParameters::Lock(int64_t slice) {
  std::atomic<uint32_t>* lock = LockOf(slice);
  const auto me = static_cast<uint32_t>(getpid());
  uint32_t free = 0;
  for (int tries = 0; !lock->compare_exchange_weak(free, me, std::memory_order_acquire); free = 0) {
    while (lock->load(std::memory_order_relaxed) != 0) {
      if (++tries % kSpins == 0) sched_yield();
    }
  }
}

void DenseParameters::Unlock(int64_t slice) { LockOf(slice)->store(0, std::memory_order_release); }

int64_t DenseParameters::ReleaseOf(int pid) {
  int64_t released = 0;
  for (int64_t slice = 0; slice < slices(); ++slice) {
    auto holder = static_cast<uint32_t>(pid);
    released += LockOf(slice)->compare_exchange_strong(holder, 0, std::memory_order_acq_rel);
  }
  return released;
}

}  // namespace mariana
