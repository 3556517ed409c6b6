// TextDecoder: which text of a closed list was said. Viterbi over per-frame scores, exact (no
// beam): the text whose best path through its graph scores highest wins.
//
// A text's graph: its words in order, the pronunciations of a word side by side, optional silence
// before, between and after them; a phone is its states from left to right, each taking one frame
// or more. A path's score is the sum of its frames' scores: transitions cost nothing.
//
// Threading: Decode is thread-safe.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "mariana_dnn/phones.h"

namespace mariana {

class TextDecoder {
 public:
  // A text is words of the lexicon separated by spaces, at least one. Words that the lexicon
  // lacks throw Error(kBadData) naming them. No silence phone: no silence.
  TextDecoder(const PhoneStates& states, const Lexicon& lexicon,
              const std::vector<std::string>& texts,
              const std::vector<std::string>& silence_phones);

  // The same from files.
  TextDecoder(const std::string& states_path, const std::string& lexicon_path,
              const std::vector<std::string>& texts,
              const std::vector<std::string>& silence_phones);

  struct Result {
    int text = -1;  // index of the best text, the first of equals; -1: no text is short enough
    double score = -std::numeric_limits<double>::infinity();
    // Score less that of the second best text; infinite where no other is possible.
    double margin = std::numeric_limits<double>::infinity();
  };
  // scores: [frames, num_states], log posterior - log prior (or any log-likelihood up to a
  // constant per frame); each finite or -infinity.
  Result Decode(const float* scores, int64_t frames) const;

  int num_texts() const { return static_cast<int>(graphs_.size()); }

 private:
  // Nodes in topological order; node 0 is the start, which takes no frame. A node follows itself
  // and the one before it, but for the first nodes of words and silences: those are entries, and
  // follow themselves and the exits of their junction.
  struct Junction {
    std::vector<int32_t> exits, entries;  // nodes
  };
  struct Graph {
    std::vector<int32_t> state;  // [node]; of node 0 unused
    std::vector<Junction> junctions;
    std::vector<int32_t> finals;  // nodes
    int64_t min_frames = 0;       // of the shortest path
  };
  class GraphBuilder;

  double Score(const Graph& graph, const float* scores, int64_t frames) const;

  int64_t num_states_ = 0;
  std::vector<Graph> graphs_;  // by text
};

}  // namespace mariana
