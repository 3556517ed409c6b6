#include "common/train/report.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdio>
#include <numeric>

#include "common/base/error.h"
#include "common/train/report_parts.h"
#include "common/train/version.h"

namespace mariana {
namespace {

constexpr size_t kFoldLines = 60;         // longer texts start folded
constexpr size_t kConfusionNumbers = 16;  // up to so many labels, cells show their counts

std::string Percent(double share) {
  char text[32];
  std::snprintf(text, sizeof(text), "%.1f %%", 100 * share);
  return text;
}

std::string Heading(const std::string& title) {
  return title.empty() ? "" : "<h2>" + EscapeHtml(title) + "</h2>\n";
}

// "1,234", "-0.5", "12 %", "3.4M", "2.5x", "1.2 MB", "-" (nothing to tell); a name is not.
bool LooksNumeric(const std::string& cell) {
  if (cell.empty() || cell == "-" || cell == "–") return true;
  const size_t digit = cell.find_first_of("0123456789");
  if (digit > 2 || cell.find_first_not_of("+-.~<>", 0) < digit) return false;
  size_t letters = 0;
  for (const char c : cell) letters += std::isalpha(static_cast<unsigned char>(c)) ? 1 : 0;
  return letters <= 3;
}

std::string RenderCell(const char* tag, const std::string& text, bool number) {
  return StrCat("<", tag, number ? " class=\"number\">" : ">", EscapeHtml(text), "</", tag, ">");
}

std::string Render(const ReportTable& table) {
  std::vector<bool> number(table.columns.size(), true);
  for (size_t c = 0; c < table.columns.size(); ++c) {
    for (const auto& row : table.rows) {
      number[c] = number[c] && (c >= row.size() || LooksNumeric(row[c]));
    }
  }
  std::string out = "<section>" + Heading(table.title) + "<div class=\"scroll\"><table><thead><tr>";
  for (size_t c = 0; c < table.columns.size(); ++c) {
    out += RenderCell("th", table.columns[c], number[c]);
  }
  out += "</tr></thead><tbody>\n";
  for (size_t r = 0; r < table.rows.size(); ++r) {
    const bool total = table.last_row_is_total && r + 1 == table.rows.size();
    out += total ? "<tr class=\"total\">" : "<tr>";
    for (size_t c = 0; c < table.columns.size(); ++c) {
      out += RenderCell("td", c < table.rows[r].size() ? table.rows[r][c] : "", number[c]);
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div></section>\n";
}

std::string Render(const StackedBar& bar) {
  double total = 0;
  for (const auto& part : bar.parts) total += std::max(part.second, 0.0);
  const std::string unit = bar.unit.empty() ? "" : " " + bar.unit;
  std::string stack, parts;
  for (size_t i = 0; i < bar.parts.size(); ++i) {
    const auto& [name, value] = bar.parts[i];
    const double share = total > 0 ? std::max(value, 0.0) / total : 0;
    const std::string amount = ReadableNumber(value, 3) + unit;
    stack += StrCat("<div style=\"flex:", share, ";background:", SeriesColor(i), "\" title=\"",
                    EscapeHtml(StrCat(name, ": ", amount, ", ", Percent(share))), "\"></div>");
    parts +=
        StrCat("<div><i style=\"background:", SeriesColor(i), "\"></i><span>", EscapeHtml(name),
               "</span><b>", EscapeHtml(amount), "</b><small>", Percent(share), "</small></div>\n");
  }
  return "<section><h2>" + EscapeHtml(bar.title) + "<small>" +
         EscapeHtml(ReadableNumber(total, 4) + unit) + "</small></h2><div class=\"stack\">" +
         stack + "</div>\n<div class=\"parts\">" + parts + "</div></section>\n";
}

std::string Render(const BarList& list) {
  double most = 0;
  for (const auto& bar : list.bars) most = std::max(most, bar.second);
  std::string out = "<section><h2>" + EscapeHtml(list.title) +
                    (list.note.empty() ? "" : "<small>" + EscapeHtml(list.note) + "</small>") +
                    "</h2><div class=\"bars\">\n";
  for (const auto& [name, value] : list.bars) {
    const double share = most > 0 ? std::max(value, 0.0) / most : 0;
    out += StrCat("<span>", EscapeHtml(name), "</span><div><i style=\"width:", 100 * share,
                  "%\"></i></div><b>", EscapeHtml(ReadableNumber(value, 3)), "</b>\n");
  }
  return out + "</div></section>\n";
}

std::string Render(const ConfusionMatrix& matrix) {
  const size_t n = matrix.labels.size();
  std::string out = "<section>" + Heading(matrix.title) +
                    "<div class=\"scroll\"><table class=\"confusion\"><thead><tr><th></th>";
  for (const std::string& label : matrix.labels) out += RenderCell("th", label, false);
  out += "</tr></thead><tbody>\n";
  for (size_t r = 0; r < n && r < matrix.counts.size(); ++r) {
    const std::vector<double>& row = matrix.counts[r];
    const double total = std::accumulate(row.begin(), row.end(), 0.0);
    out += "<tr>" + RenderCell("th", matrix.labels[r], false);
    for (size_t c = 0; c < n && c < row.size(); ++c) {
      const double share = total > 0 ? row[c] / total : 0;
      char style[64] = "";
      if (share > 0) {
        std::snprintf(style, sizeof(style), " style=\"background:rgb(var(--accent) / %.2f)\"",
                      0.06 + 0.74 * std::sqrt(share));
      }
      const std::string title = StrCat(matrix.labels[r], " taken for ", matrix.labels[c], ": ",
                                       ReadableNumber(row[c]), ", ", Percent(share));
      out += StrCat("<td", style, " title=\"", EscapeHtml(title), "\">",
                    n <= kConfusionNumbers && row[c] != 0 ? ReadableNumber(row[c]) : "", "</td>");
    }
    out += "</tr>\n";
  }
  return out + "</tbody></table></div></section>\n";
}

std::string Render(const PictureGrid& grid) {
  static constexpr const char* kMarks[] = {"", " class=\"good\"", " class=\"bad\""};
  std::string out = "<section><h2>" + EscapeHtml(grid.title) +
                    (grid.note.empty() ? "" : "<small>" + EscapeHtml(grid.note) + "</small>") +
                    "</h2><div class=\"pictures\">\n";
  for (const ReportPicture& p : grid.pictures) {
    const std::string caption = EscapeHtml(p.caption), note = EscapeHtml(p.note);
    out += StrCat("<figure", kMarks[p.mark], "><img alt=\"", caption, "\" src=\"",
                  EscapeHtml(p.uri), "\"><figcaption title=\"", caption, "\">", caption,
                  "</figcaption><small title=\"", note, "\">", note, "</small></figure>\n");
  }
  return out + "</div></section>\n";
}

std::string Render(const ReportText& text) {
  return "<section>" + Heading(text.title) + "<p class=\"text\">" + EscapeHtml(text.text) +
         "</p></section>\n";
}

// Comments that close a line (a config's origins) step back.
std::string RenderLine(const std::string& line) {
  const size_t first = line.find_first_not_of(' ');
  const size_t comment =
      first != std::string::npos && line[first] == '#' ? first : line.rfind(" # ");
  if (comment == std::string::npos) return EscapeHtml(line);
  return EscapeHtml(line.substr(0, comment)) + "<span class=\"comment\">" +
         EscapeHtml(line.substr(comment)) + "</span>";
}

std::string Render(const Preformatted& pre) {
  std::string body;
  size_t lines = 0;
  for (size_t begin = 0, end = 0; begin < pre.text.size(); begin = end + 1, ++lines) {
    end = std::min(pre.text.find('\n', begin), pre.text.size());
    body += RenderLine(pre.text.substr(begin, end - begin)) + "\n";
  }
  return StrCat("<section><details", lines <= kFoldLines ? " open" : "", "><summary>",
                EscapeHtml(pre.title), "<small>", lines, lines == 1 ? " line" : " lines",
                "</small></summary><pre>", body, "</pre></details></section>\n");
}

std::string RenderChart(const LineChart& chart, bool wide) {
  return StrCat("<section class=\"chart", wide ? " wide" : "", "\"><h2>", EscapeHtml(chart.title),
                chart.y_label.empty() ? "" : "<small>" + EscapeHtml(chart.y_label) + "</small>",
                "</h2>", RenderLineChart(chart), "</section>\n");
}

std::string Figures(const Report& report) {
  if (report.figures.empty()) return "";
  std::string out = "<div class=\"figures\">\n";
  for (const ReportFigure& f : report.figures) {
    out += "<div class=\"figure\"><span>" + EscapeHtml(f.label) + "</span><strong>" +
           EscapeHtml(f.value) + "</strong><small>" + EscapeHtml(f.note) + "</small></div>\n";
  }
  return out + "</div>\n";
}

std::string Header(const Report& report) {
  std::string out = "<header><h1>" + EscapeHtml(report.title) + "</h1>";
  if (!report.status.empty()) {
    const std::string status = EscapeHtml(report.status);
    out += "<span class=\"status " + status + "\">" + status + "</span>";
  }
  out += "<p>" + EscapeHtml(report.subtitle) + "</p></header>\n";
  if (!report.error.empty()) out += "<div class=\"error\">" + EscapeHtml(report.error) + "</div>\n";
  return out;
}

// A chart without a neighbour in its row takes the whole row.
std::string Sections(const Report& report) {
  std::string out = "<div class=\"sections\">\n";
  bool left_taken = false;
  for (size_t i = 0; i < report.sections.size(); ++i) {
    const auto* chart = std::get_if<LineChart>(&report.sections[i]);
    const auto is_chart = [&](size_t k) {
      return k < report.sections.size() && std::holds_alternative<LineChart>(report.sections[k]);
    };
    if (chart != nullptr) {
      out += RenderChart(*chart, !left_taken && !is_chart(i + 1));
      left_taken = !left_taken && is_chart(i + 1);
      continue;
    }
    left_taken = false;
    out += std::visit(
        [](const auto& section) -> std::string {
          if constexpr (std::is_same_v<std::decay_t<decltype(section)>, LineChart>) {
            return "";  // above
          } else {
            return Render(section);
          }
        },
        report.sections[i]);
  }
  return out + "</div>\n";
}

}  // namespace

std::string EscapeHtml(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default: out += c;
    }
  }
  return out;
}

std::string ReadableNumber(double value, int digits) {
  if (!std::isfinite(value)) return std::isnan(value) ? "NaN" : value > 0 ? "Inf" : "-Inf";
  const double magnitude = std::abs(value);
  char text[64];
  if (magnitude >= 1e15 || (magnitude > 0 && magnitude < 1e-4)) {
    std::snprintf(text, sizeof(text), "%.*g", digits, value);
    return text;
  }
  const bool integer = value == std::floor(value);
  const int before = magnitude < 1 ? 0 : 1 + static_cast<int>(std::floor(std::log10(magnitude)));
  // Below one, zeros after the point are not significant digits.
  const int zeros =
      magnitude > 0 && magnitude < 1 ? static_cast<int>(-std::floor(std::log10(magnitude)) - 1) : 0;
  const int decimals = integer ? 0 : std::max(0, digits - before + zeros);
  std::snprintf(text, sizeof(text), "%.*f", decimals, value);
  std::string out = text;
  if (decimals > 0) {
    out.erase(out.find_last_not_of('0') + 1);
    if (out.back() == '.') out.pop_back();
  }
  const size_t start = out[0] == '-' ? 1 : 0, point = std::min(out.find('.'), out.size());
  for (size_t at = point; at > start + 3; at -= 3) out.insert(at - 3, ",");
  return out == "-0" ? "0" : out;
}

std::string RenderReport(const Report& report) {
  return "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\n"
         "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>" +
         EscapeHtml(report.title) + "</title>\n<style>" + ReportStyle() +
         "</style></head>\n<body><main>\n" + Header(report) + Figures(report) + Sections(report) +
         StrCat("<footer>Mariana ", kVersion, "</footer>\n</main></body></html>\n");
}

}  // namespace mariana
