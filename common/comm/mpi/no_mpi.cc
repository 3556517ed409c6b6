// In place of mpi_world.cc on a machine without Open MPI.
#include "common/base/error.h"
#include "common/comm/mpi/mpi_world.h"

namespace mariana {

std::unique_ptr<World> MakeMpiWorld() {
  throw Error(ExitCode::kUsage,
              "started by mpirun or srun, but built without MPI: install libopenmpi-dev and "
              "openmpi-bin (scripts/setup does), and build again");
}

}  // namespace mariana
