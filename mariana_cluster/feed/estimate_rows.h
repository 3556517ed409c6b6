// EstimateRows: about how many rows shards have, without reading them: for progress, and for
// schedules that are given in epochs. Thread-safe.
#pragma once

#include <cstdint>
#include <vector>

#include "common/data/rows/row_files.h"
#include "common/data/rows/row_plan.h"

namespace mariana {

// Rows that a pass over `part` takes, from 1 MB of text in 256 places evenly spread over plain
// files, and the first MB of up to 8 compressed ones. A pure function of the files, the shards and
// the plan; exact where it reads everything. -1 where a stream is among the files. Throws as
// opening the files does.
int64_t EstimateRows(const RowPlan& plan, const RowFiles& files,
                     const std::vector<RowShard>& shards, RowPart part);

}  // namespace mariana
