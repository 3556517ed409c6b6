// oneDNN's own threads (OpenMP) never run, whatever OMP_NUM_THREADS says: they spin, which
// collapses beside any other busy process. Every call into oneDNN, to make a primitive or to run
// one, first sets its thread's OpenMP team size to one; we split the work.
//
// Thread-safe.
#pragma once

namespace mariana {

// Found by dlsym, so that nothing of ours is linked against OpenMP. Some nanoseconds.
void LimitOneDnnToOneThread();

}  // namespace mariana
