// The world of a job that Open MPI started: mpirun, or srun --mpi=pmix.
//
// One thread makes all MPI calls, from MPI_Init to MPI_Finalize: others leave it requests, and it
// sleeps between looks when nothing moves, so an idle rank costs next to nothing. MPI is touched
// only by MakeMpiWorld: a program started plainly pays nothing.
//
// Ends: the destructor waits for all ranks (a barrier) and finalizes. Once the world has failed it
// makes no such wait: failures it was told to spread get a fifth of a second, then the thread ends
// without MPI_Finalize, and mpirun sees to the rest.
#pragma once

#include <memory>

#include "common/comm/world.h"

namespace mariana {

// From the environment alone.
bool StartedByMpi();

// Once in a process. Throws Error(kUsage) where this build has no MPI.
std::unique_ptr<World> MakeMpiWorld();

// The world this process was started in: MPI's, or of one rank.
std::unique_ptr<World> MakeWorld();

}  // namespace mariana
