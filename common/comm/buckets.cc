#include <glog/logging.h>

#include <algorithm>

#include "common/comm/exchange.h"

namespace mariana {
namespace {
constexpr int64_t kAlignment = 16;  // elements; 64 bytes of fp32, a cache line
}  // namespace

const char* Name(Topology t) {
  return t == Topology::kLinear ? "linear" : t == Topology::kRing ? "ring" : "two_level";
}

const char* Name(Wire w) { return w == Wire::kF32 ? "fp32" : w == Wire::kBf16 ? "bf16" : "fp16"; }

Range SliceOf(Range bucket, int worker, int n) {
  CHECK(0 <= worker && worker < n) << worker << " of " << n;
  CHECK_LE(bucket.begin, bucket.end);
  // Whole blocks are dealt out; the last worker has the most of them and so also the short one.
  const int64_t blocks = (bucket.size() + kAlignment - 1) / kAlignment;
  const auto cut = [&](int64_t w) {
    return std::min(bucket.begin + blocks * w / n * kAlignment, bucket.end);
  };
  return {cut(worker), cut(worker + 1)};
}

std::vector<Range> MakeBuckets(const std::vector<int64_t>& boundaries, int64_t min_elements) {
  CHECK(!boundaries.empty() && boundaries.front() == 0);
  std::vector<Range> buckets;
  int64_t end = boundaries.back();
  for (auto b = boundaries.rbegin(); b != boundaries.rend(); ++b) {
    CHECK(b == boundaries.rbegin() || *b <= b[-1]) << "boundaries must ascend";
    if (end > *b && (end - *b >= min_elements || *b == 0)) {
      buckets.push_back({*b, end});
      end = *b;
    }
  }
  std::reverse(buckets.begin(), buckets.end());
  return buckets;
}

}  // namespace mariana
