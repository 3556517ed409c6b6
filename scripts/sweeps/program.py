"""The program that a sweep runs: its effective config, a trial's id and command, its metrics."""
import copy
import glob
import hashlib
import json
import os
import re
import subprocess

import yaml_file
from spec import executable

# Keys that do not make another model: they are no part of a trial's id.
BESIDE = ("name", "log", "model", "output", "export_path", "evaluate", "predict")
WITH_HORIZON = ("exponential", "cosine")

OUTCOMES = {0: "done", 64: "invalid", 65: "bad data", 73: "failed", 74: "disk", 75: "preempted",
            76: "diverged", 77: "lost"}


class Program:

    def __init__(self, spec):
        self.spec = spec
        self.path = executable(spec.program)

    def words(self, overrides):
        return [self.path, "--config", self.spec.config, *overrides]

    def effective(self, overrides):
        """(config, []), or (None, the program's own lines on what is wrong)."""
        done = subprocess.run([*self.words(overrides), "--print_config"], cwd=self.spec.folder,
                              capture_output=True, text=True, check=False)
        if done.returncode:
            prefix = self.spec.program + ": error: "
            return None, [line[len(prefix):] for line in done.stderr.splitlines()
                          if line.startswith(prefix)] or [done.stderr.strip()]
        return yaml_file.load(done.stdout), []

    def overrides(self, point):
        return self.spec.overrides + [axis.override(point[axis.key]) for axis in self.spec.axes]

    def check(self):
        """What the program says against the sweep's overrides and axes, each value of each axis
        once; and prune.max set from the config. Lines, none where all is well."""
        _, lines = self.effective(self.spec.overrides)
        if lines:
            return ["%s: %s" % (self.spec.path, line) for line in lines]
        first = {axis.key: axis.ends()[0] for axis in self.spec.axes}
        points = [first] + [{**first, axis.key: point} for axis in self.spec.axes
                            for point in axis.ends()[1:]]
        lines, config = {}, None
        for point in points:
            here, more = self.effective(self.overrides(point))
            config = config or here
            lines.update((self._located(line), None) for line in more)
        return list(lines) or self._budgets(config)

    def _located(self, line):
        """A line of the program's, with the axis' place in sweep.yaml for that of an override."""
        m = re.match(r'override "([^=]*)=.*?": (?=\1)', line)
        for axis in self.spec.axes:
            if m and m.group(1) == axis.key:
                return "%s: space: %s" % (axis.node.place, line[m.end():])
        return "%s: %s" % (self.spec.path, line)

    def _budgets(self, config):
        p, train = self.spec.prune, config["train"]
        if p.type == "none":
            return []
        key = self.budget_key()
        if any(axis.key in (key, "train") for axis in self.spec.axes):
            return ["%s: space.%s: is what `prune` sets" % (self.spec.path, key)]
        p.max = p.max or train[key.split(".")[1]]
        if p.max <= p.min:
            return ["%s: prune.max: is %d (that of the config where it is 0); must be above min, %d"
                    % (self.spec.path, p.max, p.min)]
        return []

    def budget_key(self):
        return "train.epochs" if self.spec.prune.unit == "epochs" else "train.max_steps"

    def budget_words(self, config, budget):
        """Overrides that end a run at a budget; the learning rate's horizon stays that of the
        whole training."""
        if self.spec.prune.type == "none":
            return []
        words = ["%s=%d" % (self.budget_key(), budget)]
        schedule = config["train"]["schedule"]
        if (self.spec.prune.unit == "epochs" and schedule["type"] in WITH_HORIZON and
                not schedule["horizon_epochs"]):
            words.append("train.schedule.horizon_epochs=%d" % self.spec.prune.max)
        return words

    def trial_id(self, config):
        """Ten digits of a hash over what makes the trial's model."""
        kept = copy.deepcopy({k: v for k, v in config.items() if k not in BESIDE})
        if self.spec.prune.type != "none":
            kept["train"].pop(self.budget_key().split(".")[1], None)
            kept["budget"] = self.spec.prune.max
        text = json.dumps([self.spec.program, kept], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:10]

    def command(self, overrides, run_dir):
        return [*self.words(overrides), "--run_dir=" + run_dir, "--resume", "--progress=plain"]


def outcome_of(code, log, run_dir):
    """(outcome, one line that says why) of an exit code; negative: killed by that signal."""
    if code == 0:
        return "done", ""
    error = ""
    try:
        with open(os.path.join(run_dir, "summary.json"), encoding="utf-8") as f:
            summary = json.load(f)
        if summary["exit_code"] == code:
            error = summary.get("error", "")
    except (OSError, ValueError, KeyError):
        pass
    tail = last_lines(log)
    error = error or (tail[-1] if tail else "")
    if any(re.search(r"out of memory|OUT_OF_MEMORY|bad_alloc", line) for line in [error] + tail):
        return "out of memory", error
    if code < 0 or code > 128:
        return "killed", "by signal %d" % (-code if code < 0 else code - 128)
    return OUTCOMES.get(code, "failed"), error


def last_lines(path, count=20):
    try:
        with open(path, "rb") as f:
            f.seek(max(0, os.path.getsize(path) - 8192))
            return f.read().decode(errors="replace").splitlines()[-count:]
    except OSError:
        return []


def read_metrics(run_dir):
    """The rows of metrics.jsonl; a torn last line is left out."""
    rows = []
    for path in glob.glob(os.path.join(glob.escape(run_dir), "metrics.jsonl")):
        with open(path, "rb") as f:
            for line in f:
                if line.endswith(b"\n"):
                    rows.append(json.loads(line))
    return rows


def curve(rows, metric):
    """[(epoch, samples, value)] of a metric, those that are numbers."""
    return [(r["epoch"], r["samples"], r[metric]) for r in rows if r.get(metric) is not None]
