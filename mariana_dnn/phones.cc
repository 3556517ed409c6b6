#include "mariana_dnn/phones.h"

#include <algorithm>
#include <charconv>
#include <functional>
#include <sstream>
#include <unordered_set>
#include <utility>

#include "common/base/error.h"
#include "common/base/files.h"

namespace mariana {
namespace {

using Fields = std::vector<std::string>;

// Calls line(where, fields) for each line that is not blank; `where` is "file:line".
void ForEachLine(const std::string& path,
                 const std::function<void(const std::string&, const Fields&)>& line) {
  std::istringstream in(ReadFile(path));
  std::string text;
  for (int64_t number = 1; std::getline(in, text); ++number) {
    const Fields fields = SplitWords(text);
    if (!fields.empty()) line(StrCat(path, ":", number), fields);
  }
}

int32_t ReadIndex(const std::string& where, const std::string& text, const char* what) {
  int32_t value = -1;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size() || value < 0) {
    throw Fail(ExitCode::kBadData, where, ": ", what, " '", text, "' is not a number from 0 up");
  }
  return value;
}

// What one line of a states file says.
struct StateLine {
  int32_t phone = -1, position = 0;
};

void CheckPositions(const std::string& path, const std::string& phone,
                    std::vector<std::pair<int32_t, int32_t>>* positions) {
  std::sort(positions->begin(), positions->end());
  for (size_t i = 0; i < positions->size(); ++i) {
    const int32_t position = (*positions)[i].first;
    if (position == static_cast<int32_t>(i)) continue;
    throw Fail(ExitCode::kBadData, path, ": phone ", phone, " ",
               position < static_cast<int32_t>(i) ? "has two states at position "
                                                  : "has no state at position ",
               std::min(position, static_cast<int32_t>(i)), "; each of 0, 1, ... is needed once");
  }
}

}  // namespace

std::vector<std::string> SplitWords(const std::string& text) {
  std::istringstream in(text);
  std::vector<std::string> words;
  for (std::string word; in >> word;) words.push_back(word);
  return words;
}

std::vector<int32_t> PhoneStates::Find(const std::vector<std::string>& names) const {
  std::vector<int32_t> found;
  for (const std::string& name : names) {
    const auto it = index.find(name);
    if (it == index.end()) {
      throw Fail(ExitCode::kUsage, "phone '", name, "' is not in ", path, "; it has ", phones[0],
                 phones.size() > 1 ? ", " + phones[1] : "", phones.size() > 2 ? ", ..." : "");
    }
    found.push_back(it->second);
  }
  return found;
}

PhoneStates ReadPhoneStates(const std::string& path) {
  PhoneStates result;
  result.path = path;
  std::unordered_map<int32_t, StateLine> lines;  // by id
  ForEachLine(path, [&](const std::string& where, const Fields& fields) {
    if (fields.size() != 3) {
      throw Fail(ExitCode::kBadData, where, ": has ", fields.size(),
                 " fields; a state is `<id> <phone> <position>`");
    }
    const int32_t id = ReadIndex(where, fields[0], "id");
    const auto [phone, is_new] = result.index.emplace(fields[1], result.phones.size());
    if (is_new) result.phones.push_back(fields[1]);
    const StateLine line{phone->second, ReadIndex(where, fields[2], "position")};
    if (!lines.emplace(id, line).second) {
      throw Fail(ExitCode::kBadData, where, ": state ", id, " was given before");
    }
  });
  if (lines.empty()) throw Fail(ExitCode::kBadData, path, ": has no states");

  std::vector<std::vector<std::pair<int32_t, int32_t>>> by_phone(result.phones.size());
  for (int32_t id = 0; id < static_cast<int32_t>(lines.size()); ++id) {
    const auto line = lines.find(id);
    if (line == lines.end()) {
      throw Fail(ExitCode::kBadData, path, ": has ", lines.size(), " states but none of id ", id,
                 "; ids are 0 to ", lines.size() - 1);
    }
    result.phone.push_back(line->second.phone);
    by_phone[line->second.phone].emplace_back(line->second.position, id);
  }
  for (size_t p = 0; p < by_phone.size(); ++p) {
    CheckPositions(path, result.phones[p], &by_phone[p]);
    result.states.emplace_back();
    for (const auto& [position, id] : by_phone[p]) result.states.back().push_back(id);
  }
  return result;
}

Lexicon ReadLexicon(const std::string& path, const PhoneStates& states) {
  Lexicon lexicon;
  lexicon.path = path;
  ForEachLine(path, [&](const std::string& where, const Fields& fields) {
    if (fields.size() < 2) {
      throw Fail(ExitCode::kBadData, where, ": word '", fields[0], "' has no phones");
    }
    Pronunciation phones;
    for (size_t i = 1; i < fields.size(); ++i) {
      const auto phone = states.index.find(fields[i]);
      if (phone == states.index.end()) {
        throw Fail(ExitCode::kBadData, where, ": phone '", fields[i], "' of word '", fields[0],
                   "' is not in ", states.path);
      }
      phones.push_back(phone->second);
    }
    std::vector<Pronunciation>& variants = lexicon.words[fields[0]];
    if (std::find(variants.begin(), variants.end(), phones) == variants.end()) {
      variants.push_back(std::move(phones));
    }
  });
  if (lexicon.words.empty()) throw Fail(ExitCode::kBadData, path, ": has no words");
  return lexicon;
}

std::vector<Transcript> ReadTranscripts(const std::string& path) {
  std::vector<Transcript> result;
  std::unordered_set<std::string> seen;
  ForEachLine(path, [&](const std::string& where, const Fields& fields) {
    if (fields.size() < 2) {
      throw Fail(ExitCode::kBadData, where, ": utterance '", fields[0], "' has no words");
    }
    if (!seen.insert(fields[0]).second) {
      throw Fail(ExitCode::kBadData, where, ": utterance '", fields[0], "' was given before");
    }
    std::string text = fields[1];
    for (size_t i = 2; i < fields.size(); ++i) text += " " + fields[i];
    result.push_back({fields[0], std::move(text)});
  });
  if (result.empty()) throw Fail(ExitCode::kBadData, path, ": has no utterances");
  return result;
}

}  // namespace mariana
