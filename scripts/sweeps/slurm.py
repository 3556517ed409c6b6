"""Trials as jobs of Slurm: those that are to start at the same time are one array of
scripts/slurm/array.sh, each preempted, requeued and resumed for itself by scripts/slurm/job, which
leaves the exit code in a file. What is queued or running is asked of squeue now and then; a job
that is gone without a code was lost."""
import os
import re
import shlex
import subprocess
import time

from runner import Stop

CLIENT_SECONDS = 20   # a controller may hang
ASK_SECONDS = 3
HERE = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


def client(*words):
    """The output of a client; None where it failed, and then what it said."""
    try:
        done = subprocess.run(words, capture_output=True, text=True, timeout=CLIENT_SECONDS,
                              check=False)
    except subprocess.TimeoutExpired:
        return None, "%s did not answer within %d s" % (words[0], CLIENT_SECONDS)
    return (done.stdout, "") if done.returncode == 0 else (None, done.stderr.strip())


class Slurm:

    def __init__(self, back_end, folder):
        self._slots, self._options = back_end.slots, back_end.options
        self._folder = os.path.join(folder, "slurm")
        os.makedirs(self._folder, exist_ok=True)
        self._ids = os.path.join(self._folder, "arrays")
        self._pending = []   # (key, line) to send with the next array
        self._running = {}   # key -> (array id, task, exit file)
        self._asked = 0
        self._stopping = False
        self._end_earlier()

    def free(self):
        return self._slots - len(self._running) - len(self._pending)

    def running(self):
        return list(self._running) + [key for key, *_ in self._pending]

    def start(self, key, command, folder, log, run_dir):
        exit_file = log[:-len(".log")] + ".exit"
        if os.path.exists(exit_file):
            os.remove(exit_file)
        line = shlex.join(["--log=" + log, "--exit_file=" + exit_file, *command])
        self._pending.append((key, line, folder, exit_file))

    def poll(self):
        """[(key, exit code, seconds)] of those that ended."""
        self._send()
        ended = []
        for key, (_, _, exit_file) in list(self._running.items()):
            if os.path.exists(exit_file):
                with open(exit_file, encoding="utf-8") as f:
                    code, seconds = f.read().split()
                ended.append((key, int(code), float(seconds)))
                del self._running[key]
        if time.monotonic() - self._asked > ASK_SECONDS:
            self._asked = time.monotonic()
            ended += self._lost()
        return ended

    def stop(self, again=False):
        """Asks all to save and end; again: ends them at once."""
        self._stopping = True
        self._pending.clear()
        ids = sorted({array for array, _, _ in self._running.values()})
        if ids:
            _stop(ids, again)

    def _send(self):
        if not self._pending:
            return
        path = os.path.join(self._folder, "commands-%d" % time.time_ns())
        with open(path, "w", encoding="utf-8") as f:
            f.write("".join(line + "\n" for _, line, _, _ in self._pending))
        array, error = client(
            "sbatch", "--parsable", "--array=1-%d" % len(self._pending),
            "--chdir=" + self._pending[0][2], "--output=%s/%%A_%%a.log" % self._folder,
            *self._options, os.path.join(HERE, "slurm", "array.sh"), path)
        if array is None:
            raise Stop("sbatch: " + error, 70)
        array = array.strip().split(";")[0]
        with open(self._ids, "a", encoding="utf-8") as f:
            f.write(array + "\n")
        for task, (key, _, _, exit_file) in enumerate(self._pending, 1):
            self._running[key] = (array, task, exit_file)
        self._pending.clear()

    def _lost(self):
        """Those that Slurm does not know any more, and that left no code."""
        before = dict(self._running)
        ids = sorted({array for array, _, _ in before.values()})
        known = _known(ids) if ids else None
        if known is None:
            return []
        ended = []
        for key, (array, task, exit_file) in before.items():
            if "%s_%d" % (array, task) not in known and not os.path.exists(exit_file):
                ended.append((key, 75 if self._stopping else 77, 0.0))
                del self._running[key]
        return ended

    def _end_earlier(self):
        """Jobs of a sweep that was killed: they save and end before their trials go on."""
        if not os.path.exists(self._ids):
            return
        with open(self._ids, encoding="utf-8") as f:
            ids = f.read().split()
        while ids and _known(ids):
            _stop(ids)
            time.sleep(ASK_SECONDS)
        os.remove(self._ids)


def _known(ids):
    """Tasks of arrays that are queued or running, ARRAY_TASK; None where Slurm did not say."""
    found = set()
    for array in ids:
        text, error = client("squeue", "-h", "-r", "-j", array, "-o", "%i")
        if text is None and "Invalid job id" not in error:
            return None
        found.update(re.findall(r"\S+", text or ""))
    return found


def _stop(ids, at_once=False):
    client("scancel", "--state=PENDING", *ids)
    client("scancel", *([] if at_once else ["--signal=INT", "--batch"]), *ids)
