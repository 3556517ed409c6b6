"""Vowpal Wabbit and xLearn for scripts/bench/ctr: their CPU time an example, of all their threads,
and their scores. Each measurement is a process of its own."""
import os
import subprocess
import sys

import beside

VW = "import sys, vowpalwabbit as v; w = v.Workspace(sys.argv[1]); w.finish()"
XLEARN = """
import sys, xlearn
kind, train, test, out, epochs = sys.argv[1:]
model = {"linear": xlearn.create_linear, "fm": xlearn.create_fm, "ffm": xlearn.create_ffm}[kind]()
model.setTrain(train)
model.setQuiet()
model.disableEarlyStop()
model.fit({"task": "binary", "lr": 0.2, "lambda": 0.00002, "k": 4, "epoch": int(epochs),
           "nthread": 1}, out + ".model")
if test:
    model.setTest(test)
    model.setSigmoid()
    model.predict(out + ".model", out)
"""


def with_user():
    """The environment with USER in it, which xLearn wants when it is built and names its log after.
    For it alone: Bazel keeps a tree of outputs for each user."""
    return {"USER": "nobody", **os.environ}


def cpu_of(command, **kwargs):
    """CPU seconds of a command and of all its processes."""
    with subprocess.Popen(command, cwd=beside.ROOT, stdout=subprocess.DEVNULL,
                          stderr=subprocess.PIPE, **kwargs) as process:
        errors = process.stderr.read()
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode != 0:
        sys.stderr.write(errors.decode(errors="replace"))
        raise subprocess.CalledProcessError(process.returncode, command)
    return usage.ru_utime + usage.ru_stime


def auc(labels, scores):
    """Ties count half."""
    pairs = sorted(zip(scores, labels))
    clicks = sum(labels)
    ranks, at = 0.0, 0
    while at < len(pairs):
        end = at
        while end < len(pairs) and pairs[end][0] == pairs[at][0]:
            end += 1
        ranks += (at + end + 1) / 2 * sum(label for _, label in pairs[at:end])
        at = end
    return (ranks - clicks * (clicks + 1) / 2) / (clicks * (len(pairs) - clicks))


def labels_of(path):
    with open(path, "rb") as lines:
        return [int(line[:1] == b"1") for line in lines]


def numbers_of(path):
    with open(path) as lines:
        return [float(line.split()[0]) for line in lines]


class Vw:
    """Logistic regression as VW does it by default: adaptive, normalised, invariant steps."""

    def __init__(self, train, test, bits, scratch):
        self.train, self.test, self.scratch = train, test, scratch
        self.options = "--quiet --loss_function logistic -b %d " % bits
        self.start = min(self.run("") for _ in range(2))
        self.cache = os.path.join(scratch, "vw.cache")

    def run(self, arguments):
        return cpu_of([beside.PYTHON, "-c", VW, self.options + arguments],
                      stdin=subprocess.DEVNULL)

    def text(self):
        """CPU seconds of a pass over the text."""
        return self.run("-d " + self.train) - self.start

    def cached(self):
        """CPU seconds of a pass over VW's cache."""
        if not os.path.exists(self.cache):
            self.run("-d %s --cache_file %s" % (self.train, self.cache))
        return self.run("-d %s --cache_file %s" % (self.train, self.cache)) - self.start

    def auc(self):
        model, scores = (os.path.join(self.scratch, name) for name in ("vw.model", "vw.scores"))
        self.run("-d %s -f %s" % (self.train, model))
        self.run("-t -d %s -i %s -p %s" % (self.test, model, scores))
        return auc(labels_of(self.test), numbers_of(scores))


class Xlearn:
    """kind: linear, fm or ffm, of size 4. It keeps all rows in memory, parsed once."""

    def __init__(self, kind, train, test, scratch):
        self.kind, self.train, self.test, self.scratch = kind, train, test, scratch

    def run(self, epochs, test=""):
        out = os.path.join(self.scratch, "xlearn." + self.kind)
        return cpu_of([beside.PYTHON, "-c", XLEARN, self.kind, self.train, test, out, str(epochs)],
                      env=with_user())

    def epoch(self, epochs):
        """CPU seconds of an epoch over the rows in memory."""
        return (self.run(1 + epochs) - self.run(1)) / epochs

    def auc(self, epochs):
        self.run(epochs, self.test)
        return auc(labels_of(self.test), numbers_of(os.path.join(self.scratch,
                                                                 "xlearn." + self.kind)))
