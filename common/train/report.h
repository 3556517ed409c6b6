// Report: report.html, one self-contained page (inline SVG and CSS, no script, no network, light
// and dark) from plain values: headline figures, then sections in order. Every text is escaped.
// Pure function; thread-safe.
#pragma once

#include <string>
#include <utility>
#include <variant>
#include <vector>

namespace mariana {

// A card on top: "Held-out accuracy", "67.2 %", "best 67.4 % at epoch 7".
struct ReportFigure {
  std::string label, value, note;
};

struct ChartSeries {
  std::string name;
  std::vector<std::pair<double, double>> points;  // (x, y), x ascending; NaN y breaks the line
  bool reference = false;  // something to compare with: dashed, without dots or a last value
};

// Half the page wide; two neighbours stand side by side. A series of 200 points or more is drawn
// faintly with its moving average over it, and its first 3 % do not count for the y range.
struct LineChart {
  std::string title, x_label, y_label;
  std::vector<ChartSeries> series;
  bool log_y = false;  // ignored unless all y > 0
};

// Cells that look like numbers are set flush right.
struct ReportTable {
  std::string title;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
  bool last_row_is_total = false;
};

// One bar over the whole width, with a legend of shares: where the time went.
struct StackedBar {
  std::string title, unit;  // "s"
  std::vector<std::pair<std::string, double>> parts;
};

// A bar each, to one scale; negative values have none.
struct BarList {
  std::string title, note;
  std::vector<std::pair<std::string, double>> bars;
};

// Rows are truth, columns what was said; cells hold counts, shaded by their share of the row.
struct ConfusionMatrix {
  std::string title;
  std::vector<std::string> labels;
  std::vector<std::vector<double>> counts;  // labels x labels
};

// Pictures in a row as long as the page is wide, then in the next, each with its caption.
struct ReportPicture {
  std::string uri;            // PngUri
  std::string caption, note;  // a line each
  enum Mark { kNone, kGood, kBad } mark = kNone;
};
struct PictureGrid {
  std::string title, note;
  std::vector<ReportPicture> pictures;
};

struct ReportText {
  std::string title, text;
};

// Scrolls; folded until clicked when it is long.
struct Preformatted {
  std::string title, text;
};

using ReportSection = std::variant<LineChart, ReportTable, StackedBar, BarList, ConfusionMatrix,
                                   PictureGrid, ReportText, Preformatted>;

struct Report {
  std::string title;     // the job's name
  std::string subtitle;  // "mariana_dnn train · 2 workers on cpu · 23 Nov 2026 06:44 UTC"
  std::string status;    // done, stopped, diverged, failed
  std::string error;     // shown in a banner if not empty
  std::vector<ReportFigure> figures;
  std::vector<ReportSection> sections;
};

std::string RenderReport(const Report& report);

}  // namespace mariana
