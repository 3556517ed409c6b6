#include <algorithm>
#include <cctype>

#include "common/config/config.h"

namespace mariana {
namespace {

std::string Folded(const std::string& word) {
  std::string folded;
  for (const char c : word) {
    folded += c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return folded;
}

// Insertions, deletions, substitutions and swaps of neighbours (optimal string alignment).
size_t EditDistance(const std::string& a, const std::string& b) {
  std::vector<size_t> before, previous, current(b.size() + 1);
  for (size_t j = 0; j <= b.size(); ++j) current[j] = j;
  for (size_t i = 1; i <= a.size(); ++i) {
    before = std::move(previous);
    previous = std::move(current);
    current.assign(b.size() + 1, i);
    for (size_t j = 1; j <= b.size(); ++j) {
      current[j] = std::min(
          {previous[j] + 1, current[j - 1] + 1, previous[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1)});
      if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) {
        current[j] = std::min(current[j], before[j - 2] + 1);
      }
    }
  }
  return current[b.size()];
}

}  // namespace

std::string DidYouMean(const std::string& word, const std::vector<std::string>& candidates) {
  constexpr size_t kLongest = 200;  // longer words are nobody's typing mistake
  const std::string folded = Folded(word);
  if (folded.empty() || folded.size() > kLongest) return "";
  size_t best = std::max<size_t>(1, (folded.size() + 1) / 3) + 1;
  std::string nearest;
  for (const std::string& candidate : candidates) {
    const std::string other = Folded(candidate);
    if (other.size() >= folded.size() + best || folded.size() >= other.size() + best) continue;
    const size_t distance = EditDistance(folded, other);
    if (distance < best && distance < other.size()) {
      best = distance;
      nearest = candidate;
    }
  }
  if (!nearest.empty() || folded.size() < 3) return nearest;
  for (const std::string& candidate : candidates) {  // "batch" for "batch_size"
    if (Folded(candidate).compare(0, folded.size(), folded) == 0) return candidate;
  }
  return "";
}

}  // namespace mariana
