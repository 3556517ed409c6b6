// Text files that give a net's outputs a meaning: which phone each output state belongs to, how
// words are pronounced, what was said.
//   states:  <id> <phone> <position>      `3 AA 0`: ids 0..n-1, positions of a phone 0..k-1
//   lexicon: <word> <phone> <phone> ...   one line for each pronunciation of a word
//   text:    <utterance> <word> ...       as Kaldi's
// Blank lines are skipped. Mistakes throw Error(kBadData) `file:line: what`.
// Threading: functions are thread-safe, the structs are values.
#pragma once

#include <cstdint>
#include <string>
#include <unordered_map>
#include <vector>

namespace mariana {

struct PhoneStates {
  std::string path;                                // of the file, for messages
  std::vector<std::string> phones;                 // names, in order of first appearance
  std::vector<int32_t> phone;                      // [state] -> index into phones
  std::vector<std::vector<int32_t>> states;        // [phone] -> its state ids, by position
  std::unordered_map<std::string, int32_t> index;  // name -> index into phones

  int32_t num_states() const { return static_cast<int32_t>(phone.size()); }
  // By name, as data.silence_phones gives them; an unknown one throws Error(kUsage).
  std::vector<int32_t> Find(const std::vector<std::string>& names) const;
};
PhoneStates ReadPhoneStates(const std::string& path);

using Pronunciation = std::vector<int32_t>;  // phones, at least one

struct Lexicon {
  std::string path;
  std::unordered_map<std::string, std::vector<Pronunciation>> words;
};
Lexicon ReadLexicon(const std::string& path, const PhoneStates& states);

struct Transcript {
  std::string utterance;
  std::string text;  // words separated by single spaces, at least one
};
std::vector<Transcript> ReadTranscripts(const std::string& path);

// "a  b " -> {"a", "b"}.
std::vector<std::string> SplitWords(const std::string& text);

}  // namespace mariana
