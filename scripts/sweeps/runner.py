"""The loop of a sweep: starts trials while slots are free, and notes what became of them."""
import os
import signal
import time

import program as programs
from brackets import Brackets
from journal import Journal, State

POLL_SECONDS = 0.02
FAILURES_IN_A_ROW = 5  # at the start of a sweep: something is wrong with all of it


class Stop(Exception):
    """The sweep cannot go on; code: of the process."""

    def __init__(self, line, code):
        super().__init__(line)
        self.code = code


def better_of(goal):
    return (lambda a, b: a < b) if goal == "minimise" else (lambda a, b: a > b)


class Runner:
    """show: told each event (a screen.*)."""

    def __init__(self, spec, program, points, back_end, folder, show):
        self.spec, self.program, self.points, self.back_end = spec, program, points, back_end
        self.folder, self.show = folder, show
        self.better = better_of(spec.goal)
        self.brackets = Brackets(spec.prune, self.better)
        self.journal = Journal(folder)
        self.state = State(self.better)
        self.configs = {}
        self.stopping = 0
        self._check_identity()
        for event in self.journal.events:
            self.state.feed(event)
        self.left_over = [t for t in self.state.trials if t.running is not None]

    def _check_identity(self):
        s = self.spec
        identity = {"program": s.program, "config": s.config, "metric": s.metric, "goal": s.goal,
                    "overrides": s.overrides, "space": [axis.describe() for axis in s.axes],
                    "search": [s.search.type, s.search.seed], "prune": vars(s.prune)}
        if not self.journal.events:
            self.journal.add("sweep", identity=identity)
        before = self.journal.events[0]["identity"]
        for key, value in identity.items():
            if before[key] != value:
                raise Stop("%s: %s is not what %s was begun with; another `name:` begins anew" % (
                    s.path, key, self.folder), 64)

    def note(self, event, **fields):
        self.state.feed(self.journal.add(event, time=time.time(), **fields))

    def run_dir(self, trial):
        return os.path.join(self.folder, "trials", trial.id)

    def log(self, trial):
        return os.path.join(self.folder, "trials", trial.id + ".log")

    def run(self):
        """Until all trials are done; raises Stop when interrupted (75) or hopeless."""
        os.makedirs(os.path.join(self.folder, "trials"), exist_ok=True)
        handlers = {s: signal.signal(s, self._interrupt)
                    for s in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
        try:
            while True:
                if not self.stopping:
                    self._fill()
                if not self.back_end.running():
                    break
                time.sleep(POLL_SECONDS)
                for number, code, seconds in self.back_end.poll():
                    self._ended(self.state.trials[number], code, seconds)
                self.show.refresh(self)
        finally:
            if self.back_end.running():
                self.back_end.stop()
                while self.back_end.running():
                    time.sleep(POLL_SECONDS)
                    self.back_end.poll()
            for s, handler in handlers.items():
                signal.signal(s, handler)
        if self.stopping:
            raise Stop("stopped; the same command goes on from there", 75)

    def _interrupt(self, *_):
        self.stopping += 1
        if self.stopping <= 2:
            self.show.say("stopping: trials save first" if self.stopping == 1 else "killing them")
        self.back_end.stop(again=self.stopping > 1)

    def _fill(self):
        while self.back_end.free():
            job = self._next()
            if job is None:
                return
            self._start(*job)

    def _next(self):
        """(trial, rung) to train, None when nothing is left, or not until a running one ends."""
        if self.left_over:
            t = self.left_over.pop(0)
            return t, t.running
        for t in self.state.trials:
            if self._wants_retry(t):
                return t, t.rung + 1
        t = self.brackets.promotable(self.state.trials)
        if t:
            return t, t.rung + 1
        while len(self.state.trials) < self.points.count():
            t = self._draw()
            if t.outcome == "waiting":
                return t, 0
        return self._unfinished_best()

    def _unfinished_best(self):
        """With few trials none may come to the top: the best one is trained to the end."""
        if self.back_end.running() or any(t.outcome == "done" for t in self.state.trials):
            return None
        best = self.state.best()
        return (best, best.rung + 1) if best and best.outcome == "paused" else None

    def _wants_retry(self, t):
        if t.outcome in ("waiting", "stopped"):
            return True
        limit = getattr(self.spec.retry, t.outcome.replace(" ", "_"), 0)
        return 0 < t.tries.get(t.outcome, 0) <= limit

    def _draw(self):
        """A trial more: a point not tried yet, if one is found."""
        number = len(self.state.trials)
        for attempt in range(20):
            point = self.points.next(self.state.trials, attempt)
            config, lines = self.program.effective(self.program.overrides(point))
            identity = self.program.trial_id(config) if config else "invalid-%d" % number
            if identity not in self.state.by_id:
                break
        self.note("trial", number=number, id=identity, point=point,
                  bracket=self.brackets.bracket_of(self.spec.search.seed, number))
        self.configs[number] = config
        t = self.state.trials[number]
        if lines:
            self.note("end", number=number, rung=0, outcome="invalid", value=None, code=64,
                      seconds=0, samples=0, error=lines[0])
            self.show.ended(self, t)
        elif t.twin is not None:
            self.show.say("trial %d is trial %d again" % (number, t.twin))
        return t

    def config_of(self, trial):
        if trial.number not in self.configs:
            self.configs[trial.number], _ = self.program.effective(
                self.program.overrides(trial.point))
        return self.configs[trial.number]

    def words_of(self, trial, rung):
        """The overrides that train a trial to a rung."""
        budget = self.brackets.budget(trial.bracket, rung)
        return self.program.overrides(trial.point) + self.program.budget_words(
            self.config_of(trial), budget)

    def _start(self, t, rung):
        self.note("start", number=t.number, rung=rung,
                  budget=self.brackets.budget(t.bracket, rung))
        self.show.started(self, t)
        self.back_end.start(t.number, self.program.command(self.words_of(t, rung),
                                                           self.run_dir(t)),
                            self.spec.folder, self.log(t), self.run_dir(t))

    def _ended(self, t, code, seconds):
        outcome, error = programs.outcome_of(code, self.log(t), self.run_dir(t))
        rows = programs.read_metrics(self.run_dir(t))
        value = None
        if outcome == "done":
            value = self._value(t, rows)
            if not self.brackets.is_top(t.bracket, t.running):
                outcome = "paused"
        elif self.stopping and outcome in ("preempted", "killed"):
            outcome = "stopped"
        self.note("end", number=t.number, rung=t.running, outcome=outcome, value=value, code=code,
                  seconds=round(seconds, 3), samples=rows[-1]["samples"] if rows else 0,
                  error=error)
        self.show.ended(self, t)
        if outcome == "disk":
            raise Stop("%s; make room and run the same command again" % error, 74)
        failed = [t for t in self.state.trials if t.failed]
        if len(failed) >= FAILURES_IN_A_ROW and not any(
                t.values or t.outcome == "diverged" for t in self.state.trials):
            raise Stop("the first %d trials failed; the last: %s (%s)" % (
                len(failed), error, self.log(t)), 70)

    def _value(self, t, rows):
        values = [v for _, _, v in programs.curve(rows, self.spec.metric)]
        if not values:
            names = sorted({name for row in rows for name in row if "/" in name})
            raise Stop("%s: metric: no %s in %s/metrics.jsonl; there are %s" % (
                self.spec.path, self.spec.metric, self.run_dir(t), ", ".join(names)), 64)
        best = values[0]
        for v in values:
            best = v if self.better(v, best) else best
        return best
