#include "common/train/report.h"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "common/train/report_parts.h"
#include "common/train/report_picture.h"

namespace mariana {
namespace {

size_t Count(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

Report Whole(const std::string& text) {
  Report r;
  r.title = r.subtitle = r.status = r.error = text;
  r.figures = {{text, text, text}};
  r.sections = {LineChart{text, text, text, {{text, {{0, 1}, {1, 2}}}}},
                ReportTable{text, {text}, {{text}}, true},
                StackedBar{text, text, {{text, 1}}},
                BarList{text, text, {{text, 1}}},
                ConfusionMatrix{text, {text}, {{3}}},
                PictureGrid{text, text, {{text, text, text, ReportPicture::kBad}}},
                ReportText{text, text},
                Preformatted{text, text}};
  return r;
}

TEST_CASE("Every text is escaped, and the page needs nothing from elsewhere") {
  const std::string page = RenderReport(Whole("<b>\"x\" & 'y'</b>"));
  CHECK(Count(page, "<b>\"x\"") == 0);
  CHECK(Count(page, "&lt;b&gt;&quot;x&quot; &amp; &#39;y&#39;&lt;/b&gt;") >= 15);
  for (const char* outside :
       {"<script", "http:", "https:", "@import", "url(", "<link", "src=\"<"}) {
    CHECK(Count(page, outside) == 0);
  }
  for (const char* tag :
       {"section", "table", "svg", "div", "main", "pre", "details", "span", "g"}) {
    INFO(tag);
    const std::string open = std::string("<") + tag;
    CHECK(Count(page, open + ">") + Count(page, open + " ") ==
          Count(page, std::string("</") + tag + ">"));
  }
}

TEST_CASE("Numbers are readable") {
  CHECK(ReadableNumber(0) == "0");
  CHECK(ReadableNumber(-0.0) == "0");
  CHECK(ReadableNumber(1234567) == "1,234,567");
  CHECK(ReadableNumber(-1234.56) == "-1,235");
  CHECK(ReadableNumber(-123) == "-123");
  CHECK(ReadableNumber(12.3456) == "12.35");
  CHECK(ReadableNumber(0.5) == "0.5");
  CHECK(ReadableNumber(0.0123456) == "0.01235");
  CHECK(ReadableNumber(1.5e-7) == "1.5e-07");
  CHECK(ReadableNumber(1e20) == "1e+20");
  CHECK(ReadableNumber(std::nan("")) == "NaN");
  CHECK(ReadableNumber(-HUGE_VAL) == "-Inf");
}

TEST_CASE("Ticks are round and cover the range") {
  CHECK(LinearTicks(0, 4, 5) == std::vector<double>{0, 1, 2, 3, 4});
  CHECK(LinearTicks(0.5, 9.5, 5) == std::vector<double>{0, 2, 4, 6, 8, 10});
  CHECK(LogTicks(0.001, 100, 6).size() == 6);
  for (const double low : {1e-9, 0.003, 1.0, 7.0, 4e8}) {
    for (const double times : {1.001, 1.5, 30.0, 1e6}) {
      for (const auto& ticks : {LinearTicks(low, low * times, 5), LogTicks(low, low * times, 6)}) {
        INFO(low << " " << times);
        REQUIRE(ticks.size() >= 2);
        CHECK(ticks.size() <= 16);
        CHECK(ticks.front() <= low * 1.0001);
        CHECK(ticks.back() >= low * times * 0.9999);
      }
    }
  }
}

TEST_CASE("A chart draws a line for each series, with hover titles and the last values") {
  LineChart chart{"Loss", "step", "per frame", {{"training", {}}, {"held out", {}}}};
  for (int i = 0; i < 5000; ++i) chart.series[0].points.push_back({i, 1 + std::exp(-i / 500.0)});
  chart.series[1].points = {{1000, 1.5}, {2000, std::nan("")}, {3000, 1.25}};
  const std::string svg = RenderLineChart(chart);
  CHECK(Count(svg, "class=\"line\"") == 2);
  CHECK(Count(svg, "class=\"line raw\"") == 1);  // the long one, under its average
  CHECK(Count(svg, "<title>held out\nstep 3,000: 1.25</title>") == 1);
  CHECK(Count(svg, "held out <b>1.25</b>") == 1);
  CHECK(svg.size() < 60'000);
}

TEST_CASE("A line to compare with is dashed and has no last value") {
  LineChart chart{"Calibration", "predicted", "actual", {{"model", {{0, 0.1}, {1, 0.75}}}}};
  chart.series.push_back({"ideal", {{0, 0}, {1, 0.5}}, true});
  const std::string svg = RenderLineChart(chart);
  CHECK(Count(svg, "class=\"line reference\"") == 1);
  CHECK(Count(svg, "model <b>0.75</b>") == 1);
  CHECK(Count(svg, "ideal</span>") == 1);
  CHECK(Count(svg, "<title>ideal") == 0);
}

TEST_CASE("Bars are to the scale of the longest; what is below zero has none") {
  Report report;
  report.sections = {BarList{"Importance", "note", {{"a", 0.2}, {"b", 0.05}, {"c", -0.01}}}};
  const std::string page = RenderReport(report);
  CHECK(Count(page, "width:100%") >= 1);
  CHECK(Count(page, "width:25%") == 1);
  CHECK(Count(page, "width:0%") == 1);
  CHECK(Count(page, "<b>-0.01</b>") == 1);
}

TEST_CASE("Charts of odd values are drawn without a NaN") {
  const double big = std::numeric_limits<double>::max();
  const double tiny = std::numeric_limits<double>::denorm_min();
  const std::vector<std::vector<std::pair<double, double>>> odd = {
      {},
      {{1, 1}},
      {{0, 0}, {0, 0}},
      {{1, std::nan("")}},
      {{0, -big}, {1, big}},
      {{0, tiny}, {1, 1}},
      {{0, 1e15}, {1, 1e15 + 1}},
      {{0, -1}, {1, HUGE_VAL}, {2, 1e50}},
      {{-big, 1}, {big, 2}, {1, 3}}};
  for (const auto& points : odd) {
    for (const bool log_y : {false, true}) {
      const std::string svg = RenderLineChart({"t", "x", "y", {{"s", points}, {"e", {}}}, log_y});
      CHECK(Count(svg, "nan") + Count(svg, "inf") == 0);
      CHECK_FALSE(svg.empty());
    }
  }
}

TEST_CASE("Tables set numbers flush right and names left") {
  const ReportTable table{"Layers",
                          {"layer", "output", "time"},
                          {{"hidden1", "512", "1.3 ms"}, {"total", "", "-"}},
                          true};
  Report report;
  report.sections = {table};
  const std::string page = RenderReport(report);
  CHECK(Count(page,
              "<td>hidden1</td><td class=\"number\">512</td><td class=\"number\">1.3 ms</td>") ==
        1);
  CHECK(Count(page, "<tr class=\"total\">") == 1);
}

TEST_CASE("Pictures are inside the page, each with its caption and mark") {
  Report report;
  report.sections = {PictureGrid{"Samples",
                                 "of ten",
                                 {{PngUri({0x89, 'P'}), "cat", "dog", ReportPicture::kBad},
                                  {PngUri({1, 2, 3}), "owl", "owl", ReportPicture::kGood}}}};
  const std::string page = RenderReport(report);
  CHECK(Count(page, "<figure class=\"bad\"><img alt=\"cat\" src=\"data:image/png;base64,iVA=\">") ==
        1);
  CHECK(Count(page, "src=\"data:image/png;base64,AQID\"") == 1);
  CHECK(Count(page, "<figure class=\"good\">") == 1);
}

TEST_CASE("Base64 pads to whole groups") {
  const auto of = [](const std::string& text) {
    return Base64(std::vector<uint8_t>(text.begin(), text.end()));
  };
  CHECK(of("") == "");
  CHECK(of("f") == "Zg==");
  CHECK(of("fo") == "Zm8=");
  CHECK(of("foo") == "Zm9v");
  CHECK(of("\xff\xfe\xfd") == "//79");
}

}  // namespace
}  // namespace mariana
