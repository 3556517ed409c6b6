#include "mariana_dnn/decode.h"

#include <unistd.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <functional>
#include <limits>

#include "common/base/error.h"
#include "common/base/files.h"
#include "common/base/random.h"

namespace mariana {
namespace {

constexpr double kImpossible = -std::numeric_limits<double>::infinity();

// A folder of the test's own, removed at the end.
class Folder {
 public:
  Folder() {
    const char* base = getenv("TEST_TMPDIR");
    path_ = std::string(base ? base : "/tmp") + "/decode_test." + std::to_string(getpid());
    MakeDirectories(path_);
  }
  ~Folder() { RemoveTree(path_); }
  std::string Write(const std::string& name, const std::string& contents) const {
    WriteFileAtomic(path_ + "/" + name, contents);
    return path_ + "/" + name;
  }

 private:
  std::string path_;
};

// The message of the Error that `action` throws, after checking its code.
std::string MessageOf(ExitCode code, const std::function<void()>& action) {
  try {
    action();
  } catch (const Error& error) {
    CHECK(error.code() == code);
    return error.message();
  }
  return "no error";
}

PhoneStates TinyStates(const Folder& folder) {
  // Ids in no order, phones of one, two and three states.
  return ReadPhoneStates(
      folder.Write("states.txt", "2 SIL 0\n5 A 1\n0 A 0\n1 B 0\n\n3 B 2\r\n4 B 1\n6 C 0\n"));
}

Lexicon TinyLexicon(const Folder& folder, const PhoneStates& states) {
  return ReadLexicon(folder.Write("lexicon.txt", "ab A B\nab B\na A\nc C\nc C C\nc C\n"), states);
}

// The best score over every way to give `frames` frames to the states of a linear sequence, one
// frame or more each: all of them tried.
double BestSplit(const std::vector<int32_t>& sequence, size_t at, const float* scores,
                 int64_t frames, int64_t num_states) {
  if (at == sequence.size()) return frames == 0 ? 0 : kImpossible;
  double best = kImpossible, here = 0;
  for (int64_t n = 1; n <= frames; ++n) {
    here += scores[(n - 1) * num_states + sequence[at]];
    best = std::max(
        best, here + BestSplit(sequence, at + 1, scores + n * num_states, frames - n, num_states));
  }
  return best;
}

// The same over every choice of pronunciations and silences of words[at..].
double BruteForce(const PhoneStates& states, const Lexicon& lexicon,
                  const std::vector<std::string>& words, const std::vector<int32_t>& silences,
                  std::vector<int32_t> prefix, size_t at, const float* scores, int64_t frames) {
  const auto extended = [&](const Pronunciation& phones) {
    std::vector<int32_t> longer = prefix;
    for (int32_t p : phones) {
      longer.insert(longer.end(), states.states[p].begin(), states.states[p].end());
    }
    return longer;
  };
  double best = kImpossible;
  std::vector<std::vector<int32_t>> starts = {prefix};
  for (int32_t silence : silences) starts.push_back(extended({silence}));
  for (const std::vector<int32_t>& start : starts) {
    prefix = start;
    if (at == words.size()) {
      best = std::max(best, BestSplit(prefix, 0, scores, frames, states.num_states()));
      continue;
    }
    for (const Pronunciation& variant : lexicon.words.at(words[at])) {
      best = std::max(best, BruteForce(states, lexicon, words, silences, extended(variant), at + 1,
                                       scores, frames));
    }
  }
  return best;
}

std::vector<float> RandomScores(uint64_t seed, int64_t n) {
  RandomSequence random(seed, 0);
  std::vector<float> scores(n);
  for (float& s : scores) s = 3 * random.Normal();
  return scores;
}

// Scores of 0 on the states said and -10 on all others.
std::vector<float> Said(const PhoneStates& states, const std::vector<int32_t>& path) {
  std::vector<float> scores(path.size() * states.num_states(), -10);
  for (size_t t = 0; t < path.size(); ++t) scores[t * states.num_states() + path[t]] = 0;
  return scores;
}

TEST_CASE("The best text and its margin equal an exhaustive search") {
  const Folder folder;
  const PhoneStates states = TinyStates(folder);
  const Lexicon lexicon = TinyLexicon(folder, states);
  const std::vector<std::string> texts = {"ab", "a", "c a", "ab c", "a a", "c c c"};
  for (const std::vector<std::string>& silences :
       {std::vector<std::string>{}, std::vector<std::string>{"SIL"},
        std::vector<std::string>{"SIL", "A"}}) {
    const TextDecoder decoder(states, lexicon, texts, silences);
    for (int64_t frames = 0; frames <= 8; ++frames) {
      for (uint64_t seed = 0; seed < 5; ++seed) {
        CAPTURE(silences.size(), frames, seed);
        const auto scores = RandomScores(100 * seed + frames, frames * states.num_states());
        std::vector<double> expected;
        for (const std::string& text : texts) {
          expected.push_back(BruteForce(states, lexicon, SplitWords(text), states.Find(silences),
                                        {}, 0, scores.data(), frames));
        }
        const auto best = std::max_element(expected.begin(), expected.end());
        const TextDecoder::Result result = decoder.Decode(scores.data(), frames);
        if (*best == kImpossible) {
          CHECK(result.text == -1);
          continue;
        }
        CHECK(result.text == best - expected.begin());
        CHECK(result.score == Approx(*best).margin(1e-9));
        std::sort(expected.rbegin(), expected.rend());
        if (expected[1] == kImpossible) {
          CHECK(std::isinf(result.margin));
        } else {
          CHECK(result.margin == Approx(expected[0] - expected[1]).margin(1e-9));
        }
      }
    }
  }
}

TEST_CASE("A text is found through silences and its second pronunciation") {
  const Folder folder;
  const PhoneStates states = TinyStates(folder);
  const TextDecoder decoder(states, TinyLexicon(folder, states), {"a", "ab", "ab a", "a ab"},
                            {"SIL"});
  // SIL, B (three states), SIL, A (two): "ab" as B, then "a".
  const auto scores = Said(states, {2, 2, 1, 4, 4, 3, 2, 0, 0, 5, 2});
  const TextDecoder::Result result = decoder.Decode(scores.data(), 11);
  CHECK(result.text == 2);
  CHECK(result.score == 0);
  CHECK(result.margin >= 10);
}

TEST_CASE("Of equal texts the first wins with no margin") {
  const Folder folder;
  const PhoneStates states = TinyStates(folder);
  const std::string lexicon = TinyLexicon(folder, states).path;
  const TextDecoder decoder(states.path, lexicon, {"c", "a", "a"}, {});
  const auto scores = Said(states, {0, 5});
  const TextDecoder::Result result = decoder.Decode(scores.data(), 2);
  CHECK(result.text == 1);
  CHECK(result.margin == 0);
}

TEST_CASE("A text longer than the frames is impossible") {
  const Folder folder;
  const PhoneStates states = TinyStates(folder);
  const TextDecoder decoder(states, TinyLexicon(folder, states), {"a a", "c"}, {"SIL"});
  const auto scores = Said(states, {0, 5, 0});
  const TextDecoder::Result result = decoder.Decode(scores.data(), 3);
  CHECK(result.text == 1);
  CHECK(std::isinf(result.margin));
  CHECK(decoder.Decode(scores.data(), 0).text == -1);
}

TEST_CASE("States of one phone are found by position whatever the order of lines") {
  const Folder folder;
  const PhoneStates states = TinyStates(folder);
  CHECK(states.num_states() == 7);
  CHECK(states.phones == std::vector<std::string>{"SIL", "A", "B", "C"});
  CHECK(states.phone == std::vector<int32_t>{1, 2, 0, 2, 2, 1, 3});
  CHECK(states.states[2] == std::vector<int32_t>{1, 4, 3});
  CHECK(states.Find({"C", "SIL"}) == std::vector<int32_t>{3, 0});
  CHECK(MessageOf(ExitCode::kUsage, [&] { states.Find({"sil"}); }) ==
        "phone 'sil' is not in " + states.path + "; it has SIL, A, ...");
}

TEST_CASE("Mistakes in a states file are named with their line") {
  const Folder folder;
  const auto message = [&](const std::string& contents) {
    const std::string path = folder.Write("s", contents);
    const std::string text = MessageOf(ExitCode::kBadData, [&] { ReadPhoneStates(path); });
    REQUIRE(text.substr(0, path.size()) == path);
    return text.substr(path.size());
  };
  CHECK(message("0 A 0\n1 A\n") == ":2: has 2 fields; a state is `<id> <phone> <position>`");
  CHECK(message("x A 0\n") == ":1: id 'x' is not a number from 0 up");
  CHECK(message("0 A -1\n") == ":1: position '-1' is not a number from 0 up");
  CHECK(message("0 A 9999999999\n") == ":1: position '9999999999' is not a number from 0 up");
  CHECK(message("0 A 0\n0 B 0\n") == ":2: state 0 was given before");
  CHECK(message("0 A 0\n2 B 0\n") == ": has 2 states but none of id 1; ids are 0 to 1");
  CHECK(message("0 A 1\n1 A 2\n") ==
        ": phone A has no state at position 0; each of 0, 1, ... is needed once");
  CHECK(message("0 A 0\n1 A 0\n") ==
        ": phone A has two states at position 0; each of 0, 1, ... is needed once");
  CHECK(message("\n") == ": has no states");
}

TEST_CASE("A lexicon keeps each distinct pronunciation and names its mistakes") {
  const Folder folder;
  const PhoneStates states = TinyStates(folder);
  const Lexicon lexicon = TinyLexicon(folder, states);
  CHECK(lexicon.words.size() == 3);
  CHECK(lexicon.words.at("ab") == std::vector<Pronunciation>{{1, 2}, {2}});
  CHECK(lexicon.words.at("c").size() == 2);
  const std::string path = folder.Write("bad1", "a A\nb\n");
  CHECK(MessageOf(ExitCode::kBadData, [&] { ReadLexicon(path, states); }) ==
        path + ":2: word 'b' has no phones");
  const std::string unknown = folder.Write("bad2", "a A\nb Q\n");
  CHECK(MessageOf(ExitCode::kBadData, [&] { ReadLexicon(unknown, states); }) ==
        unknown + ":2: phone 'Q' of word 'b' is not in " + states.path);
  const std::string empty = folder.Write("bad3", "");
  CHECK(MessageOf(ExitCode::kBadData, [&] { ReadLexicon(empty, states); }) ==
        empty + ": has no words");
}

TEST_CASE("Transcripts join words by single spaces and name their mistakes") {
  const Folder folder;
  const auto transcripts = ReadTranscripts(folder.Write("text", "u1  press\tone \n\nu2 hello\n"));
  REQUIRE(transcripts.size() == 2);
  CHECK(transcripts[0].utterance == "u1");
  CHECK(transcripts[0].text == "press one");
  CHECK(transcripts[1].text == "hello");
  const std::string twice = folder.Write("twice", "u1 a\nu1 b\n");
  CHECK(MessageOf(ExitCode::kBadData, [&] { ReadTranscripts(twice); }) ==
        twice + ":2: utterance 'u1' was given before");
  const std::string bare = folder.Write("bare", "u1\n");
  CHECK(MessageOf(ExitCode::kBadData, [&] { ReadTranscripts(bare); }) ==
        bare + ":1: utterance 'u1' has no words");
}

TEST_CASE("Words that the lexicon lacks are all named once") {
  const Folder folder;
  const PhoneStates states = TinyStates(folder);
  const Lexicon lexicon = TinyLexicon(folder, states);
  CHECK(MessageOf(ExitCode::kBadData, [&] {
          TextDecoder(states, lexicon, {"a x", "y ab x"}, {});
        }) == lexicon.path + ": no pronunciation of 'x', 'y'");
  CHECK(MessageOf(ExitCode::kBadData, [&] {
          TextDecoder(states, lexicon, {"a", " "}, {});
        }) == "a text to choose from has no words");
}

}  // namespace
}  // namespace mariana
