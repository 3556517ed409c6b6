"""report.html of a sweep: the best so far, every trial's curve, parallel coordinates, what matters,
all trials, and the command that repeats the best."""
import os
import shlex
import time

import charts
import page
import program as programs
from screen import number, point_text


def repeat_command(runner, t):
    """What trains a trial again, alone."""
    words = [runner.spec.program, "--config", os.path.relpath(runner.spec.config,
                                                              runner.spec.folder),
             *runner.words_of(t, t.rung if t.rung >= 0 else 0)]
    return words + ["--run_dir=" + os.path.join(runner.folder, "best-again")]


def write(runner):
    spec, state = runner.spec, runner.state
    curves = {t.number: programs.curve(programs.read_metrics(runner.run_dir(t)), spec.metric)
              for t in state.trials if t.twin is None}
    ranked = sorted((t for t in state.trials if t.value is not None),
                    key=lambda t: t.value if spec.goal == "minimise" else -t.value)
    best = ranked[0] if ranked else None
    complete = (len(state.trials) == runner.points.count() and
                not any(t.running is not None or t.outcome == "stopped" for t in state.trials))
    sections = [
        page.section("Best so far", _best_so_far(runner), "by samples trained, all trials",
                     "chart"),
        page.section("Every trial", _curves(runner, ranked, curves), spec.metric + " by epoch",
                     "chart")]
    if ranked:
        sections.append(page.section("Where good trials lie", _parallel(runner, ranked),
                                     "a line each; blue is good"))
        sections.append(_importance(runner))
        sections.append(page.section(
            "The best again", "<pre class=command>cd %s\n%s</pre>" % (
                page.escape(shlex.quote(spec.folder)),
                page.escape(shlex.join(repeat_command(runner, best)))),
            "its model: " + os.path.join(runner.run_dir(best), "best")))
    sections.append(page.section("Trials", _table(runner, ranked)))
    with open(spec.path, encoding="utf-8") as f:
        sections.append(page.folded(os.path.basename(spec.path),
                                    "<pre>%s</pre>" % page.escape(f.read())))
    path = os.path.join(runner.folder, "report.html")
    page.write(path, spec.name, ("done", "done") if complete else ("", "unfinished"),
               "Sweep of %s over %s" % (spec.program, ", ".join(a.key for a in spec.axes)),
               _figures(runner, best, curves), sections,
               "Written %s from %s" % (time.strftime("%Y-%m-%d %H:%M"), runner.journal.path))
    return path


def _figures(runner, best, curves):
    spec, trials = runner.spec, runner.state.trials
    seconds = sum(t.seconds for t in trials)
    ends = [e for e in runner.journal.events if e["event"] == "end"]
    epochs = sum(c[-1][0] for c in curves.values() if c)
    pruned = sum(t.outcome == "paused" for t in trials)
    failed = sum(t.failed for t in trials)
    figures = [page.figure("best " + spec.metric, number(best.value if best else None),
                           "trial %d (%s)" % (best.number, best.id) if best else ""),
               page.figure("trials", "%d of %d" % (len(trials), runner.points.count()),
                           "%d stopped early, %d failed" % (pruned, failed))]
    if spec.prune.type != "none":
        whole = spec.prune.max * sum(t.twin is None for t in trials)
        unit = spec.prune.unit
        trained = epochs if unit == "epochs" else sum(
            runner.brackets.budget(t.bracket, t.rung) for t in trials if t.rung >= 0)
        figures.append(page.figure(unit + " trained", "%.4g" % trained,
                                   "%d without stopping any" % whole))
    figures.append(page.figure("training time", "%.0f s" % seconds if seconds < 600 else
                               "%.1f min" % (seconds / 60), "over %d starts" % len(ends)))
    return figures


def _best_so_far(runner):
    stair, dots = [], []
    axes = runner.spec.axes
    for samples, _, n, value in runner.state.history:
        dots.append((samples, value, "trial %d: %s  %s" % (
            n, number(value), point_text(runner.state.trials[n], axes))))
        if not stair or runner.better(value, stair[-1][1]):
            stair.append((samples, value))
    clip = _clip([d[1] for d in dots], runner)
    dots = [(x, min(y, clip), title) for x, y, title in dots]
    return charts.steps([(x, min(y, clip)) for x, y in stair], dots, "samples", page.colour(0))


def _clip(values, runner):
    """Values far worse than most are drawn at the edge: one diverged trial must not flatten all."""
    if runner.spec.goal != "minimise" or len(values) < 5:
        return float("inf")
    ordered = sorted(values)
    middle, low = ordered[len(ordered) // 2], ordered[0]
    return max(ordered[int(len(ordered) * 0.75)], middle + 2 * (middle - low))


def _goodness(ranked):
    return {t.number: i / max(1, len(ranked) - 1) for i, t in enumerate(ranked)}


def _curves(runner, ranked, curves):
    place = _goodness(ranked)
    series = []
    for t in reversed(ranked):  # the best on top
        points = [(epoch, value) for epoch, _, value in curves[t.number]]
        kind = "curve best" if t is ranked[0] else "curve"
        series.append(("trial %d: %s  %s" % (t.number, number(t.value),
                                             point_text(t, runner.spec.axes)),
                       kind, charts.heat(place[t.number]), points))
    clip = _clip([p[1] for s in series for p in s[3]], runner)
    return charts.lines(series, "epochs", clip=clip)


def _parallel(runner, ranked):
    axes, columns = runner.spec.axes, []
    for axis in axes:
        if axis.is_range:
            marks = [(0, charts.short(axis.low)), (1, charts.short(axis.high))]
        else:
            marks = [(axis.share(name), name if len(name) < 18 else name[:17] + "…")
                     for name in axis.names]
        columns.append((_short_keys(axes)[axis.key], marks))
    best, worst = ranked[0].value, ranked[-1].value
    columns.append((runner.spec.metric, [(0, charts.short(worst)), (1, charts.short(best))]))
    place = _goodness(ranked)
    rows = []
    for t in reversed(ranked):
        shares = [_spread(axis, axis.share(t.point[axis.key]), t.number) for axis in axes]
        shares.append(1 - place[t.number])
        rows.append((shares, "best" if t is ranked[0] else "", place[t.number],
                     "trial %d: %s" % (t.number, number(t.value))))
    return charts.parallel(columns, rows)


def _spread(axis, share, trial):
    """Choices a little apart, so that lines of several trials do not hide each other."""
    return share if axis.is_range else share + 0.05 * ((trial * 0.618) % 1 - 0.5)


def _short_keys(axes):
    """The shortest ends of the keys that tell them apart."""
    out = {}
    for axis in axes:
        parts = axis.key.split(".")
        for n in range(1, len(parts) + 1):
            end = parts[-n:]
            alone = sum(a.key.split(".")[-n:] == end for a in axes) == 1
            if alone and end[0] != "type" and not end[0].isdigit():
                break
        out[axis.key] = ".".join(end)
    return out


def _importance(runner):
    shares = runner.points.importance(runner.state.trials)
    if not shares:
        body = "<p class=empty>Needs two axes and at least eight trials.</p>"
    else:
        body = page.bars(sorted(shares.items(), key=lambda item: -item[1]))
    return page.section("What matters", body, "share of what separates good trials from the rest "
                        "(PED-ANOVA, at the first rung)")


def _table(runner, ranked):
    trials = runner.state.trials
    rest = [t for t in trials if t.value is None]
    unit = runner.spec.prune.unit
    rows, names = [], {"paused": "stopped early"}
    for t in ranked + rest:
        outcome = names.get(t.outcome, t.outcome)
        if t.twin is not None:
            outcome = "same as trial %d" % t.twin
        elif t.failed and t.error:
            outcome += ": " + t.error
        budget = runner.brackets.budget(t.bracket, t.rung) if t.rung >= 0 else None
        rows.append([str(t.number), t.id, number(t.value), str(budget or "-"),
                     "%.1f s" % t.seconds, ("point", outcome),
                     *[("point" if not a.is_range else "", str(t.point[a.key]))
                       for a in runner.spec.axes]])
    short = _short_keys(runner.spec.axes)
    head = ["trial", "id", runner.spec.metric, unit, "time", "outcome",
            *[short[a.key] for a in runner.spec.axes]]
    return page.table(head, rows, {0, 2, 3, 4}, {0: "best"} if ranked else {})
