// Ranks that are threads of a test.
#pragma once

#include <string>
#include <thread>
#include <vector>

#include "common/train/ranks.h"

namespace mariana {

// Runs body(ranks) on each of n ranks, and waits for all. What they find is checked afterwards:
// Catch's macros are for one thread. `leave_together`: not where ranks have failed.
template <class Body>
void OnRanks(int n, Body body, bool leave_together = true) {
  auto worlds = MakeThreadWorlds(std::vector<std::string>(static_cast<size_t>(n), "node"));
  std::vector<std::thread> threads;
  for (auto& world : worlds) {
    threads.emplace_back([&body, &world, leave_together] {
      Ranks ranks(std::move(world));
      body(&ranks);
      if (leave_together) ranks.Barrier();
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace mariana
