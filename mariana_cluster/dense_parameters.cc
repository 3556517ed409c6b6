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

DenseStep::DenseStep(DenseParameters* shared, const NetPlan& plan, const OptimizerSpec& optimizer,
                     Device* device)
    : shared_(shared), optimizer_(optimizer), device_(device) {
  CHECK_EQ(plan.arena_elements, shared->elements());
  std::vector<std::string> names;
  for (const ParamInfo& p : plan.params) names.push_back(p.name);
  CheckGroups(optimizer, names);
  segments_.resize(static_cast<size_t>(shared->slices()));
  for (const ParamInfo& p : plan.params) {
    const Factors factors = FactorsOf(optimizer, p.name, p.decay);
    for (int64_t begin = p.offset; begin < p.offset + p.elements;) {
      const int64_t slice = begin / DenseParameters::kSliceElements;
      const int64_t end = std::min(p.offset + p.elements, shared->SliceRange(slice).end);
      auto& list = segments_[static_cast<size_t>(slice)];
      if (!list.empty() && list.back().factors == factors && list.back().range.end == begin) {
        list.back().range.end = end;
      } else {
        list.push_back({{begin, end}, factors});
      }
      begin = end;
    }
  }
}

// `gradients` and `shadow` (or null): of the slice's first element on.
void DenseStep::Step(const Rate& rate, int64_t slice, const float* gradients, uint16_t* shadow) {
  const int64_t first = shared_->SliceRange(slice).begin;
  float* state[2] = {shared_->slots() > 0 ? shared_->slot(0) : nullptr,
                     shared_->slots() > 1 ? shared_->slot(1) : nullptr};
  for (const Segment& s : segments_[static_cast<size_t>(slice)]) {
    const int64_t i = s.range.begin;
    device_->Update(
        MakeOptimizerStep(optimizer_, rate.learning_rate, rate.t, rate.scale, s.factors),
        gradients + (i - first), shared_->values() + i,
        shadow == nullptr ? nullptr : shadow + (i - first),
        state[0] == nullptr ? nullptr : state[0] + i, state[1] == nullptr ? nullptr : state[1] + i,
        s.range.size());
  }
}

void DenseStep::Update(const Rate& rate, int64_t first, Net* net) {
  const int64_t slices = shared_->slices();
  for (int64_t k = 0; k < slices; ++k) {
    const int64_t slice = (first + k) % slices;
    const DenseRange r = shared_->SliceRange(slice);
    shared_->Lock(slice);
    Step(rate, slice, net->grads() + r.begin,
         net->values16() == nullptr ? nullptr : net->values16() + r.begin);
    std::copy_n(shared_->values() + r.begin, r.size(), net->values() + r.begin);
    shared_->Unlock(slice);
  }
}

void DenseStep::UpdateSlice(const Rate& rate, int64_t slice, const float* gradients) {
  Step(rate, slice, gradients, nullptr);
}

void DenseStep::Pull(Net* net) {
  for (int64_t slice = 0; slice < shared_->slices(); ++slice) {
    const DenseRange r = shared_->SliceRange(slice);
    shared_->Lock(slice);
    std::copy_n(shared_->values() + r.begin, r.size(), net->values() + r.begin);
    shared_->Unlock(slice);
  }
  net->RefreshShadow(0, shared_->elements());
}

double GradientScale(Net* net, double mean, double clip_norm) {
  if (clip_norm <= 0) return mean;
  const double norm =
      mean * std::sqrt(net->options().device->SumOfSquares(net->grads(), net->arena_elements()));
  return norm > clip_norm ? mean * clip_norm / norm : mean;
}

}  // namespace mariana
