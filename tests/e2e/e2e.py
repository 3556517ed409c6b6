"""What the end-to-end tests of all programs share: starting the built program, reading what it
leaves behind. tests/PROGRAM/program.py adds small generated data and a job. Standard library only.

A test is run as `NAME_e2e_test.py PROGRAM`, in the root of the repository or of its runfiles.
"""
import array
import collections
import json
import math
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TIMEOUT = 240  # seconds; only a program that hangs reaches it, sanitized ones included

Result = collections.namedtuple("Result", "code out err")

_program = None


def program():
    """The built program: the first argument of the test."""
    return _program


def use_program(path):
    global _program
    _program = os.path.abspath(path)


def main():
    """unittest.main, after the program's path is taken from the arguments."""
    if len(sys.argv) < 2 or sys.argv[1].startswith("-"):
        sys.exit("usage: %s PROGRAM [unittest arguments]" % sys.argv[0])
    use_program(sys.argv.pop(1))
    unittest.main(verbosity=2)


class Scratch:
    """A folder with data/ and job.yaml in it; removed in the end. Derived ones say what is in them:
    make() and, for kill_trials, kill_overrides."""
    kill_overrides = []

    def __init__(self, *args):
        self.path = tempfile.mkdtemp(dir=os.environ.get("TEST_TMPDIR"), prefix="e2e.")
        self.job = self("job.yaml")
        self.make(*args)

    def __call__(self, *names):
        return os.path.join(self.path, *names)

    def remove(self):
        shutil.rmtree(self.path, ignore_errors=True)


class ProgramTest(unittest.TestCase):
    """Tests that share one Scratch; each has run directories of its own."""

    @classmethod
    def setUpClass(cls):
        cls.scratch = cls.make_scratch()

    @classmethod
    def tearDownClass(cls):
        cls.scratch.remove()

    def run_dir(self, name="run"):
        return self.scratch("%s.%s" % (self.id().split(".")[-1], name))

    def expect(self, code, *words, run_dir=None, cwd=None):
        """Runs `PROGRAM words --config job.yaml` and checks its exit code."""
        words = list(words) + ["--config", self.scratch.job]
        if run_dir:
            words += ["--run_dir", run_dir]
        return self.expect_plain(code, *words, cwd=cwd)

    def start(self, *words, **options):
        """The program in the background; killed in the end if it still runs."""
        process = start(*words, cwd=self.scratch.path, **options)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        return process

    def expect_plain(self, code, *words, cwd=None):
        result = run(*words, cwd=cwd or self.scratch.path)
        self.assertEqual(result.code, code, "%s\n%s%s" % (" ".join(words), result.out, result.err))
        if code not in (0, 75):
            last = result.err.splitlines()[-1]
            self.assertTrue(last.startswith(os.path.basename(program()) + ": "), last)
        return result


def run(*words, cwd=None):
    done = subprocess.run([program(), *words], stdin=subprocess.DEVNULL, cwd=cwd, timeout=TIMEOUT,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    return Result(done.returncode, done.stdout.decode(), done.stderr.decode())


def start(*words, **options):
    """The program in the background, its output in pipes unless told otherwise."""
    options = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **options}
    return subprocess.Popen([program(), *words], stdin=subprocess.DEVNULL, **options)


def finish(process):
    out, err = process.communicate(timeout=TIMEOUT)
    return Result(process.returncode, (out or b"").decode(), (err or b"").decode())


def wait_until(condition, process=None, pause=0.001):
    """Waits for a condition; False when `process` ended before it came true."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        if process is not None and process.poll() is not None:
            return bool(condition())
        if time.monotonic() > deadline:
            raise TimeoutError("waited %d s in vain" % TIMEOUT)
        time.sleep(pause)
    return True


# ---- files ------------------------------------------------------------------------------------


def write(path, text):
    with open(path, "w") as f:
        f.write(text)


def read(path):
    with open(path) as f:
        return f.read()


def read_bytes(path):
    with open(path, "rb") as f:
        return f.read()


def read_json(path):
    return json.loads(read(path))


def lines_of(path):
    """How many whole lines a file has; 0 where there is none yet."""
    try:
        return read_bytes(path).count(b"\n")
    except FileNotFoundError:
        return 0


def read_metrics(run_dir):
    return [json.loads(line) for line in read(os.path.join(run_dir, "metrics.jsonl")).splitlines()]


def model_of(run_dir, link="latest"):
    return read_bytes(os.path.join(run_dir, link, "model.safetensors"))


def read_safetensors(path):
    """(metadata, {name: (dtype, shape, bytes)}), by the format's description."""
    data = read_bytes(path)
    size = struct.unpack("<Q", data[:8])[0]
    header = json.loads(data[8:8 + size])
    metadata = header.pop("__metadata__", {})
    tensors, end = {}, 0
    for name, entry in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        begin, stop = entry["data_offsets"]
        if begin != end:
            raise ValueError("%s: a gap before %s" % (path, name))
        end = stop
        tensors[name] = (entry["dtype"], entry["shape"], data[8 + size + begin:8 + size + stop])
    if 8 + size + end != len(data):
        raise ValueError("%s: bytes after the last tensor" % path)
    return metadata, tensors


def floats(data):
    values = array.array("f")
    values.frombytes(data)
    return values


def norm_of_difference(a, b):
    """Relative to the norm of `a`, over all tensors of two models."""
    _, a = read_safetensors(a)
    _, b = read_safetensors(b)
    difference = norm = 0.0
    for name, (_, shape, data) in a.items():
        assert b[name][1] == shape
        x, y = floats(data), floats(b[name][2])
        difference += sum((p - q) ** 2 for p, q in zip(x, y))
        norm += sum(p * p for p in x)
    return math.sqrt(difference / norm)
