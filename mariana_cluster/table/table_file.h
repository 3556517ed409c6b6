// Sparse tables in the two safetensors files of a checkpoint. A table T is stored as its rows in
// ascending order of their keys, whatever the number of shards and the order in which rows were
// made. The model:
//   T.key    i64 [rows]         the key (keyed) or the row's number (hashed); untouched hashed
//                               rows are left out
//   T.value  f32 [rows, width]  weights
// and what training needs besides, of the same rows:
//   T.state  f32 [rows, state]  the optimizer's, when it has any
//   T.stamp  i32 [rows]         keyed: when a gradient came last
//   T.seen   u8  [lines, 64]    keyed with admission: the sightings, where there are any, ...
//   T.seen_line i64 [lines]     ... by the number of the line
// and, in both, metadata "T": {"form", "bits", "parts", "stamp"}, so that a run goes on exactly,
// with any number of servers, and other tools can read the weights.
//
// Rows are streamed: neither side holds a table twice. Nobody may change the tables while they are
// written or read. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/train/safetensors.h"
#include "mariana_cluster/table/table.h"

namespace mariana {

enum class TablePart { kModel, kOptimizer };

// Appends one file that holds that part of all the tables, and `others`; the caller calls
// out->Finish().
void WriteTables(FileWriter* out, const std::vector<const Table*>& tables, TablePart part,
                 const std::vector<HostTensor>& others, const Metadata& metadata);
// About how many bytes that takes.
int64_t TableFileBytes(const std::vector<const Table*>& tables, TablePart part,
                       const std::vector<HostTensor>& others);

// Puts the rows that a model has for a table of this name into it. With `optimizer`, weights and
// state as they were: the table must have the same form and parts, and be empty. Without, a warm
// start from the weights alone: the widths must agree, and a hashed table's bits. Error(kBadData)
// otherwise. How many rows.
int64_t ReadTable(const SafetensorsFile& model, const SafetensorsFile* optimizer, Table* table);

}  // namespace mariana
