"""Trials of `kill -9` and --resume: a run is killed, between saves or inside one, goes on, and has
to end in the model of a run that nobody disturbed, bit for bit.

No trial depends on timing: a kill waits for the run to have come so far, and one inside a save is
made sure of by stopping the process (SIGSTOP), looking whether the hidden folder of the save is
there, and only then killing it.
"""
import collections
import glob
import os
import re
import shutil
import signal
import subprocess

import e2e

# Files of a checkpoint in the order of their writing.
FILES = ["", "model.safetensors", "optimizer.safetensors", "state.json", "manifest.json"]

Trial = collections.namedtuple("Trial", "where inside_save resumed identical")


class Trials:
    """Trials on one job (scratch.kill_overrides make it fit for that); `random` (random.Random)
    draws the places of the kills."""

    def __init__(self, scratch, random, overrides=(), name="trials"):
        self.scratch, self.random, self.name = scratch, random, name
        self.words = ["--config", scratch.job, *scratch.kill_overrides, *overrides]
        whole = scratch(name + ".undisturbed")
        self.out = self._finish(["--run_dir", whole]).out
        self.model = e2e.model_of(whole)
        self.metrics = [self._without_time(row) for row in e2e.read_metrics(whole)]
        self.lines = len(self.metrics)
        self.count = 0

    def run(self, inside_save, kills=1):
        """One run, killed `kills` times, then left to end."""
        self.count += 1
        run_dir = self.scratch("%s.%d" % (self.name, self.count))
        where, inside = [], 0
        for _ in range(20 * kills):
            if len(where) == kills:
                break
            killed = self._inside_save(run_dir) if inside_save else self._between(run_dir)
            if not killed:  # it ended before: again from the start
                shutil.rmtree(run_dir, ignore_errors=True)
                where, inside = [], 0
                continue
            where.append(killed)
            inside += bool(glob.glob(os.path.join(run_dir, "checkpoints", ".new-*")))
        if len(where) < kills:
            raise AssertionError("no kill came in time")
        last = self._finish(["--run_dir", run_dir, "--resume"])
        resumed = re.findall(r"going on from \S*/(\S+)", last.out) or ["the start"]
        identical = e2e.model_of(run_dir) == self.model and self.metrics == [
            self._without_time(row) for row in e2e.read_metrics(run_dir)]
        shutil.rmtree(run_dir)
        return Trial(", ".join(where), inside, resumed[0], identical)

    @staticmethod
    def _without_time(row):
        return {name: value for name, value in row.items() if not name.endswith("seconds")}

    def _finish(self, words):
        result = e2e.run(*self.words, *words, cwd=self.scratch.path)
        if result.code != 0:
            raise AssertionError("exit code %d: %s" % (result.code, result.err))
        return result

    def _start(self, run_dir):
        return e2e.start(*self.words, "--run_dir", run_dir, "--resume",
                             cwd=self.scratch.path, stdout=subprocess.DEVNULL,
                             stderr=subprocess.DEVNULL)

    def _between(self, run_dir):
        """Kills when the metrics have grown by a number of lines drawn."""
        metrics = os.path.join(run_dir, "metrics.jsonl")
        target = self.random.randrange(0, max(1, self.lines - 2))
        process = self._start(run_dir)
        e2e.wait_until(lambda: e2e.lines_of(metrics) >= target, process)
        process.kill()
        killed = process.wait() == -signal.SIGKILL
        return "at line %d of the metrics" % target if killed else ""

    def _inside_save(self, run_dir):
        """Kills when a file drawn of a save drawn has appeared, and not been moved into place."""
        checkpoints = os.path.join(run_dir, "checkpoints")
        skip, name = self.random.randrange(0, 4), self.random.choice(FILES)
        process = self._start(run_dir)
        seen = set()
        while process.poll() is None:
            # Re-read at once, without a pause: the folder lives for milliseconds.
            for folder in glob.glob(os.path.join(checkpoints, ".new-*")):
                seen.add(folder)
                if len(seen) <= skip or not os.path.exists(os.path.join(folder, name)):
                    continue
                if self._stopped_with(process, folder):
                    process.kill()
                    process.wait()
                    return "in the save of %s after %s" % (
                        os.path.basename(folder)[5:], name or "its folder")
        process.wait()
        return ""

    @staticmethod
    def _stopped_with(process, folder):
        """Stops the process; lets it go on again, with False, when the folder is gone by then."""
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
        if os.path.isdir(folder):
            return True
        process.send_signal(signal.SIGCONT)
        return False
