"""Runs of the shipped programs on emulated machines, and what they say."""
import json
import os
import shutil
import subprocess

import beside

MACHINES = os.path.join(beside.ROOT, "configs/machines")


class Job:
    """A config with its overrides, to be emulated on one machine. Runs are remembered: the same
    question gives the same answer, to the nanosecond."""

    def __init__(self, program, config, machine, scratch, *overrides):
        self.command = [os.path.join(beside.BIN, program, program),
                        "--config", os.path.join(beside.ROOT, config),
                        "--device=emulated:" + os.path.join(MACHINES, machine + ".yaml")]
        self.overrides = list(overrides)
        self.folder = os.path.join(scratch, "run")
        self.known = {}

    def run(self, devices, batch, overlap=True, topology="auto", *more):
        key = (devices, batch, overlap, topology) + more
        if key not in self.known:
            shutil.rmtree(self.folder, ignore_errors=True)
            command = self.command + self.overrides + [
                "--run_dir", self.folder, "parallel.devices=%d" % devices,
                "train.batch_size=%d" % batch, "parallel.topology=" + topology,
                "parallel.overlap=" + ("true" if overlap else "false"), *more]
            done = subprocess.run(command, cwd=beside.ROOT, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.PIPE, text=True)
            if done.returncode != 0:
                raise RuntimeError(done.stderr.strip().splitlines()[-1])
            with open(os.path.join(self.folder, "emulation.json")) as f:
                self.known[key] = json.load(f)
        return self.known[key]


def fit(speedup, target, low, high):
    """The least whole number in [low, high] at which speedup(x), which grows, reaches target."""
    while low < high:
        middle = (low + high) // 2
        if speedup(middle) < target:
            low = middle + 1
        else:
            high = middle
    return low
