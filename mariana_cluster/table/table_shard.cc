#include "mariana_cluster/table/table_shard.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr uint64_t kMagic = 0x31656C626174614D;  // "Matable1"
constexpr int64_t kHeaderBytes = kHugePageBytes;
constexpr int64_t kKeyOffset = 0, kStampOffset = 8;  // in the header of a keyed row
// Shards begin at multiples of 2^54 of the key space, so that no row and no counter of sightings
// belongs to two of them.
constexpr int kGranuleBits = 10;
constexpr int64_t kGranules = int64_t{1} << kGranuleBits;
constexpr uint64_t kFreeBits = 40, kFreeMask = (uint64_t{1} << kFreeBits) - 1;

int64_t RoundUp(int64_t n) { return (n + kHugePageBytes - 1) / kHugePageBytes * kHugePageBytes; }
// The first granule of shard s.
int64_t Begin(int64_t s, int64_t shards) { return (kGranules * s + shards - 1) / shards; }

uint32_t StampIn(const char* row) {
  return __atomic_load_n(reinterpret_cast<const uint32_t*>(row + kStampOffset), __ATOMIC_RELAXED);
}

}  // namespace

int64_t TableSpec::width() const {
  int64_t sum = 0;
  for (const PartSpec& part : parts) sum += part.width;
  return sum;
}

struct TableShard::Header {
  uint64_t magic;
  char name[64];
  TableForm form;
  int32_t bits, shard, shards, admission;
  uint64_t seed;
  int64_t max_rows, rows_offset, sightings_offset, sightings_lines, first_line;
  int32_t line_bits;
  RowLayout layout;
  KeyIndex::Shape shape;
  KeyIndex::Shared index;
  std::atomic<uint32_t> stamp;
  CutCopies::Shared cut;
  int64_t guarded_offset, cut_offset;  // what it guards, up to the rows' end; its own memory
  int64_t cut_rows;                    // keyed: in use at the cut
  uint32_t cut_stamp;
  alignas(64) std::atomic<int64_t> next_row;  // never used from here on
  std::atomic<int64_t> committed_rows;
  std::atomic<uint64_t> free_row;  // head of a list, + 1; the upper bits count its changes
  std::atomic<int64_t> live_rows, refused;
};

int TableShard::ShardOf(uint64_t key, int shards) {
  return static_cast<int>((key >> (64 - kGranuleBits)) * static_cast<uint64_t>(shards) >>
                          kGranuleBits);
}

TableShard TableShard::Create(const TableSpec& spec, int shard, int shards) {
  const bool keyed = spec.form == TableForm::kKeyed;
  if (!keyed && (spec.bits < kGranuleBits || spec.bits > 40)) {
    throw Fail(ExitCode::kUsage, "table ", spec.name, ": bits must be ", kGranuleBits,
               " to 40, not ", spec.bits);
  }
  if (keyed && (spec.max_rows < 1 || spec.max_rows > int64_t{1} << 40)) {
    throw Fail(ExitCode::kUsage, "table ", spec.name, ": max_rows must be 1 to 2^40, not ",
               spec.max_rows);
  }
  if (spec.admission < 1 || spec.admission > 255) {
    throw Fail(ExitCode::kUsage, "table ", spec.name,
               ": admission must be 1 to 255 sightings, not ", spec.admission);
  }
  CHECK(shard >= 0 && shard < shards && shards <= kMaxShards) << shard << " of " << shards;
  const int64_t first = Begin(shard, shards), granules = Begin(shard + 1, shards) - first;
  Header h = {};
  h.magic = kMagic;
  std::snprintf(h.name, sizeof(h.name), "%s", spec.name.c_str());
  h.form = spec.form;
  h.bits = static_cast<int32_t>(spec.bits);
  h.shard = shard;
  h.shards = shards;
  h.seed = spec.seed;
  h.admission = static_cast<int32_t>(spec.admission);
  h.layout = MakeRowLayout(spec.parts, keyed);
  int64_t end = kHeaderBytes;
  if (keyed) {
    h.max_rows = (spec.max_rows + shards - 1) / shards;
    h.max_rows += h.max_rows / 8;  // shards are not quite equal
    h.shape = KeyIndex::ShapeFor(h.max_rows);
    h.shape.offset = end;
    end += h.shape.bytes();
    if (spec.admission > 1) {
      h.line_bits = kGranuleBits;
      while (int64_t{1} << h.line_bits < spec.max_rows / 16) ++h.line_bits;  // four counters a row
      h.first_line = first << (h.line_bits - kGranuleBits);
      h.sightings_lines = granules << (h.line_bits - kGranuleBits);
      h.sightings_offset = end;
      end += RoundUp(h.sightings_lines * Sightings::kLineBytes);
    }
  } else {
    h.max_rows = granules << (spec.bits - kGranuleBits);
  }
  h.rows_offset = end;
  h.guarded_offset = h.sightings_lines > 0 ? h.sightings_offset : end;
  h.cut_offset = RoundUp(end + h.max_rows * h.layout.stride);
  auto memory = std::make_unique<SharedMemory>(
      SharedMemory::Create("mariana table " + spec.name,
                           h.cut_offset + CutCopies::BytesFor(h.cut_offset - h.guarded_offset)));
  memory->Commit(0, kHeaderBytes);
  std::memcpy(memory->data(), static_cast<const void*>(&h), sizeof(h));
  TableShard made(std::move(memory));
  if (spec.keep_changes) made.copies_.KeepChanges();
  if (keyed) {
    made.index_->Create();
    if (h.sightings_lines > 0) {
      made.memory_->Commit(h.sightings_offset, h.sightings_lines * Sightings::kLineBytes);
    }
  } else {
    made.memory_->Commit(h.rows_offset, h.max_rows * h.layout.stride);
  }
  return made;
}

TableShard TableShard::Attach(int fd) {
  auto memory = std::make_unique<SharedMemory>(SharedMemory::Attach(fd, "mariana table"));
  uint64_t magic;
  std::memcpy(&magic, memory->data(), sizeof(magic));
  CHECK_EQ(magic, kMagic) << "descriptor " << fd << " is no table";
  return TableShard(std::move(memory));
}

TableShard::TableShard(std::unique_ptr<SharedMemory> memory)
    : memory_(std::move(memory)), kernels_(&UsableRowKernels().front()) {
  Bind();
}

TableShard::TableShard(TableShard&&) noexcept = default;
TableShard::~TableShard() = default;

void TableShard::Bind() {
  header_ = reinterpret_cast<Header*>(memory_->data());
  Header& h = *header_;
  name_ = h.name;
  stride_ = h.layout.stride;
  rows_ = memory_->data() + h.rows_offset;
  rows_end_ = rows_ + h.max_rows * stride_;
  copies_ = CutCopies(memory_.get(), &h.cut, memory_->data() + h.guarded_offset,
                      h.cut_offset - h.guarded_offset, h.cut_offset);
  const int64_t first = Begin(h.shard, h.shards), granules = Begin(h.shard + 1, h.shards) - first;
  if (h.form == TableForm::kHashed) {
    shift_ = 64 - h.bits;
    canonical_mask_ = ~uint64_t{0} << shift_;
    first_slot_ = first << (h.bits - kGranuleBits);
    return;
  }
  index_ = std::make_unique<KeyIndex>(memory_.get(), &h.index, h.shape, rows_ + kKeyOffset, stride_,
                                      static_cast<uint64_t>(first) << (64 - kGranuleBits),
                                      static_cast<uint64_t>(kGranules / granules));
  if (h.sightings_lines > 0) {
    sightings_ = Sightings(memory_->data() + h.sightings_offset, h.line_bits, h.first_line,
                           h.sightings_lines);
  }
}

TableForm TableShard::form() const { return header_->form; }
const RowLayout& TableShard::layout() const { return header_->layout; }
int64_t TableShard::bits() const { return header_->bits; }
int64_t TableShard::admission() const { return header_->admission; }
int TableShard::shard() const { return header_->shard; }
int TableShard::shards() const { return header_->shards; }
uint32_t TableShard::stamp() const { return header_->stamp.load(std::memory_order_relaxed); }
void TableShard::SetStamp(uint32_t stamp) {
  header_->stamp.store(stamp, std::memory_order_relaxed);
}

// ---- rows of keyed tables
int64_t TableShard::TakeRow() const {
  Header& h = *header_;
  uint64_t head = h.free_row.load(std::memory_order_acquire);
  while ((head & kFreeMask) != 0) {
    const auto row = static_cast<int64_t>(head & kFreeMask) - 1;
    // Another may take this row meanwhile and overwrite the link: then the head has changed.
    const uint64_t next =
        __atomic_load_n(reinterpret_cast<uint64_t*>(RowAt(row)), __ATOMIC_RELAXED);
    const uint64_t changes = (head >> kFreeBits) + 1;
    if (h.free_row.compare_exchange_weak(head, changes << kFreeBits | (next & kFreeMask),
                                         std::memory_order_acq_rel)) {
      return row;
    }
  }
  if (h.next_row.load(std::memory_order_relaxed) >= h.max_rows) return KeyIndex::kNone;
  const int64_t row = h.next_row.fetch_add(1, std::memory_order_relaxed);
  if (row >= h.max_rows) return KeyIndex::kNone;
  int64_t committed = h.committed_rows.load(std::memory_order_acquire);
  while (row >= committed) {
    // An eighth more each time. Several may do so at once: the same rows.
    const int64_t begin = RoundUp(committed * stride_);
    const int64_t end =
        std::min(begin + RoundUp(std::max<int64_t>(begin / 8, 1)), RoundUp(h.max_rows * stride_));
    memory_->Commit(h.rows_offset + begin, end - begin);
    const int64_t now = std::min(end / stride_, h.max_rows);
    h.committed_rows.compare_exchange_strong(committed, now, std::memory_order_acq_rel);
    committed = h.committed_rows.load(std::memory_order_acquire);
  }
  return row;
}

void TableShard::GiveRowBack(int64_t row) const {
  Header& h = *header_;
  uint64_t head = h.free_row.load(std::memory_order_relaxed);
  for (;;) {
    __atomic_store_n(reinterpret_cast<uint64_t*>(RowAt(row)), head & kFreeMask, __ATOMIC_RELAXED);
    const uint64_t changes = (head >> kFreeBits) + 1;
    if (h.free_row.compare_exchange_weak(head,
                                         changes << kFreeBits | static_cast<uint64_t>(row + 1),
                                         std::memory_order_acq_rel)) {
      return;
    }
  }
}

char* TableShard::Insert(uint64_t key) const {
  Header& h = *header_;
  const int64_t mine = TakeRow();
  int64_t row = KeyIndex::kNone;
  if (mine != KeyIndex::kNone) {
    char* fresh = RowAt(mine);
    Keep(&fresh, 1);
    __atomic_store_n(reinterpret_cast<uint64_t*>(fresh + kKeyOffset), key, __ATOMIC_RELAXED);
    const uint32_t now = stamp();
    std::memcpy(fresh + kStampOffset, &now, sizeof(now));
    InitializeRow(h.layout, h.seed, key, fresh);
    row = index_->Insert(key, mine);
    if (row != mine) GiveRowBack(mine);
  }
  if (row == KeyIndex::kNone) {
    h.refused.fetch_add(1, std::memory_order_relaxed);
    return nullptr;
  }
  if (row == mine) h.live_rows.fetch_add(1, std::memory_order_relaxed);
  return RowAt(row);
}

// ---- from keys to rows
char* TableShard::Resolve(uint64_t key, int64_t guess, Missing missing) const {
  if (guess != KeyIndex::kNone) {
    uint64_t found;
    std::memcpy(&found, RowAt(guess) + kKeyOffset, sizeof(found));
    if (found == key) return RowAt(guess);
  }
  const int64_t row = index_->Find(key);
  if (row != KeyIndex::kNone) return RowAt(row);
  if (missing == Missing::kSkip) return nullptr;
  if (header_->admission > 1) {
    if (copies_.watching()) copies_.Keep(sightings_.LineFor(key), Sightings::kLineBytes);
    if (sightings_.Count(key) < header_->admission) return nullptr;
  }
  return Insert(key);
}

// Each key passes three stages, some keys apart, and each stage fetches for the next one.
void TableShard::LocateKeyed(const uint64_t* keys, int64_t n, Missing missing, char** rows) const {
  constexpr int64_t kStep = 16, kRing = 64;
  const std::atomic<uint64_t>* bucket[kRing];
  int64_t guess[kRing];
  for (int64_t i = 0; i < n + 3 * kStep; ++i) {
    if (i < n) index_->FetchDirectory(keys[i]);
    if (const int64_t k = i - kStep; k >= 0 && k < n)
      bucket[k % kRing] = index_->FetchBucket(keys[k]);
    if (const int64_t k = i - 2 * kStep; k >= 0 && k < n) {
      guess[k % kRing] = index_->Guess(keys[k], bucket[k % kRing]);
      if (guess[k % kRing] != KeyIndex::kNone) __builtin_prefetch(RowAt(guess[k % kRing]));
    }
    if (const int64_t k = i - 3 * kStep; k >= 0)
      rows[k] = Resolve(keys[k], guess[k % kRing], missing);
  }
}

void TableShard::Locate(const uint64_t* keys, int64_t n, Missing missing, char** rows) const {
  if (index_ != nullptr) return LocateKeyed(keys, n, missing, rows);
  for (int64_t i = 0; i < n; ++i) rows[i] = RowAt(SlotOf(keys[i]));
}

void TableShard::Admit(const uint64_t* keys, int64_t n) const {
  if (index_ == nullptr) return;
  for (int64_t i = 0; i < n; ++i) Resolve(keys[i], KeyIndex::kNone, Missing::kInsert);
}

// ---- what rows hold
void TableShard::Birth(void* shard, char* row) {
  const auto* self = static_cast<const TableShard*>(shard);
  const int64_t slot = (row - self->rows_) / self->stride_ + self->first_slot_;
  self->Keep(&row, 1);
  InitializeRow(self->header_->layout, self->header_->seed, static_cast<uint64_t>(slot), row);
  // Two may do this at once: they write the same.
  __atomic_store_n(reinterpret_cast<uint32_t*>(row), 1u, __ATOMIC_RELEASE);
}

void TableShard::Gather(char* const* rows, int64_t n, float* values) const {
  kernels_->gather({&header_->layout, rows, n, 0, Birth, const_cast<TableShard*>(this)}, values);
}

void TableShard::Apply(char* const* rows, int64_t n, const float* gradients, float rate) const {
  Keep(rows, n);
  kernels_->apply({&header_->layout, rows, n, stamp(), Birth, const_cast<TableShard*>(this)},
                  gradients, rate);
}

// ---- the owner's work
uint32_t TableShard::StampOf(const char* row) const { return index_ == nullptr ? 0 : StampIn(row); }

int64_t TableShard::Evict(uint32_t oldest) {
  if (index_ == nullptr) return 0;
  int64_t gone = 0;
  index_->Keep([&](int64_t row) { return StampIn(RowAt(row)) >= oldest; },
               [&](int64_t row) {
                 GiveRowBack(row);
                 ++gone;
               });
  header_->live_rows.fetch_sub(gone, std::memory_order_relaxed);
  return gone;
}

void TableShard::BeginCut() {
  Header& h = *header_;
  h.cut_rows = std::min(h.next_row.load(), h.max_rows);
  h.cut_stamp = stamp();
  const int64_t rows = index_ == nullptr ? h.max_rows : h.cut_rows;
  copies_.Begin(h.rows_offset - h.guarded_offset + rows * stride_);
}

uint32_t TableShard::saved_stamp() const { return cut_held() ? header_->cut_stamp : stamp(); }

void TableShard::ForEach(const std::function<void(uint64_t key, const char* row)>& f,
                         Rows rows) const {
  index_ != nullptr ? ForEachKeyed(f, rows) : ForEachHashed(f, rows);
}

void TableShard::ForEachKeyed(const std::function<void(uint64_t key, const char* row)>& f,
                              Rows rows) const {
  const bool held = cut_held();
  std::vector<char> copy(stride_);
  index_->ForEach([&](uint64_t key, int64_t row) {
    const char* at = RowAt(row);
    if (held) {
      if (row >= header_->cut_rows) return;
      if (rows == Rows::kChanged && !copies_.Changed(at, stride_)) return;
      copies_.Read(at, stride_, copy.data());
      at = copy.data();
      if (std::memcmp(at + kKeyOffset, &key, sizeof(key)) != 0) return;  // born since
    }
    f(key, at);
  });
}

void TableShard::ForEachHashed(const std::function<void(uint64_t key, const char* row)>& f,
                               Rows rows) const {
  const bool held = cut_held();
  const std::vector<char> untouched(stride_);
  std::vector<char> copy(stride_);
  for (int64_t i = 0; i < header_->max_rows; ++i) {
    const char* at = RowAt(i);
    if (held) {
      if (rows == Rows::kChanged && !copies_.Changed(at, stride_)) continue;
      copies_.Read(at, stride_, copy.data());
      at = copy.data();
    }
    if (std::memcmp(at, untouched.data(), stride_) == 0) continue;
    f(static_cast<uint64_t>(first_slot_ + i), at);
  }
}

void TableShard::ForEachSeen(const std::function<void(int64_t line, const char* counters)>& f,
                             Rows rows) const {
  const bool held = cut_held();
  const char untouched[Sightings::kLineBytes] = {};
  alignas(8) char copy[Sightings::kLineBytes];
  for (int64_t line = 0; line < header_->sightings_lines; ++line) {
    const char* at = sightings_.data() + line * Sightings::kLineBytes;
    if (held) {
      if (rows == Rows::kChanged && !copies_.Changed(at, Sightings::kLineBytes)) continue;
      copies_.Read(at, Sightings::kLineBytes, copy);
      at = copy;
    }
    if (std::memcmp(at, untouched, sizeof(untouched)) != 0) f(header_->first_line + line, at);
  }
}

int64_t TableShard::seen_lines() const {
  return header_->sightings_lines == 0 ? 0 : int64_t{1} << header_->line_bits;
}
bool TableShard::HoldsSeen(int64_t line) const {
  return line >= header_->first_line && line < header_->first_line + header_->sightings_lines;
}
char* TableShard::SeenLine(int64_t line) const {
  return sightings_.data() + (line - header_->first_line) * Sightings::kLineBytes;
}

void TableShard::Put(uint64_t key, const float* values, const float* state, uint32_t stamp) {
  char* row;
  if (index_ != nullptr) {
    const int64_t found = index_->Find(key);
    row = found != KeyIndex::kNone ? RowAt(found) : Insert(key);
    if (row == nullptr) {
      throw Fail(ExitCode::kBadData, "table ", name_, ": more rows than max_rows has room for");
    }
    std::memcpy(row + kStampOffset, &stamp, sizeof(stamp));
  } else {
    const int64_t slot = static_cast<int64_t>(key) - first_slot_;
    if (slot < 0 || slot >= header_->max_rows) {
      throw Fail(ExitCode::kBadData, "table ", name_, ": has no row ", key);
    }
    row = RowAt(slot);
    if (layout().header_bytes > 0) {
      __atomic_store_n(reinterpret_cast<uint32_t*>(row), 1u, __ATOMIC_RELEASE);
    }
  }
  WriteRow(layout(), values, state, row);
}

TableShard::Stats TableShard::stats() const {
  const Header& h = *header_;
  if (index_ == nullptr) return {h.max_rows, 0, kHeaderBytes + RoundUp(h.max_rows * stride_)};
  return {h.live_rows.load(), h.refused.load(),
          kHeaderBytes + (int64_t{8} << h.shape.directory_bits) + (index_->segments() << 16) +
              h.sightings_lines * Sightings::kLineBytes +
              RoundUp(h.committed_rows.load() * stride_)};
}

}  // namespace mariana
