#include <algorithm>
#include <cmath>
#include <cstdio>
#include <limits>

#include "common/base/error.h"
#include "common/train/report_parts.h"

namespace mariana {
namespace {

// The drawing's size in its own units; the page scales it.
constexpr double kWidth = 560, kHeight = 300;
constexpr double kTop = 12, kRight = 16, kBottom = 42;
constexpr double kDigitWidth = 6.6;   // of a tick label at 11.5 units
constexpr size_t kDrawnPoints = 800;  // of a line: more do not show at this size
constexpr size_t kHoverPoints = 80;   // of a line, with a title each
constexpr size_t kNoisyPoints = 200;  // from here on a line is a faint one and its moving average

using Points = std::vector<std::pair<double, double>>;

template <class... Args>
std::string Format(const char* format, Args... args) {
  char text[256];
  std::snprintf(text, sizeof(text), format, args...);
  return text;
}

// One direction of the drawing: data -> units.
struct Axis {
  double low = 0, high = 1;  // data
  double from = 0, to = 1;   // units
  bool log = false;
  std::vector<double> ticks;

  // As many decimals at each tick as the steps between them need.
  std::string Label(double tick) const {
    if (log || ticks.size() < 2) return ReadableNumber(tick);
    const double step = ticks[1] - ticks[0];
    int decimals = 0;
    while (decimals < 6 && std::abs(step - std::round(step * std::pow(10, decimals)) /
                                               std::pow(10, decimals)) > 1e-6 * step) {
      ++decimals;
    }
    std::string plain = ReadableNumber(tick);
    if (decimals == 0 || plain.find('e') != std::string::npos) return plain;
    return Format("%.*f", decimals, tick);
  }
  bool Holds(double v) const { return v >= low && v <= high; }  // false for NaN
  double At(double v) const {
    const double share = log ? (std::log(v) - std::log(low)) / (std::log(high) - std::log(low))
                             : (v - low) / (high - low);
    return from + share * (to - from);
  }
};

// What can be drawn; beyond it differences overflow.
bool Drawable(double v) { return std::abs(v) < 1e100; }  // false for NaN, too

struct Range {
  double low = std::numeric_limits<double>::infinity();
  double high = -std::numeric_limits<double>::infinity();
  void Add(double v) {
    if (!Drawable(v)) return;
    low = std::min(low, v);
    high = std::max(high, v);
  }
  bool empty() const { return low > high; }
};

// Room around a single value, and the y axis from zero where that wastes little.
void Widen(Range* r, bool to_zero) {
  const double size = std::max(std::abs(r->low), std::abs(r->high));
  if (r->high - r->low <= 1e-9 * size) {
    const double pad = size < 1e-90 ? 1 : size * 0.1;
    r->low -= pad;
    r->high += pad;
  }
  if (to_zero && r->low > 0 && r->low < 0.15 * r->high) r->low = 0;
}

Axis YAxis(Range range, bool log) {
  Axis y;
  y.log = log && range.low > 1e-100;
  if (!y.log) Widen(&range, true);
  if (y.log && range.low == range.high) range = {range.low / 2, range.high * 2};
  y.ticks = y.log ? LogTicks(range.low, range.high, 6) : LinearTicks(range.low, range.high, 5);
  y.low = std::min(range.low, y.ticks.front());
  y.high = std::max(range.high, y.ticks.back());
  y.from = kHeight - kBottom;
  y.to = kTop;
  return y;
}

Axis XAxis(Range range, double left) {
  Widen(&range, false);
  if (range.low > 0 && range.low < 0.03 * range.high) range.low = 0;
  Axis x;
  x.low = range.low;
  x.high = range.high;
  x.from = left;
  x.to = kWidth - kRight;
  for (const double tick : LinearTicks(range.low, range.high, 7)) {
    const double slack = (range.high - range.low) * 1e-9;
    if (tick >= range.low - slack && tick <= range.high + slack) x.ticks.push_back(tick);
  }
  return x;
}

// Of each bucket of neighbours the lowest and the highest, so that spikes stay.
Points Thin(const Points& points) {
  if (points.size() <= kDrawnPoints) return points;
  Points thin;
  const size_t buckets = kDrawnPoints / 2;
  const auto less = [](const auto& a, const auto& b) { return a.second < b.second; };
  for (size_t b = 0; b < buckets; ++b) {
    const auto begin = points.begin() + static_cast<ptrdiff_t>(b * points.size() / buckets);
    const auto end = points.begin() + static_cast<ptrdiff_t>((b + 1) * points.size() / buckets);
    auto [low, high] = std::minmax_element(begin, end, less);
    if (high < low) std::swap(low, high);
    thin.push_back(*low);
    if (high != low) thin.push_back(*high);
  }
  return thin;
}

// The mean of each point's neighbours, over a fiftieth of the line; the window narrows at the ends.
Points MovingAverage(const Points& points) {
  const size_t n = points.size(), widest = n / 100;
  Points smooth = points;
  for (size_t i = 0; i < n; ++i) {
    const size_t half = std::min({widest, i, n - 1 - i});
    double sum = 0, count = 0;
    for (size_t k = i - half; k <= i + half; ++k) {
      if (!Drawable(points[k].second)) continue;
      sum += points[k].second;
      count += 1;
    }
    if (Drawable(points[i].second)) smooth[i].second = sum / count;
  }
  return smooth;
}

std::string Line(const Points& points, const Axis& x, const Axis& y, size_t color,
                 const char* kind) {
  std::string path;
  bool pen_down = false;
  for (const auto& [px, py] : Thin(points)) {
    const bool drawable = Drawable(px) && y.Holds(py);
    if (drawable) path += Format("%s%.1f %.1f", pen_down ? "L" : "M", x.At(px), y.At(py));
    pen_down = drawable;
  }
  return StrCat("<path class=\"", kind, "\" stroke=\"", SeriesColor(color), "\"",
                color >= 8 ? " stroke-dasharray=\"5 4\"" : "", " d=\"", path, "\"/>\n");
}

// Points that show their values when the mouse is on them; few points are also visible.
std::string Dots(const ChartSeries& series, const LineChart& chart, const Axis& x, const Axis& y,
                 size_t color) {
  std::string out;
  const size_t n = series.points.size(), shown = std::min(n, kHoverPoints);
  for (size_t k = 0; k < shown; ++k) {
    const auto& [px, py] = series.points[shown < 2 ? 0 : k * (n - 1) / (shown - 1)];
    if (!Drawable(px) || !y.Holds(py)) continue;
    const bool visible = n <= 16 || k + 1 == shown;
    out += Format("<g class=\"%s\"><circle cx=\"%.1f\" cy=\"%.1f\" r=\"9\" class=\"target\"/>",
                  visible ? "dot" : "dot hidden", x.At(px), y.At(py)) +
           Format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"3.2\" fill=\"", x.At(px), y.At(py)) +
           SeriesColor(color) + "\"/><title>" +
           EscapeHtml(StrCat(series.name, "\n", chart.x_label, " ", ReadableNumber(px), ": ",
                             ReadableNumber(py))) +
           "</title></g>\n";
  }
  return out;
}

std::string Grid(const LineChart& chart, const Axis& x, const Axis& y) {
  std::string out;
  for (const double tick : y.ticks) {
    const double at = y.At(tick);
    out += Format("<line class=\"grid\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", x.from,
                  at, x.to, at) +
           Format("<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">", x.from - 8,
                  at + 4) +
           y.Label(tick) + "</text>\n";
  }
  for (const double tick : x.ticks) {
    const double at = x.At(tick);
    out += Format("<line class=\"axis\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", at,
                  y.from, at, y.from + 4) +
           Format("<text class=\"tick\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">", at,
                  y.from + 18) +
           x.Label(tick) + "</text>\n";
  }
  out += Format("<line class=\"axis\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>\n", x.from,
                y.from, x.to, y.from);
  return out +
         Format("<text class=\"label\" x=\"%.1f\" y=\"%.1f\" text-anchor=\"middle\">",
                (x.from + x.to) / 2, kHeight - 6) +
         EscapeHtml(chart.x_label) + "</text>\n";
}

// Each series' colour, name and last value.
std::string Legend(const LineChart& chart) {
  std::string out = "<div class=\"legend\">";
  for (size_t i = 0; i < chart.series.size(); ++i) {
    const Points& points = chart.series[i].points;
    const auto last = std::find_if(points.rbegin(), points.rend(),
                                   [](const auto& p) { return std::isfinite(p.second); });
    const bool reference = chart.series[i].reference;
    out +=
        "<span><i style=\"background:" + (reference ? "var(--axis)" : SeriesColor(i)) + "\"></i>" +
        EscapeHtml(chart.series[i].name) +
        (last == points.rend() || reference ? "" : " <b>" + ReadableNumber(last->second) + "</b>") +
        "</span>";
  }
  return out + "</div>\n";
}

}  // namespace

std::string SeriesColor(size_t index) { return StrCat("var(--series-", index % 8 + 1, ")"); }

std::vector<double> LinearTicks(double low, double high, int count) {
  const double raw = (high - low) / count;
  const double power = std::pow(10, std::floor(std::log10(raw)));
  double step = 10 * power;
  for (const double nice : {1.0, 2.0, 2.5, 5.0}) {
    if (raw <= nice * power * 1.0001) {
      step = nice * power;
      break;
    }
  }
  std::vector<double> ticks;
  const double first = std::floor(low / step + 1e-9), last = std::ceil(high / step - 1e-9);
  for (double k = first; k <= last; ++k) ticks.push_back(k * step);
  return ticks;
}

std::vector<double> LogTicks(double low, double high, int count) {
  const int first = static_cast<int>(std::floor(std::log10(low) + 1e-9));
  const int last = static_cast<int>(std::ceil(std::log10(high) - 1e-9));
  const int every = std::max(1, (last - first) / count);
  const bool between = last - first <= count / 2;  // few decades: 1, 2 and 5
  std::vector<double> ticks;
  for (int exponent = first; exponent <= last; exponent += every) {
    for (const double nice : {1.0, 2.0, 5.0}) {
      const double tick = nice * std::pow(10, exponent);
      if (nice > 1 && (!between || tick < low / 2.5 || tick > high * 2)) continue;
      if (nice == 1 && between && tick < low / 5) continue;
      ticks.push_back(tick);
    }
  }
  while (between && ticks.size() > 2 && ticks[ticks.size() - 2] >= high) ticks.pop_back();
  while (between && ticks.size() > 2 && ticks[1] <= low) ticks.erase(ticks.begin());
  return ticks;
}

std::string RenderLineChart(const LineChart& chart) {
  LineChart curves = chart;  // as they are told: noisy ones averaged
  Range xs, ys;
  for (ChartSeries& series : curves.series) {
    const Points raw = series.points;
    const bool noisy = raw.size() >= kNoisyPoints;
    if (noisy) series.points = MovingAverage(raw);
    for (size_t i = 0; i < raw.size(); ++i) {
      xs.Add(raw[i].first);
      // A start that is far off would flatten all that follows; it may leave the chart.
      if (noisy && i < raw.size() / 33) continue;
      ys.Add(raw[i].second);
    }
  }
  if (xs.empty() || ys.empty()) return "<p class=\"empty\">Nothing was measured.</p>\n";
  const Axis y = YAxis(ys, chart.log_y);
  size_t widest = 0;
  for (const double tick : y.ticks) widest = std::max(widest, y.Label(tick).size());
  const Axis x = XAxis(xs, 14 + kDigitWidth * static_cast<double>(widest));
  std::string out = Legend(curves);
  out += Format("<svg viewBox=\"0 0 %g %g\" role=\"img\" aria-label=\"", kWidth, kHeight) +
         EscapeHtml(StrCat(chart.title, ": ", chart.y_label, " over ", chart.x_label)) + "\">\n" +
         Grid(chart, x, y);
  for (size_t i = 0; i < chart.series.size(); ++i) {
    if (chart.series[i].points.size() < kNoisyPoints) continue;
    out += Line(chart.series[i].points, x, y, i, "line raw");
  }
  for (size_t i = 0; i < curves.series.size(); ++i) {
    out += Line(curves.series[i].points, x, y, i,
                curves.series[i].reference ? "line reference" : "line");
  }
  for (size_t i = 0; i < curves.series.size(); ++i) {
    if (!curves.series[i].reference) out += Dots(curves.series[i], chart, x, y, i);
  }
  return out + "</svg>\n";
}

}  // namespace mariana
