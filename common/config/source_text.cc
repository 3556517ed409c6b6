#include "common/config/source_text.h"

#include <string_view>

#include "common/base/error.h"

namespace mariana {
namespace {

constexpr size_t kLargestText = size_t{1} << 20;

// The length of the UTF-8 character at the start of `s`, or 0 where there is none.
size_t CharacterBytes(std::string_view s) {
  const auto byte = [&](size_t i) { return static_cast<unsigned char>(s[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  const size_t bytes = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  if (lead < 0xC2 || lead > 0xF4 || s.size() < bytes) return 0;
  for (size_t i = 1; i < bytes; ++i) {
    if ((byte(i) & 0xC0) != 0x80) return 0;
  }
  const unsigned char next = byte(1);
  const bool overlong = (lead == 0xE0 && next < 0xA0) || (lead == 0xF0 && next < 0x90);
  const bool surrogate = lead == 0xED && next >= 0xA0;
  const bool beyond_unicode = lead == 0xF4 && next >= 0x90;
  return overlong || surrogate || beyond_unicode ? 0 : bytes;
}

bool IsForbiddenControl(char c) {
  const auto byte = static_cast<unsigned char>(c);
  return (byte < 0x20 && c != '\t' && c != '\n') || byte == 0x7F;
}

// Blank lines may hold tabs.
bool IndentedByTab(std::string_view line) {
  const size_t end = line.find_first_not_of(" \t");
  return end != std::string_view::npos && line.substr(0, end).find('\t') != std::string_view::npos;
}

}  // namespace

std::optional<std::string> CleanText(const std::string& text, int source, Mistakes* mistakes) {
  Place place;
  place.source = source;
  if (text.size() > kLargestText) {
    mistakes->Add(place, "", "is larger than 1 MiB: not a config");
    return std::nullopt;
  }
  std::string_view rest(text);
  if (rest.substr(0, 3) == "\xEF\xBB\xBF") rest.remove_prefix(3);
  std::string clean;
  bool at_line_start = true;
  while (!rest.empty()) {
    if (rest.substr(0, 2) == "\r\n") rest.remove_prefix(1);
    if (at_line_start && IndentedByTab(rest.substr(0, rest.find('\n')))) {
      mistakes->Add(place, "", "a tab in the indentation; YAML wants spaces");
    }
    const size_t bytes = CharacterBytes(rest);
    if (bytes == 0) {
      mistakes->Add(place, "", "is not UTF-8 here");
      return std::nullopt;
    }
    if (IsForbiddenControl(rest[0])) {
      mistakes->Add(place, "",
                    StrCat("a control character (code ", static_cast<int>(rest[0]), ") here"));
      return std::nullopt;
    }
    at_line_start = rest[0] == '\n';
    place.line += at_line_start ? 1 : 0;
    place.column = at_line_start ? 1 : place.column + 1;
    clean.append(rest.substr(0, bytes));
    rest.remove_prefix(bytes);
  }
  return clean;
}

}  // namespace mariana
