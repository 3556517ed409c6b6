// JoinedFeatures: dense features from a file of their own, joined to rows by id: image vectors that
// `mariana_cnn features` writes, say. A matrix [ids, columns...] of float32 and a name for each of
// its rows:
//   .safetensors  one tensor; the ids are a JSON list in the metadata "ids" (or "images")
//   .npy          the ids stand line by line in the .txt file of the same name
// A row's id is the text of the column that `data.id` names; rows are matched by HashText of it.
//
// The matrix stays in the file, mapped into memory and shared by the machine's processes; in memory
// are 16 bytes or so for each id. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "common/data/rows/row_batch.h"
#include "mariana_cluster/feed/mapped_file.h"

namespace mariana {

class JoinedFeatures {
 public:
  // Error(kBadData) naming the file: not a matrix of float32, ids missing, too few or twice.
  explicit JoinedFeatures(const std::string& path);

  int64_t rows() const { return rows_; }
  int64_t columns() const { return columns_; }

  // Adds columns() to the dense columns of each row; zeros where its id is not in the file.
  // Error(kBadData) for a value that is not finite. CHECKs that the batch has ids.
  void AppendTo(RowBatch* batch) const;
  // Rows so far, of all batches, and those whose id is not in the file.
  int64_t joined() const { return joined_; }
  int64_t missing() const { return missing_; }

 private:
  void ReadSafetensors();
  void ReadNpy();
  void SetShape(const std::vector<int64_t>& dims, std::string_view bytes);
  void Index(const std::vector<std::string>& ids);
  // The matrix's row of an id; -1: none.
  int64_t Find(uint64_t id) const;

  const std::string path_;
  const MappedFile file_;
  const char* matrix_ = nullptr;  // [rows_, columns_] floats, at any address
  int64_t rows_ = 0, columns_ = 0;
  struct Slot {
    uint64_t id;
    int64_t row;  // -1: free
  };
  std::vector<Slot> slots_;
  int shift_ = 0;  // of an id's bits to where its slots begin
  mutable std::atomic<int64_t> joined_{0}, missing_{0};
};

}  // namespace mariana
