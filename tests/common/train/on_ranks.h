// Ranks that are threads of a test.
#pragma once

#include <memory>
#include <string>
#include <thread>
#include <vector>

#include "common/train/ranks.h"

namespace mariana {

// Runs body(ranks) on each of n ranks, and waits for all. What they find is checked afterwards:
// Catch's macros are for one thread.
template <class Body>
void OnRanks(int n, Body body) {
  auto worlds = MakeThreadWorlds(std::vector<std::string>(static_cast<size_t>(n), "node"));
  std::vector<std::unique_ptr<Ranks>> all(worlds.size());  // none goes while another speaks to it
  std::vector<std::thread> threads;
  for (size_t r = 0; r < worlds.size(); ++r) {
    threads.emplace_back([&, r] {
      all[r] = std::make_unique<Ranks>(std::move(worlds[r]));
      body(all[r].get());
    });
  }
  for (std::thread& t : threads) t.join();
}

}  // namespace mariana
