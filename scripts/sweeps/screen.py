"""What a sweep shows while it runs: a table that is drawn again in place on a terminal, a line for
each event anywhere else."""
import os
import shutil
import sys
import time

import program as programs

REFRESH_SECONDS = 1


def number(v):
    return "-" if v is None else "%.5g" % v


def point_text(trial, axes, width=1000):
    """key=value of what differs between trials, without the keys' common beginnings."""
    text = "  ".join("%s=%s" % (axis.key.split(".")[-1], trial.point[axis.key])
                     for axis in axes)
    return text if len(text) <= width else text[:width - 1] + "…"


class Lines:
    """For log files."""

    def __init__(self, name="sweep"):
        self.name = name

    def say(self, text):
        print("%s: %s" % (self.name, text), flush=True)

    def started(self, runner, t):
        budget = runner.brackets.budget(t.bracket, t.running)
        to = "" if not budget else " to %d %s" % (budget, runner.spec.prune.unit)
        verb = "begins" if t.rung < 0 else "goes on"
        self.say("trial %d (%s) %s%s: %s" % (t.number, t.id, verb, to,
                                             point_text(t, runner.spec.axes)))

    def ended(self, runner, t):
        best = runner.state.best()
        text = "trial %d (%s) %s" % (t.number, t.id, t.outcome)
        if t.failed:
            text += ": " + t.error
        elif t.value is not None:
            text += ": %s %s" % (runner.spec.metric, number(t.value))
            if best is t:
                text += ", the best so far"
        self.say(text)

    def refresh(self, runner):
        pass

    def close(self, runner):
        pass


class Table(Lines):
    """For terminals."""

    def __init__(self, name="sweep"):
        super().__init__(name)
        self._lines, self._drawn, self._begun = 0, 0, time.monotonic()

    def say(self, text):
        self._erase()
        super().say(text)

    def started(self, runner, t):
        self.refresh(runner, now=True)

    def ended(self, runner, t):
        if t.failed:
            super().ended(runner, t)
        self.refresh(runner, now=True)

    def refresh(self, runner, now=False):
        if not now and time.monotonic() - self._drawn < REFRESH_SECONDS:
            return
        self._drawn = time.monotonic()
        size = shutil.get_terminal_size()
        lines = table(runner, size.columns, max(4, size.lines - 4), self._begun)
        self._erase()
        sys.stdout.write("\n".join(lines) + "\n")
        sys.stdout.flush()
        self._lines = len(lines)

    def close(self, runner):
        self.refresh(runner, now=True)
        self._lines = 0

    def _erase(self):
        if self._lines:
            sys.stdout.write("\x1b[%dA\x1b[J" % self._lines)
            self._lines = 0


def table(runner, width, height, begun):
    """The lines of the table: those running first, then the best ones."""
    trials = runner.state.trials
    best = runner.state.best()
    running = [t for t in trials if t.running is not None]
    rest = sorted((t for t in trials if t.running is None and t.twin is None),
                  key=lambda t: _order(runner, t))
    minutes, seconds = divmod(int(time.monotonic() - begun), 60)
    done = sum(t.running is None for t in trials)
    lines = ["%s: %d of %d trials, %d running, best %s %s, %d:%02d" % (
        runner.spec.name, done, runner.points.count(), len(running), runner.spec.metric,
        number(best.value if best else None), minutes, seconds)]
    lines.append("%5s  %-10s  %-13s  %9s  %11s  %s" % ("trial", "id", "state",
                                                       runner.spec.prune.unit, "value", "point"))
    for t in (running + rest)[:height - 2]:
        lines.append("%5d  %-10s  %-13s  %9s  %11s  %s" % (
            t.number, t.id, t.outcome, reached(runner, t), number(t.value) + (
                " *" if t is best else "  "), point_text(t, runner.spec.axes)))
    return [line[:width - 1] for line in lines]


def reached(runner, t):
    """Epochs (steps) trained so far."""
    rows = programs.read_metrics(runner.run_dir(t)) if t.running is not None else []
    if rows:
        return "%.3g" % rows[-1]["epoch"] if runner.spec.prune.unit == "epochs" else str(
            rows[-1]["step"])
    if t.rung < 0:
        return "-"
    return str(runner.brackets.budget(t.bracket, t.rung) or "all")


def _order(runner, t):
    if t.value is None:
        return (1, t.number)
    return (0, t.value if runner.better(0, 1) else -t.value)


def make(name="sweep"):
    plain = not sys.stdout.isatty() or os.environ.get("TERM", "dumb") == "dumb"
    return Lines(name) if plain else Table(name)
