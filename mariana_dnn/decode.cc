#include "mariana_dnn/decode.h"

#include <glog/logging.h>

#include <algorithm>
#include <utility>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();

// All words of all texts that have no pronunciation, first come first.
void CheckWords(const Lexicon& lexicon, const std::vector<std::string>& texts) {
  std::vector<std::string> missing;
  for (const std::string& text : texts) {
    const std::vector<std::string> words = SplitWords(text);
    if (words.empty()) throw Fail(ExitCode::kBadData, "a text to choose from has no words");
    for (const std::string& word : words) {
      if (lexicon.words.count(word) == 0 &&
          std::find(missing.begin(), missing.end(), word) == missing.end()) {
        missing.push_back(word);
      }
    }
  }
  if (missing.empty()) return;
  constexpr size_t kShown = 20;
  std::string list;
  for (size_t i = 0; i < std::min(missing.size(), kShown); ++i) {
    list += StrCat(i ? ", '" : "'", missing[i], "'");
  }
  if (missing.size() > kShown) list += StrCat(" and ", missing.size() - kShown, " more");
  throw Fail(ExitCode::kBadData, lexicon.path, ": no pronunciation of ", list);
}

}  // namespace

// Appends words and silences from left to right. `frontier_` are the nodes that the next word may
// follow.
class TextDecoder::GraphBuilder {
 public:
  GraphBuilder(const PhoneStates& states, const std::vector<int32_t>& silence_phones)
      : states_(states) {
    for (int32_t phone : silence_phones) silences_.push_back({phone});
    graph_.state.push_back(0);  // the start
  }

  // One of the pronunciations.
  void AppendWord(const std::vector<Pronunciation>& variants) {
    frontier_ = Append(variants);
    size_t shortest = SIZE_MAX;
    for (const Pronunciation& variant : variants) {
      size_t frames = 0;
      for (int32_t phone : variant) frames += states_.states[phone].size();
      shortest = std::min(shortest, frames);
    }
    graph_.min_frames += static_cast<int64_t>(shortest);
  }

  // One of the silences, or nothing.
  void AppendSilence() {
    if (silences_.empty()) return;
    const std::vector<int32_t> ends = Append(silences_);
    frontier_.insert(frontier_.end(), ends.begin(), ends.end());
  }

  Graph Finish() {
    graph_.finals = frontier_;
    return std::move(graph_);
  }

 private:
  // The last nodes of the variants.
  std::vector<int32_t> Append(const std::vector<Pronunciation>& variants) {
    Junction junction;
    junction.exits = frontier_;
    std::vector<int32_t> ends;
    for (const Pronunciation& variant : variants) {
      junction.entries.push_back(static_cast<int32_t>(graph_.state.size()));
      for (int32_t phone : variant) {
        const std::vector<int32_t>& states = states_.states[phone];
        graph_.state.insert(graph_.state.end(), states.begin(), states.end());
      }
      ends.push_back(static_cast<int32_t>(graph_.state.size()) - 1);
    }
    graph_.junctions.push_back(std::move(junction));
    return ends;
  }

  const PhoneStates& states_;
  std::vector<Pronunciation> silences_;
  std::vector<int32_t> frontier_ = {0};
  Graph graph_;
};

TextDecoder::TextDecoder(const PhoneStates& states, const Lexicon& lexicon,
                         const std::vector<std::string>& texts,
                         const std::vector<std::string>& silence_phones)
    : num_states_(states.num_states()) {
  CheckWords(lexicon, texts);
  const std::vector<int32_t> silences = states.Find(silence_phones);
  for (const std::string& text : texts) {
    GraphBuilder builder(states, silences);
    builder.AppendSilence();
    for (const std::string& word : SplitWords(text)) {
      builder.AppendWord(lexicon.words.at(word));
      builder.AppendSilence();
    }
    graphs_.push_back(builder.Finish());
  }
}

TextDecoder::TextDecoder(const std::string& states_path, const std::string& lexicon_path,
                         const std::vector<std::string>& texts,
                         const std::vector<std::string>& silence_phones) {
  const PhoneStates states = ReadPhoneStates(states_path);
  *this = TextDecoder(states, ReadLexicon(lexicon_path, states), texts, silence_phones);
}

double TextDecoder::Score(const Graph& graph, const float* scores, int64_t frames) const {
  if (frames < graph.min_frames) return kImpossible;
  const size_t nodes = graph.state.size();
  const int32_t* state = graph.state.data();
  // Best score of a path that ends in the node, before and after a frame.
  std::vector<double> before(nodes, kImpossible), after(nodes, kImpossible);
  before[0] = 0;  // and never again
  for (int64_t t = 0; t < frames; ++t) {
    const float* row = scores + t * num_states_;
    const double* from = before.data();
    double* to = after.data();
    for (size_t i = 1; i < nodes; ++i) {  // all as if they followed the node before them
      to[i] = (from[i] > from[i - 1] ? from[i] : from[i - 1]) + row[state[i]];
    }
    for (const Junction& junction : graph.junctions) {  // put the entries right
      double best = kImpossible;
      for (int32_t exit : junction.exits) best = std::max(best, from[exit]);
      for (int32_t entry : junction.entries) {
        to[entry] = std::max(from[entry], best) + row[state[entry]];
      }
    }
    before.swap(after);
    before[0] = kImpossible;
  }
  double best = kImpossible;
  for (int32_t node : graph.finals) best = std::max(best, before[node]);
  return best;
}

TextDecoder::Result TextDecoder::Decode(const float* scores, int64_t frames) const {
  CHECK_GE(frames, 0);
  Result result;
  double second = kImpossible;
  for (int i = 0; i < num_texts(); ++i) {
    const double score = Score(graphs_[i], scores, frames);
    if (score > result.score) {
      second = std::exchange(result.score, score);
      result.text = i;
    } else {
      second = std::max(second, score);
    }
  }
  if (second > kImpossible) result.margin = result.score - second;
  return result;
}

}  // namespace mariana
