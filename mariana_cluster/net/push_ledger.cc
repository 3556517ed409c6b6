#include "mariana_cluster/net/push_ledger.h"

#include <utility>

namespace mariana {

struct PushLedger::Place {
  std::atomic<uint64_t> client, begun, done;
  uint64_t unused;
};

PushLedger PushLedger::Create() {
  const int64_t bytes = kPlaces * int64_t{sizeof(Place)};
  PushLedger ledger(SharedMemory::Create("mariana pushes", bytes));
  ledger.memory_.Commit(0, bytes);
  return ledger;
}

PushLedger PushLedger::Attach(int fd) {
  return PushLedger(SharedMemory::Attach(fd, "mariana pushes"));
}

PushLedger::Place* PushLedger::At(uint64_t client) const {
  return reinterpret_cast<Place*>(memory_.data()) + PlaceOf(client);
}

uint64_t PushLedger::Last(uint64_t client) const {
  const Place* p = At(client);
  return p->client.load(std::memory_order_relaxed) == client
             ? p->done.load(std::memory_order_relaxed)
             : 0;
}

void PushLedger::Begin(uint64_t client, uint64_t push) {
  Place* p = At(client);
  if (p->client.load(std::memory_order_relaxed) != client) {
    p->begun.store(0, std::memory_order_relaxed);
    p->done.store(0, std::memory_order_relaxed);
    p->client.store(client, std::memory_order_release);
  }
  p->begun.store(push, std::memory_order_release);
}

void PushLedger::End(uint64_t client) {
  Place* p = At(client);
  p->done.store(p->begun.load(std::memory_order_relaxed), std::memory_order_release);
}

int64_t PushLedger::SettleTorn() {
  int64_t torn = 0;
  auto* places = reinterpret_cast<Place*>(memory_.data());
  for (int64_t i = 0; i < kPlaces; ++i) {
    const uint64_t begun = places[i].begun.load(std::memory_order_acquire);
    torn += begun != places[i].done.exchange(begun, std::memory_order_acq_rel);
  }
  return torn;
}

}  // namespace mariana
