"""The journal of a sweep, runs/sweep-NAME/journal.jsonl: one JSON object a line, appended and
synced before anything depends on it; all that a sweep knows follows from reading it again.

  {"event": "sweep", "identity": {...}}                what the sweep is about: first line
  {"event": "trial", "number", "id", "point", "bracket"}         a point was drawn
  {"event": "start", "number", "rung", "budget"}       training up to a budget began
  {"event": "end", "number", "rung", "outcome", "value", "code", "seconds", "samples", "error"}

A line that kill -9 or a full disk tore is cut off when the journal is opened."""
import dataclasses
import fcntl
import json
import os


class JournalError(Exception):
    pass


@dataclasses.dataclass
class Trial:
    number: int
    id: str
    point: dict
    bracket: int = 0
    rung: int = -1           # the highest one that was reached and measured
    value: float = None      # the best one so far, None without any
    values: dict = dataclasses.field(default_factory=dict)  # rung -> value there
    running: int = None      # the rung it was started for, and has not ended
    outcome: str = "waiting"
    error: str = ""
    twin: int = None         # number of the trial whose config this point has, too
    tries: dict = dataclasses.field(default_factory=dict)  # outcome -> ends so, since the last good
    seconds: float = 0
    samples: int = 0         # trained, over all starts
    ended: float = 0         # time of the last end

    @property
    def failed(self):
        return self.outcome not in ("waiting", "running", "done", "paused", "stopped",
                                    "twin")


class Journal:
    """Holds the folder's lock as long as it is open: one sweep at a time."""

    def __init__(self, folder):
        os.makedirs(folder, exist_ok=True)
        self.path = os.path.join(folder, "journal.jsonl")
        self._file = open(self.path, "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise JournalError("%s: another sweep is at work here" % folder) from None
        self._file.seek(0)
        data = self._file.read()
        whole = data.rfind(b"\n") + 1
        if whole < len(data):
            self._file.truncate(whole)
        try:
            self.events = [json.loads(line) for line in data[:whole].splitlines()]
        except ValueError as e:
            raise JournalError("%s: damaged: %s" % (self.path, e)) from None

    def add(self, event, **fields):
        entry = {"event": event, **fields}
        self._file.write(json.dumps(entry).encode() + b"\n")
        self._file.flush()
        os.fsync(self._file.fileno())
        self.events.append(entry)
        return entry


def read_events(folder):
    """The events of a sweep that may be running."""
    with open(os.path.join(folder, "journal.jsonl"), "rb") as f:
        data = f.read()
    return [json.loads(line) for line in data[:data.rfind(b"\n") + 1].splitlines()]


class State:
    """The trials, as the events tell. Feed it each event once, in order."""

    def __init__(self, better):
        self.better = better     # better(a, b): value a is better than b
        self.trials = []
        self.by_id = {}
        self.samples = 0         # trained in all
        self.history = []        # (samples by then, time, trial number, value) of each end

    def feed(self, e):
        if e["event"] == "trial":
            t = Trial(e["number"], e["id"], e["point"], e.get("bracket", 0))
            if t.id in self.by_id:
                t.twin, t.outcome = self.by_id[t.id].number, "twin"
            else:
                self.by_id[t.id] = t
            self.trials.append(t)
        elif e["event"] == "start":
            t = self.trials[e["number"]]
            t.running, t.outcome = e["rung"], "running"
        elif e["event"] == "end":
            self._end(self.trials[e["number"]], e)

    def _end(self, t, e):
        t.running, t.outcome, t.error = None, e["outcome"], e.get("error", "")
        t.seconds += e["seconds"]
        t.ended = e["time"]
        self.samples += max(0, e["samples"] - t.samples)
        t.samples = max(t.samples, e["samples"])
        if e["outcome"] in ("done", "paused"):
            t.rung, t.tries = e["rung"], {}
            t.values[t.rung] = t.value = e["value"]
            self.history.append((self.samples, e["time"], t.number, t.value))
        else:
            t.tries[t.outcome] = t.tries.get(t.outcome, 0) + 1

    def best(self):
        """The best trial; None as long as there is none."""
        best = None
        for t in self.trials:
            if t.value is not None and (best is None or self.better(t.value, best.value)):
                best = t
        return best
