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
// Where a model is written in parts (one by each server), part p's tensors of a table are T.key.p
// and so on, p from 1; the parts in order are one ascending list. A file of changes alone has the
// rows and lines of sightings that were written since the snapshot before it.
//
// Rows are streamed, each read once: neither side holds a table twice. While a cut is held
// (table_shard.h) the rows are written as they were then; otherwise nobody may change the tables.
// Nobody may while they are read. Thread-compatible.
#pragma once

#include <string>
#include <vector>

#include "common/train/safetensors.h"
#include "mariana_cluster/table/table_shard.h"
#include "mariana_cluster/table/tensor_file.h"

namespace mariana {

struct TablesToWrite {
  std::vector<std::vector<const TableShard*>> tables;  // [table][of its shards, ascending]
  TableShard::Rows rows = TableShard::Rows::kAll;
  int part = 1, parts = 1;
  // Beside the tables.
  std::vector<HostTensor> model, optimizer;
  Metadata model_metadata;
};

// The two files of them; Error(kIo) where the disk has no room.
std::vector<WrittenFile> WriteTables(const TablesToWrite& what, const std::string& model_path,
                                     const std::string& optimizer_path);

// Puts the rows that a model (or a part of one) has for these shards of a table into them; rows of
// others are left. With `optimizer`, weights and state as they were: the table must have the same
// form and parts. Without, a warm start from the weights alone: the widths must agree, and a hashed
// table's bits. Error(kBadData) otherwise. How many rows.
int64_t ReadTable(const SafetensorsFile& model, const SafetensorsFile* optimizer,
                  const std::vector<TableShard*>& shards);

// The name of a tensor of a table in this file, which may be a part of a model: "T.key", "T.key.2".
std::string TensorOfTable(const SafetensorsFile& file, const std::string& table, const char* what);

}  // namespace mariana
