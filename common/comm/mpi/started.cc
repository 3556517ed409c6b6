#include <cstdlib>

#include "common/comm/mpi/mpi_world.h"

namespace mariana {

bool StartedByMpi() {
  return std::getenv("OMPI_COMM_WORLD_SIZE") != nullptr || std::getenv("PMIX_RANK") != nullptr;
}

std::unique_ptr<World> MakeWorld() { return StartedByMpi() ? MakeMpiWorld() : MakeLocalWorld(); }

}  // namespace mariana
