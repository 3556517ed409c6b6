// Sparse access sample by sample, as trainers without batches do it: each sample fetches the rows
// of its own features and updates them with its own gradients, whatever other samples of the batch
// need the same rows. It is there to be measured against access by batch (parallel.sparse_access).
// Free functions; a table is one thread's.
#pragma once

#include <vector>

#include "mariana_cluster/model/click_model.h"
#include "mariana_cluster/table/table.h"

namespace mariana {

// Makes a key of its own of every feature of a prepared batch. keys[0] stays the bias's (or is one
// more that nobody uses), feature i has key 1 + i.
void SplitIntoSamples(ClickBatch* batch);

void GatherBySample(Missing missing, std::vector<Table>* tables, ClickBatch* batch);
void ApplyBySample(float rate, std::vector<Table>* tables, ClickBatch* batch);

}  // namespace mariana
