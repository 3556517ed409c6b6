#!/usr/bin/env python3
"""Part of scripts/bench/scaling: all-reduce of 50M floats between 2 workers of one machine, ours
(tests/bench/allreduce_bench: one process) beside gloo (torch.distributed) and Open MPI (two
processes each), interleaved. A figure is the median over rounds of theirs over ours in
milliseconds a step. Alone: scripts/bench/scaling_allreduce.py [--rounds N]"""
import argparse
import os
import statistics

import beside

FLOATS = 50_000_000
STEPS = 7
BENCH = os.path.join(beside.BIN, "tests/bench")
TARGETS = {"gloo": 8, "openmpi": 4}


def median_ms(command):
    env = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1")
    out = beside.output_of(command, env=env)
    return statistics.median(float(line) for line in out.split())


def commands():
    return {
        "ours": [os.path.join(BENCH, "allreduce_bench"), str(STEPS), "plain"],
        "gloo": [beside.PYTHON, os.path.join(beside.ROOT, "scripts/bench/torch_allreduce.py"),
                 str(FLOATS), str(STEPS)],
        "openmpi": ["mpirun", "-np", "2", "--oversubscribe", "--bind-to", "none",
                    os.path.join(BENCH, "mpi_allreduce_bench"), str(FLOATS), str(STEPS)],
    }


def figures(args, scratch):
    del scratch
    beside.install("torch", "numpy")
    beside.build("//tests/bench:allreduce_bench", "//tests/bench:mpi_allreduce_bench")
    times = {name: [] for name in commands()}
    for _ in range(getattr(args, "rounds", None) or 5):
        for name, command in commands().items():
            times[name].append(median_ms(command))
    ours = statistics.median(times["ours"])
    return [{"case": "allreduce." + peer,
             "ratio": statistics.median(p / o for p, o in zip(times[peer], times["ours"])),
             "target": target,
             "text": "%.1f ms a step of 50M floats, ours %.1f" %
                     (statistics.median(times[peer]), ours)}
            for peer, target in TARGETS.items()]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    for f in figures(parser.parse_args(), None):
        print("scaling.%s: %.2f (target %g)  %s" % (f["case"], f["ratio"], f["target"], f["text"]))
