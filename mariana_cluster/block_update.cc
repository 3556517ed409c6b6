#include "mariana_cluster/block_update.h"

#include <glog/logging.h>

#include <algorithm>
#include <cstring>

namespace mariana {
namespace {

void Append(const void* data, size_t bytes, std::string* to) {
  to->append(static_cast<const char*>(data), bytes);
}

// Copies the next n values out of a section.
template <class T>
void Take(std::string_view* section, int64_t n, std::vector<T>* to) {
  const size_t bytes = static_cast<size_t>(n) * sizeof(T);
  CHECK_LE(bytes, section->size());
  to->resize(static_cast<size_t>(n));
  if (bytes > 0) std::memcpy(to->data(), section->data(), bytes);
  section->remove_prefix(bytes);
}

template <class T>
T TakeOne(std::string_view* section) {
  T value;
  CHECK_LE(sizeof(T), section->size());
  std::memcpy(&value, section->data(), sizeof(T));
  section->remove_prefix(sizeof(T));
  return value;
}

}  // namespace

void BlockUpdate::Clear() {
  for (std::string& s : sections_) s.clear();
}

void BlockUpdate::Set(const BlockHead& head, const ClickBatch& batch,
                      const std::vector<Table>& tables, const DenseParameters* dense,
                      const float* gradients) {
  Clear();
  for (std::string& s : sections_) Append(&head, sizeof(head), &s);
  for (size_t t = 0; t < tables.size(); ++t) {
    const TableBatch& b = batch.tables[t];
    const auto width = static_cast<size_t>(tables[t].width());
    tables[t].Partition(b.keys.data(), static_cast<int64_t>(b.keys.size()), &begin_, &order_);
    for (size_t s = 0; s < sections_.size(); ++s) {
      const int64_t n = begin_[s + 1] - begin_[s];
      Append(&n, sizeof(n), &sections_[s]);
      for (int64_t i = begin_[s]; i < begin_[s + 1]; ++i) {
        Append(&b.keys[static_cast<size_t>(order_[static_cast<size_t>(i)])], sizeof(uint64_t),
               &sections_[s]);
      }
      for (int64_t i = begin_[s]; i < begin_[s + 1]; ++i) {
        const auto key = static_cast<size_t>(order_[static_cast<size_t>(i)]);
        Append(&b.gradients[key * width], width * sizeof(float), &sections_[s]);
      }
    }
  }
  if (dense == nullptr) return;
  for (int64_t slice = 0; slice < dense->slices(); ++slice) {
    const DenseRange r = dense->SliceRange(slice);
    Append(gradients + r.begin, static_cast<size_t>(r.size()) * sizeof(float),
           &sections_[static_cast<size_t>(slice) % sections_.size()]);
  }
}

std::vector<std::string_view> BlockUpdate::sections() const {
  return {sections_.begin(), sections_.end()};
}

int64_t MostBlockBytes(int64_t rows, const std::vector<ClickTable>& tables,
                       int64_t dense_elements) {
  constexpr int64_t kFeatures = 1 << 10;  // of a row
  int64_t bytes = (int64_t{1} << 20) + dense_elements * int64_t{sizeof(float)};
  for (const ClickTable& t : tables) {
    bytes += rows * kFeatures * (8 + 4 * t.spec.width());
  }
  return std::clamp<int64_t>(bytes, int64_t{64} << 20, int64_t{64} << 30);
}

bool BlockApplier::Apply(std::string_view section, DenseStep::Rate rate, float sparse_rate) {
  if (section.empty()) return false;
  rate.scale = TakeOne<BlockHead>(&section).scale;
  for (const auto& shard : shards_) {
    const auto n = TakeOne<int64_t>(&section);
    Take(&section, n, &keys_);
    Take(&section, n * shard->layout().width, &gradients_);
    rows_.resize(static_cast<size_t>(n));
    shard->Locate(keys_.data(), n, Missing::kInsert, rows_.data());
    shard->Apply(rows_.data(), n, gradients_.data(), sparse_rate);
  }
  if (dense_ == nullptr) return true;
  for (int64_t slice = server_; slice < dense_->slices(); slice += servers_) {
    Take(&section, dense_->SliceRange(slice).size(), &gradients_);
    dense_step_->UpdateSlice(rate, slice, gradients_.data());
  }
  return true;
}

}  // namespace mariana
