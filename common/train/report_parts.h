// The pieces RenderReport is made of. Pure functions; thread-safe.
#pragma once

#include <string>
#include <vector>

#include "common/train/report.h"

namespace mariana {

// Text that is safe between tags and inside quoted attributes.
std::string EscapeHtml(const std::string& text);

// A number for people: 1,234 or 0.0123 or 1.5e-07, at most `digits` significant digits, all of
// an integer's.
std::string ReadableNumber(double value, int digits = 4);

// Ticks at round values covering [low, high]; about `count` of them. For a log axis both must be
// positive, and ticks are 1, 2 or 5 times powers of ten.
std::vector<double> LinearTicks(double low, double high, int count);
std::vector<double> LogTicks(double low, double high, int count);

// The chart as <svg>, with its legend before it.
std::string RenderLineChart(const LineChart& chart);

// The index-th series colour as a CSS value; eight, then again from the first.
std::string SeriesColor(size_t index);

const char* ReportStyle();  // the page's CSS

}  // namespace mariana
