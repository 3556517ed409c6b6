// Sparse tables in safetensors files. A table T is stored as its rows in ascending order of their
// keys, whatever the number of shards and the order in which rows were made:
//   T.key    i64 [rows]         the key (keyed) or the row's number (hashed); untouched hashed
//                               rows are left out
//   T.value  f32 [rows, width]  weights
//   T.state  f32 [rows, state]  the optimizer's, when it has any
//   T.stamp  i32 [rows]         keyed: when a gradient came last
//   T.seen   u8  [counters]     keyed with admission: the sightings
// and metadata "T": {"form", "bits", "parts", "stamp"}, so that a run goes on exactly, with any
// number of servers, and other tools can read the weights.
//
// Rows are streamed: neither side holds a table twice. Nobody may change the tables while they are
// written or read. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/train/safetensors.h"
#include "mariana_cluster/table/table.h"

namespace mariana {

// Appends one file that holds all the tables; the caller calls out->Finish().
void WriteTables(FileWriter* out, const std::vector<const Table*>& tables,
                 const Metadata& metadata);

enum class TableState { kExact, kFresh };

// Puts the rows that the file has for a table of this name into it. kExact: weights and state as
// they were; the table must have the same form and parts, and be empty. kFresh: a warm start from
// the weights alone; the widths must agree, and a hashed table's bits. Error(kBadData) otherwise.
// How many rows.
int64_t ReadTable(const SafetensorsFile& file, TableState state, Table* table);

}  // namespace mariana
