// Open MPI's own all-reduce, in place, for comparison: `mpirun -np 2 mpi_allreduce_bench FLOATS
// STEPS`. Rank 0 prints the milliseconds of each step after a first that counts for nothing.
#include <mpi.h>

#include <cstdio>
#include <cstdlib>
#include <vector>

int main(int argc, char** argv) {
  MPI_Init(&argc, &argv);
  const int floats = argc > 1 ? std::atoi(argv[1]) : 50000000;
  const int steps = argc > 2 ? std::atoi(argv[2]) : 5;
  int rank = 0;
  MPI_Comm_rank(MPI_COMM_WORLD, &rank);
  std::vector<float> x(static_cast<size_t>(floats), 1.0f);
  for (int step = -1; step < steps; ++step) {
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    MPI_Allreduce(MPI_IN_PLACE, x.data(), floats, MPI_FLOAT, MPI_SUM, MPI_COMM_WORLD);
    if (rank == 0 && step >= 0) std::printf("%.3f\n", (MPI_Wtime() - start) * 1e3);
    x.assign(x.size(), 1.0f);
  }
  MPI_Finalize();
  return 0;
}
