// WorldParts: one world shared by several users that know nothing of each other. Each part is a
// world of its own over some of the ranks, with tags, channels and a listener of its own; a failure
// of the whole is each part's, and what a part aborts is the whole.
//
// Threading: constructed and destroyed on all ranks in the same order; the whole has no other
// listener meanwhile. Parts are worlds like others (world.h), but a Barrier or sum of one part does
// not wait for the others'.
#pragma once

#include <memory>
#include <vector>

#include "common/comm/world.h"

namespace mariana {

class WorldParts : private WorldListener {
 public:
  // By part: its ranks, ascending; the same on all ranks. Waits for all of them. Throws
  // Error(kUsage) for more parts than the world has tags for.
  WorldParts(World* whole, const std::vector<std::vector<int>>& ranks);
  ~WorldParts() override;

  // Null: this rank has no part in it, or nobody else has.
  World* part(int i) const;

 private:
  class Part;
  void Arrived(std::shared_ptr<BulkMessage> message) override;
  void Failed(const Error& error) override;

  World* const whole_;
  std::vector<std::unique_ptr<Part>> parts_;
};

}  // namespace mariana
