#include "common/data/rows/sample_cache.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>
#include <numeric>

#include "common/base/random.h"
#include "common/data/rows/key_hash.h"

namespace mariana {
namespace {

// Rows that stay together until they are mixed with those of other pieces, and how many are mixed:
// a quarter of a megabyte of Criteo's, as two such lots and what is made of them share a
// second-level cache. They are fetched, piece by piece, while those before are given out.
constexpr size_t kPiece = 32, kMixed = 1024;
// Rows to the one that is fetched from the second-level cache.
constexpr size_t kAhead = 4;

// A uniform permutation under a seed (Fisher-Yates; wyrand's steps). The bias of the multiply-shift
// is below 2^-32.
void Permute(uint64_t seed, uint32_t* items, size_t n) {
  for (size_t i = n; i > 1; --i) {
    seed += kHashSecret[0];
    const uint64_t bits = Mix(seed, seed ^ kHashSecret[1]);
    const auto j = static_cast<size_t>(static_cast<unsigned __int128>(bits) * i >> 64);
    std::swap(items[i - 1], items[j]);
  }
}

uint64_t PassSeed(uint64_t seed, int64_t epoch) {
  const Philox4 p = Philox(seed, kShuffleStream, static_cast<uint64_t>(epoch));
  return uint64_t{p.v[0]} << 32 | p.v[1];
}

}  // namespace

SampleCache::SampleCache(Options options) : options_(std::move(options)) {
  CHECK(options_.key_bytes >= 1 && options_.key_bytes <= 8);
  CHECK(options_.block_bits >= 0 && options_.window_blocks << options_.block_bits < INT64_C(1)
                                                                                        << 32);
}

void SampleCache::Add(const RowBatch& batch) {
  CHECK(!sealed_);
  rows_ += batch.rows;
  for (int64_t begin = 0; begin < batch.rows;) {
    const int64_t end = std::min(batch.rows, begin + block_rows() - pending_.rows);
    if (end - begin == block_rows()) {
      Keep(batch, begin, end);
    } else {
      AppendRows(batch, begin, end, &pending_);
    }
    if (pending_.rows == block_rows()) {
      Keep(pending_, 0, pending_.rows);
      pending_.Clear();
    }
    begin = end;
  }
}

void SampleCache::Seal() {
  if (pending_.rows > 0) {
    Keep(pending_, 0, pending_.rows);
  }
  pending_ = RowBatch();
  packed_ = std::vector<char>();
  sealed_ = true;
}

void SampleCache::Keep(const RowBatch& batch, int64_t begin, int64_t end) {
  Block block;
  const size_t n = PackRows(batch, begin, end, options_.fields, options_.key_bytes, &packed_);
  const auto bytes = static_cast<int64_t>(n);
  if (memory_bytes_ + bytes <= options_.memory_bytes) {
    memory_bytes_ += bytes;
    char* kept = memory_.Allocate(n);
    std::memcpy(kept, packed_.data(), n);
    block.rows = PackedRows(kept);
  } else {
    if (file_ == nullptr) file_ = std::make_unique<SpillFile>(options_.folder);
    block.on_disk = true;
    block.place = file_->Append(packed_.data(), n);
  }
  blocks_.push_back(std::move(block));
}

std::unique_ptr<SampleCache::Reader> SampleCache::Read(int64_t epoch, bool shuffle, int reader,
                                                       int readers) const {
  CHECK(sealed_);
  return std::unique_ptr<Reader>(new Reader(this, epoch, shuffle, reader, readers));
}

SampleCache::Reader::Reader(const SampleCache* cache, int64_t epoch, bool shuffle, int reader,
                            int readers)
    : cache_(cache),
      seed_(PassSeed(cache->options_.seed, epoch)),
      shuffle_(shuffle),
      reader_(reader),
      readers_(readers),
      order_(cache->blocks_.size()) {
  std::iota(order_.begin(), order_.end(), 0);
  if (shuffle_) Permute(seed_, order_.data(), order_.size());
}

bool SampleCache::Reader::NextWindow() {
  if (next_block_ == order_.size()) return false;
  const auto blocks = static_cast<size_t>(cache_->options_.window_blocks);
  const size_t begin = next_block_, end = std::min(order_.size(), begin + blocks);
  next_block_ = end;
  // The short block comes last, so that a row's block is a shift away.
  std::sort(order_.begin() + static_cast<std::ptrdiff_t>(begin),
            order_.begin() + static_cast<std::ptrdiff_t>(end));
  window_.clear();
  loaded_.resize(blocks);
  int64_t rows = 0;
  for (size_t i = begin; i < end; ++i) {
    const Block& block = cache_->blocks_[order_[i]];
    if (block.on_disk) {
      std::vector<char>& bytes = loaded_[i - begin];
      bytes.resize(block.place.bytes);
      cache_->file_->Read(block.place, bytes.data());
      window_.emplace_back(bytes.data());
    } else {
      window_.push_back(block.rows);
    }
    rows += window_.back().rows();
  }
  for (size_t i = end; i < std::min(order_.size(), end + blocks); ++i) {
    const Block& block = cache_->blocks_[order_[i]];
    if (block.on_disk) cache_->file_->WillRead(block.place);
  }
  rows_.resize(static_cast<size_t>(rows));
  std::iota(rows_.begin(), rows_.end(), 0);
  plain_ = rows_;
  if (shuffle_) Shuffle(Mix(seed_ ^ kHashSecret[0], begin ^ kHashSecret[3]));
  const auto share = [&](int i) {
    return static_cast<size_t>(rows) * static_cast<size_t>(i) / static_cast<size_t>(readers_);
  };
  next_ = share(reader_);
  end_ = share(reader_ + 1);
  return true;
}

void SampleCache::Reader::Shuffle(uint64_t seed) {
  const size_t n = rows_.size();
  std::vector<uint32_t> pieces((n + kPiece - 1) / kPiece);
  std::iota(pieces.begin(), pieces.end(), 0);
  Permute(seed, pieces.data(), pieces.size());
  auto to = plain_.begin();
  for (const uint32_t piece : pieces) {
    const size_t first = piece * kPiece, last = std::min(n, first + kPiece);
    std::iota(to, to + static_cast<std::ptrdiff_t>(last - first), static_cast<uint32_t>(first));
    to += static_cast<std::ptrdiff_t>(last - first);
  }
  rows_ = plain_;
  for (size_t begin = 0; begin < n; begin += kMixed) {
    Permute(Mix(seed, begin ^ kHashSecret[2]), rows_.data() + begin, std::min(kMixed, n - begin));
  }
}

void SampleCache::Reader::ReadRows(size_t rows, RowBatch* batch) {
  size_t most = 0;
  size_t used = batch->rows == 0 ? 0 : batch->begin[static_cast<size_t>(batch->rows)];
  for (const PackedRows& block : window_) most = std::max(most, block.most_features());
  const size_t room = std::max(used + rows * most + PackedRows::kSlack, batch->key.size());
  batch->key.resize(room);
  batch->field.resize(room);
  batch->value.resize(room);
  auto to = static_cast<size_t>(batch->rows);
  window_.front().MakeRoom(to + rows, batch);
  batch->begin[to] = static_cast<uint32_t>(used);
  for (const size_t stop = next_ + rows; next_ < stop; ++next_, ++to) {
    if (next_ + kMixed < end_) {
      At(plain_[next_ + kMixed], [](const PackedRows& b, int64_t r) { b.PrefetchRow<2>(r); });
    }
    if (next_ + kAhead < end_) {
      At(rows_[next_ + kAhead], [](const PackedRows& b, int64_t r) { b.PrefetchRow<3>(r); });
    }
    At(rows_[next_], [&](const PackedRows& b, int64_t r) {
      used += b.ReadFeatures(r, batch->key.data() + used, batch->field.data() + used,
                             batch->value.data() + used);
      b.ReadMarks(r, to, batch);
    });
    batch->begin[to + 1] = static_cast<uint32_t>(used);
  }
  batch->rows = static_cast<int64_t>(to);
  batch->key.resize(used);
  batch->field.resize(used);
  batch->value.resize(used);
}

bool SampleCache::Reader::Next(int64_t rows, RowBatch* batch) {
  batch->Reuse();
  while (batch->rows < rows) {
    if (next_ == end_) {
      if (NextWindow()) continue;
      break;
    }
    ReadRows(std::min(static_cast<size_t>(rows - batch->rows), end_ - next_), batch);
  }
  if (batch->rows == 0) batch->Clear();
  return batch->rows > 0;
}

void SampleCache::Reader::Skip(int64_t rows) {
  while (rows > 0 && (next_ < end_ || NextWindow())) {
    const size_t passed = std::min(static_cast<size_t>(rows), end_ - next_);
    next_ += passed;
    rows -= static_cast<int64_t>(passed);
  }
}

}  // namespace mariana
