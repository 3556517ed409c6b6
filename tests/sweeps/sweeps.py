"""What the tests of sweeps share: starting scripts/sweep's Python under its own environment, in a
scratch folder with a program in $MARIANA_BIN."""
import glob
import json
import os
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
SWEEPS = os.path.join(ROOT, "scripts", "sweeps")
# Of the repository, whose runfiles are links into it.
PYTHON = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))),
                      ".venv-sweep", "bin", "python3")
TIMEOUT = 240


def under_its_environment():
    """Starts the test again under .venv-sweep, where it can import the sweep's own modules."""
    if not os.path.exists(PYTHON):
        sys.exit("no %s: run scripts/setup --sweep" % PYTHON)
    if os.environ.get("SWEEP_TEST_PYTHON") != PYTHON:
        os.environ["SWEEP_TEST_PYTHON"] = PYTHON
        os.execv(PYTHON, [PYTHON, "-B", *sys.argv])
    sys.path.insert(0, SWEEPS)


class SweepTest(unittest.TestCase):
    """A scratch folder for each test; `program`: what $MARIANA_BIN holds runs as mariana_dnn."""
    program = "%s -S -E -B %s" % (PYTHON, os.path.join(HERE, "fake_trainer.py"))

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name
        os.mkdir(self.path("bin"))
        self.write("bin/mariana_dnn", "#!/bin/sh\nexec %s \"$@\"\n" % self.program)
        os.chmod(self.path("bin", "mariana_dnn"), 0o755)
        self.write("job.yaml", "name: fake\n")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text):
        with open(self.path(name), "w") as f:
            f.write(text)
        return self.path(name)

    def start(self, script, *words):
        environment = {**os.environ, "MARIANA_BIN": self.path("bin")}
        process = subprocess.Popen([PYTHON, "-B", os.path.join(SWEEPS, script), *words],
                                   cwd=self.folder, env=environment, stdin=subprocess.DEVNULL,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def finish(self, process, code=0):
        out, err = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, code, out + err)
        return out, err

    def sweep(self, text, *words, code=0):
        self.write("s.yaml", "program: mariana_dnn\nconfig: job.yaml\n" + text)
        return self.finish(self.start("main.py", "s.yaml", *words), code)

    def events(self, kind, folder="runs/sweep-s"):
        with open(self.path(folder, "journal.jsonl")) as f:
            return [e for e in map(json.loads, f) if e["event"] == kind]

    def starts(self, folder="runs/sweep-s"):
        """trial id -> [(epochs done at the start, epochs asked for, horizon)]: what the stand-in
        was asked to do."""
        out = {}
        for path in glob.glob(self.path(folder, "trials", "*", "starts")):
            with open(path) as f:
                out[os.path.basename(os.path.dirname(path))] = [
                    tuple(map(int, line.split())) for line in f]
        return out
