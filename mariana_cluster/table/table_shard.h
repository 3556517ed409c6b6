// TableShard: one server's part of a sparse parameter table, in memory that all processes of the
// node map and use directly. The process that creates it owns it: it alone grows old rows out,
// saves and loads; when it dies the memory lives on in the others.
//
// Two forms. Hashed: 2^bits rows; a key's first bits choose its row, keys that agree in them share
// it. Keyed: a row for each key, found through a KeyIndex, in address space for max_rows of which
// only what is used takes memory; a key gets its row when it has been seen `admission` times
// (Sightings), and loses it when Evict finds that no gradient came for long.
//
// Keys are well mixed 64-bit hashes, never 0 (RowBatch's). Shard s of S holds the keys from
// about s/S to (s + 1)/S of the key space, so shards in order are one sorted stream, whatever S is.
//
// A row is used through its address in the process, which stays good until the row is evicted.
// Null stands for "no row": it reads as zeros and drops gradients.
//
// Snapshots: between BeginCut and EndCut, ForEach and ForEachSeen give the rows and sightings as
// they were at BeginCut, while others go on inserting and updating: these copy what they are about
// to write (cut_copies.h). A row born since has another key in its copy than in the index, or lies
// beyond the rows that were in use. A process that is killed in the midst of an update leaves a row
// whose floats are, each, those before the update or those after it, and so it is saved.
//
// Threading: Locate, Gather, Apply, Admit may run in any number of threads and processes at once,
// without locks (row_kernels.h and key_index.h state the memory order). Evict, DecaySightings, Put
// and BeginCut need that nobody else uses the shard meanwhile, and so does ForEach where no cut is
// held.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mariana_cluster/table/cut_copies.h"
#include "mariana_cluster/table/key_index.h"
#include "mariana_cluster/table/row_kernels.h"
#include "mariana_cluster/table/row_layout.h"
#include "mariana_cluster/table/shared_memory.h"
#include "mariana_cluster/table/sightings.h"

namespace mariana {

enum class TableForm : int32_t { kHashed, kKeyed };

struct TableSpec {
  std::string name;
  TableForm form = TableForm::kHashed;
  int64_t bits = 22;                    // hashed: 2^bits rows over all shards
  int64_t max_rows = int64_t{1} << 28;  // keyed: over all shards; costs address space only
  int64_t admission = 1;                // keyed: sightings before a key gets a row, to 255
  std::vector<PartSpec> parts;
  uint64_t seed = 1;
  bool keep_changes = false;  // so that a snapshot can be of the rows that changed since the last
  int64_t width() const;      // weights of a row
};

constexpr int kMaxServers = 64;      // of a node
constexpr int kMaxShards = 1 << 10;  // of all nodes

enum class Missing { kSkip, kInsert };  // what Locate does about keys that have no row

class TableShard {
 public:
  // Error(kUsage) for a spec out of range, Error(kIo) when memory ends (hashed rows are all
  // committed at once).
  static TableShard Create(const TableSpec& spec, int shard, int shards);
  static TableShard Attach(int fd);  // takes the descriptor over
  // The shard, of so many, that a key belongs to.
  static int ShardOf(uint64_t key, int shards);
  TableShard(TableShard&&) noexcept;
  ~TableShard();

  const std::string& name() const { return name_; }
  TableForm form() const;
  const RowLayout& layout() const;
  int64_t bits() const;
  int64_t admission() const;
  int shard() const;
  int shards() const;
  int fd() const { return memory_->fd(); }

  // The key that stands for all keys of this key's row: hashed, the key without its last bits.
  // A batch that holds each canonical key once updates each row once.
  uint64_t Canonical(uint64_t key) const { return key & canonical_mask_; }

  // rows[i] = the address of keys[i]'s row. The keys must be this shard's.
  void Locate(const uint64_t* keys, int64_t n, Missing missing, char** rows) const;
  // The same for one key of a hashed table.
  char* HashedRow(uint64_t key) const { return RowAt(SlotOf(key)); }
  // Counts a sighting of each key without a row and gives rows to those admitted: what
  // Locate(kInsert) does, apart from looking, for those who fix the order in which it happens.
  void Admit(const uint64_t* keys, int64_t n) const;

  // Weights of rows, [n, layout().width].
  void Gather(char* const* rows, int64_t n, float* values) const;
  // One optimizer step of each row with gradients [n, layout().width]; no row may come twice.
  // `rate` multiplies the learning rate of all optimizers but FTRL.
  void Apply(char* const* rows, int64_t n, const float* gradients, float rate = 1) const;

  // The age of rows: those that Apply updates carry the stamp that holds at the time.
  void SetStamp(uint32_t stamp);
  uint32_t stamp() const;
  // Forgets rows whose stamp is below `oldest`; their memory serves new keys. How many.
  int64_t Evict(uint32_t oldest);
  void DecaySightings() { sightings_.Decay(); }

  // ---- snapshots. Error(kIo) when there is no memory for it.
  void BeginCut();
  void EndCut(bool saved) { copies_.End(saved); }  // `saved`: see CutCopies
  bool cut_held() const { return copies_.held(); }
  const CutCopies& copies() const { return copies_; }
  // Before rows are written other than through this class.
  void Keep(char* const* rows, int64_t n) const {
    if (copies_.watching()) copies_.Keep(rows, n, stride_);
  }

  enum class Rows { kAll, kChanged };  // kChanged: since the cut before the one that is held
  // Rows in ascending order: f(key, row), the key of a hashed row being its number among all
  // shards; hashed rows that were never updated are left out. `row` is good during the call.
  void ForEach(const std::function<void(uint64_t key, const char* row)>& f,
               Rows rows = Rows::kAll) const;
  // The same for lines of sightings in which something was counted: f(line among all shards',
  // its counters).
  void ForEachSeen(const std::function<void(int64_t line, const char* counters)>& f,
                   Rows rows = Rows::kAll) const;
  // Sets a row as ForEach names it, admitted or not. `state` may be null: the optimizer starts
  // afresh. Error(kBadData) for a hashed row that is not there.
  void Put(uint64_t key, const float* values, const float* state, uint32_t stamp);
  uint32_t StampOf(const char* row) const;  // 0 for hashed rows
  // Lines of sightings, of all shards; whether this one has it; its counters.
  int64_t seen_lines() const;
  bool HoldsSeen(int64_t line) const;
  char* SeenLine(int64_t line) const;
  // As at the cut, while one is held.
  uint32_t saved_stamp() const;

  struct Stats {
    int64_t rows;             // keyed: with a key now; hashed: all
    int64_t refused;          // inserts that found the table full
    int64_t committed_bytes;  // of memory
  };
  Stats stats() const;
  // Huge pages behind it, as this process sees them.
  int64_t huge_bytes() const { return memory_->huge_bytes(); }
  // Finds an address of this shard's rows.
  bool Holds(const char* row) const { return row >= rows_ && row < rows_end_; }
  static void Birth(void* shard, char* row);  // as RowBatchArgs wants it

 private:
  struct Header;
  TableShard(std::unique_ptr<SharedMemory> memory);
  void Bind();
  char* RowAt(int64_t number) const { return rows_ + number * stride_; }
  int64_t SlotOf(uint64_t key) const { return static_cast<int64_t>(key >> shift_) - first_slot_; }
  char* Insert(uint64_t key) const;
  int64_t TakeRow() const;
  void GiveRowBack(int64_t row) const;
  void LocateKeyed(const uint64_t* keys, int64_t n, Missing missing, char** rows) const;
  char* Resolve(uint64_t key, int64_t guess, Missing missing) const;
  void ForEachKeyed(const std::function<void(uint64_t key, const char* row)>& f, Rows rows) const;
  void ForEachHashed(const std::function<void(uint64_t key, const char* row)>& f, Rows rows) const;

  std::unique_ptr<SharedMemory> memory_;
  Header* header_ = nullptr;
  std::string name_;
  uint64_t canonical_mask_ = ~uint64_t{0};
  int shift_ = 0;           // hashed: of the key's bits to a slot
  int64_t first_slot_ = 0;  // hashed: this shard's
  int64_t stride_ = 0;
  char* rows_ = nullptr;
  char* rows_end_ = nullptr;  // of the address space
  std::unique_ptr<KeyIndex> index_;
  mutable Sightings sightings_;
  CutCopies copies_;
  const RowKernels* kernels_;
};

}  // namespace mariana
