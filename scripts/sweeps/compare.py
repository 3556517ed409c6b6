"""scripts/compare RUN RUN ...: run directories side by side: what their configs differ in, how they
ended, how fast they were; in text and as a page with curves."""
import argparse
import json
import os
import sys

import charts
import page
import program as programs
import screen
import yaml_file

UNSEEN = ("name", "output", "export_path", "model")  # differ without meaning


class Run:

    def __init__(self, folder):
        self.folder = folder
        self.name = os.path.basename(os.path.normpath(folder))
        with open(os.path.join(folder, "job.yaml"), encoding="utf-8") as f:
            self.config = flat(yaml_file.load(f.read()))
        try:
            with open(os.path.join(folder, "summary.json"), encoding="utf-8") as f:
                self.summary = json.load(f)
        except (OSError, ValueError):
            self.summary = {}  # it runs, or was killed
        self.rows = programs.read_metrics(folder)

    def status(self):
        return self.summary.get("status", "no summary: running or killed")


def flat(value, path=""):
    """{"net.layers.0.units": 512, ...}"""
    if isinstance(value, dict) and value:
        items = value.items()
    elif isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value):
        items = enumerate(value)
    else:
        return {path: value}
    out = {}
    for key, v in items:
        out.update(flat(v, "%s.%s" % (path, key) if path else str(key)))
    return out


def differences(runs):
    """[(key, [value of each run])] in the order of the configs; "-" where a run has no such key."""
    keys = dict.fromkeys(key for run in runs for key in run.config)
    out = []
    for key in keys:
        values = [yaml_file.flow(run.config[key]) if key in run.config else "-" for run in runs]
        if len(set(values)) > 1 and key.split(".")[0] not in UNSEEN:
            out.append((key, values))
    return out


def figures(runs):
    """[(name, [text of each run])]: how they ended and how fast they were."""
    def row(name, get):
        return name, [get(run.summary) for run in runs]

    def plain(key, form="%.5g"):
        return lambda s: form % s[key] if key in s else "-"

    def memory(s):
        return "%.0f MB" % (s["peak_memory_bytes"] / 1e6) if "peak_memory_bytes" in s else "-"
    out = [("status", [run.status() for run in runs]), row("steps", plain("steps", "%d")),
           row("samples/s", plain("samples_per_second")),
           row("wall seconds", plain("wall_seconds", "%.1f")), row("peak memory", memory)]
    for part in ("best", "final"):
        names = dict.fromkeys(n for run in runs for n in run.summary.get(part, {}))
        for name in names:
            out.append(row("%s %s" % (part, name),
                           lambda s, p=part, n=name: number(s.get(p, {}).get(n))))
    stages = dict.fromkeys(n for run in runs for n in run.summary.get("stage_seconds", {}))
    for stage in stages:
        out.append(row("seconds: " + stage,
                       lambda s, n=stage: number(s.get("stage_seconds", {}).get(n))))
    return out


def number(v):
    return screen.number(v) if isinstance(v, (int, float)) or v is None else str(v)


def shown_metrics(runs, asked):
    """Metrics that runs have, held-out ones first, without those of the clock."""
    names = dict.fromkeys(n for run in runs for row in run.rows for n in row if "/" in n)
    if asked:
        return [asked] if asked in names else []
    names = [n for n in names if not n.endswith("seconds") and not n.endswith("per_second")]
    return sorted(names, key=lambda n: (n.startswith("train/"), list(names).index(n)))[:6]


def print_text(runs, differing, ended):
    head = ["", *(run.name for run in runs)]
    blocks = [[head] + [[key, *values] for key, values in ended],
              [head] + [[key, *values] for key, values in differing]]
    for title, rows in zip(("results", "config: what differs"), blocks):
        widths = [min(60, max(len(row[i]) for row in rows)) for i in range(len(head))]
        print(title if len(rows) > 1 else title + ": nothing")
        for row in rows if len(rows) > 1 else []:
            print("  " + "  ".join(cell[:60].ljust(w) for cell, w in zip(row, widths)).rstrip())


def write_page(path, runs, differing, ended, metrics):
    names = [run.name for run in runs]
    sections = [page.section("Results", page.table(["", *names],
                                                   [[key, *values] for key, values in ended]))]
    for metric in metrics:
        series = [(run.name, "line", page.colour(i),
                   [(e, v) for e, _, v in programs.curve(run.rows, metric)])
                  for i, run in enumerate(runs)]
        sections.append(page.section(metric, page.legend(names) + charts.lines(
            [s for s in series if s[3]], "epochs"), "by epoch", "chart"))
    sections.append(page.section("Config: what differs", page.table(
        ["key", *names], [[key, *[("point", v) for v in values]] for key, values in differing])
        if differing else "<p class=empty>Nothing.</p>"))
    page.write(path, " and ".join(names) if len(names) < 4 else "%d runs" % len(names),
               ("done", "%d runs" % len(runs)), "Compared side by side", [], sections,
               ", ".join(os.path.abspath(run.folder) for run in runs))


def fail(line):
    print("compare: error: " + line, file=sys.stderr)
    return 64


def main():
    parser = argparse.ArgumentParser(prog="scripts/compare", add_help=False)
    parser.add_argument("runs", nargs="+")
    parser.add_argument("--metric", default="")
    parser.add_argument("--html", default="compare.html")
    parser.error = lambda message: sys.exit(fail(message + "; see scripts/compare --help"))
    options = parser.parse_args()
    bad = [folder for folder in options.runs
           if not os.path.isfile(os.path.join(folder, "job.yaml"))]
    if bad:
        return [fail("%s: holds no run (no job.yaml)" % folder) for folder in bad][0]
    runs = [Run(folder) for folder in options.runs]
    if len({run.name for run in runs}) < len(runs):
        for run in runs:
            run.name = run.folder
    metrics = shown_metrics(runs, options.metric)
    if options.metric and not metrics:
        return fail("--metric: no run has %s; there are %s" % (
            options.metric, ", ".join(shown_metrics(runs, ""))))
    differing, ended = differences(runs), figures(runs)
    print_text(runs, differing, ended)
    write_page(options.html, runs, differing, ended, metrics)
    print("page: " + options.html)
    return 0


if __name__ == "__main__":
    sys.exit(main())
