#include "common/train/report_parts.h"

namespace mariana {

const char* ReportStyle() {
  return R"css(
:root {
  color-scheme: light dark;
  --page: #f6f7f9; --card: #ffffff; --text: #14181f; --soft: #5b6472; --faint: #8a93a1;
  --line: #e3e6eb; --grid: #eceef2; --axis: #b9c0ca; --accent: 37 99 235;
  --series-1: #2563eb; --series-2: #ea6a20; --series-3: #0f9d74; --series-4: #8b5cf6;
  --series-5: #d6336c; --series-6: #b7860b; --series-7: #0891b2; --series-8: #6b7280;
  --good: #0b7a4b; --good-back: #e2f5ec; --bad: #b42318; --bad-back: #fdeceb;
  --warn: #8f5b00; --warn-back: #fff3d9;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #0f1217; --card: #171b22; --text: #e8ebf0; --soft: #a2abb9; --faint: #77818f;
    --line: #272d37; --grid: #232933; --axis: #4a5360; --accent: 96 154 250;
    --series-1: #609afa; --series-2: #f59354; --series-3: #34c79a; --series-4: #a78bfa;
    --series-5: #f472a0; --series-6: #dcae3c; --series-7: #38c3dc; --series-8: #9aa3b0;
    --good: #5fd6a0; --good-back: #12322a; --bad: #ff9087; --bad-back: #3a1b1c;
    --warn: #f1c062; --warn-back: #35290f;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--text);
  font: 15px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "DejaVu Sans", sans-serif;
}
main { max-width: 1160px; margin: 0 auto; padding: 36px 24px 28px; }
header { margin-bottom: 24px; }
h1 { font-size: 27px; line-height: 1.2; font-weight: 650; letter-spacing: -.015em; margin: 0;
     display: inline; overflow-wrap: anywhere; }
header p { margin: 8px 0 0; color: var(--soft); }
h2 { font-size: 15px; font-weight: 620; margin: 0 0 12px; }
h2 small { font-weight: 400; font-size: 13px; color: var(--faint); margin-left: 8px; }
.status { display: inline-block; vertical-align: 4px; margin-left: 12px; padding: 2px 11px;
          border-radius: 99px; font-size: 13px; font-weight: 600;
          color: var(--warn); background: var(--warn-back); }
.status.done { color: var(--good); background: var(--good-back); }
.status.failed, .status.diverged { color: var(--bad); background: var(--bad-back); }
.error { margin: 0 0 20px; padding: 12px 16px; border-radius: 10px; color: var(--bad);
         background: var(--bad-back); white-space: pre-wrap; overflow-wrap: anywhere; }
.figures { display: grid; gap: 14px; margin-bottom: 18px;
           grid-template-columns: repeat(auto-fit, minmax(165px, 1fr)); }
.figure, section { background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.figure { padding: 14px 16px 13px; display: grid; grid-row: span 3; grid-template-rows: subgrid;
          row-gap: 1px; }
.figure span { font-size: 13px; line-height: 1.35; color: var(--soft); align-self: end; }
.figure strong { font-size: 23px; line-height: 1.4; font-weight: 640; letter-spacing: -.02em;
                 white-space: nowrap; font-variant-numeric: tabular-nums; }
.figure small { min-height: 1.4em; font-size: 12.5px; line-height: 1.4; color: var(--faint); }
.sections { display: grid; gap: 18px; grid-template-columns: repeat(2, minmax(0, 1fr)); }
section { padding: 18px 20px; min-width: 0; grid-column: 1 / -1; }
section.chart { grid-column: auto; }
section.chart.wide { grid-column: 1 / -1; }
section.chart.wide svg { max-width: 640px; }
@media (max-width: 800px) { .sections { grid-template-columns: minmax(0, 1fr); } }
.pictures { display: grid; gap: 14px 12px;
            grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); }
.pictures figure { margin: 0; min-width: 0; }
.pictures img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain;
                image-rendering: pixelated; background: var(--grid); border-radius: 8px; }
.pictures figcaption, .pictures small { display: block; white-space: nowrap; overflow: hidden;
                                        text-overflow: ellipsis; }
.pictures figcaption { margin-top: 5px; font-size: 13px; line-height: 1.35; font-weight: 550; }
.pictures small { font-size: 12px; line-height: 1.35; color: var(--faint); }
.pictures .good figcaption { color: var(--good); }
.pictures .bad figcaption { color: var(--bad); }
.legend { display: flex; flex-wrap: wrap; gap: 2px 18px; margin: -4px 0 8px; font-size: 13px;
          color: var(--soft); }
.legend b { color: var(--text); font-weight: 600; font-variant-numeric: tabular-nums; }
.legend i { display: inline-block; width: 11px; height: 11px; border-radius: 3px;
            margin-right: 7px; vertical-align: -1px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { font: 11.5px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif;
           fill: var(--faint); font-variant-numeric: tabular-nums; }
svg .label { fill: var(--soft); }
svg .grid { stroke: var(--grid); }
svg .axis { stroke: var(--axis); }
svg .line { fill: none; stroke-width: 1.9; stroke-linejoin: round; stroke-linecap: round; }
svg .reference { stroke: var(--axis); stroke-dasharray: 5 4; }
svg .raw { opacity: .26; stroke-width: 1.1; }
svg .target { fill: transparent; }
svg .hidden circle:nth-child(2) { opacity: 0; }
svg .dot:hover circle:nth-child(2) { opacity: 1; stroke: var(--card); stroke-width: 2; r: 5px; }
.scroll { overflow: auto; max-height: 640px; }
table { border-collapse: collapse; width: 100%; font-size: 13.5px;
        font-variant-numeric: tabular-nums; }
th { position: sticky; top: 0; background: var(--card); text-align: left; font-weight: 600;
     font-size: 12.5px; color: var(--soft); box-shadow: inset 0 -1px var(--line); }
th, td { padding: 7px 14px 7px 0; white-space: nowrap; }
th + th, td + td { padding-left: 14px; }
td:last-child, th:last-child { padding-right: 6px; }
td { border-bottom: 1px solid var(--grid); }
tr:last-child td { border-bottom: 0; }
tr.total td { font-weight: 640; border-top: 1px solid var(--axis); }
.number { text-align: right; }
.stack { display: flex; gap: 2px; height: 26px; border-radius: 7px; overflow: hidden;
         margin: 2px 0 14px; background: var(--grid); }
.stack div { min-width: 2px; }
.parts { display: grid; gap: 4px 32px; grid-template-columns: repeat(auto-fill, minmax(250px, 1fr));
         font-size: 13.5px; }
.parts div { display: flex; align-items: baseline; gap: 8px; }
.parts i { flex: none; width: 11px; height: 11px; border-radius: 3px; }
.parts span { flex: 1; color: var(--soft); }
.parts b { font-weight: 600; font-variant-numeric: tabular-nums; }
.parts small { min-width: 52px; text-align: right; color: var(--faint);
               font-variant-numeric: tabular-nums; }
.bars { display: grid; gap: 5px 14px; align-items: center; font-size: 13.5px;
        grid-template-columns: minmax(60px, max-content) minmax(0, 1fr) max-content; }
.bars span { color: var(--soft); overflow-wrap: anywhere; max-width: 22em; }
.bars div { height: 13px; border-radius: 4px; background: var(--grid); }
.bars i { display: block; height: 100%; border-radius: 4px; background: var(--series-1); }
.bars b { font-weight: 600; text-align: right; font-variant-numeric: tabular-nums; }
.confusion { width: auto; font-size: 12px; }
.confusion th, .confusion td { padding: 0 4px; height: 24px; min-width: 26px; text-align: center;
                               border: 1px solid var(--card); box-shadow: none; }
.confusion th { color: var(--soft); font-weight: 500; }
.confusion th:first-child { text-align: right; padding-right: 8px; }
.confusion td { background: var(--grid); }
.text { white-space: pre-line; color: var(--soft); margin: 0; max-width: 78ch; }
.empty { color: var(--faint); margin: 0; }
summary { cursor: pointer; font-weight: 620; }
summary small { font-weight: 400; color: var(--faint); margin-left: 8px; }
pre { margin: 12px 0 0; padding: 14px 16px; max-height: 560px; overflow: auto; border-radius: 9px;
      background: var(--page); font: 12.5px/1.55 ui-monospace, "SF Mono", Menlo, Consolas,
      "DejaVu Sans Mono", monospace; tab-size: 2; }
pre .comment { color: var(--faint); }
footer { margin: 22px 2px 0; font-size: 12.5px; color: var(--faint); }
@media print { body { background: #fff; } section, .figure { break-inside: avoid; } }
)css";
}

}  // namespace mariana
