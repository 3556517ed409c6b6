"""Part of scripts/bench/scaling: training across four machines whose links carry 200 Mbit/s each way
(network_nodes.py), by the shipped program under mpirun, a worker on each.

A figure is the share of the topology's bound: the least time in which its links can carry a step's
bytes, over the median time of a step. With M bytes of parameters and B bytes/s each way at every
machine, a ring of n needs 2 (n - 1) / n M / B; a chain 2 (n + 1) / n M / B, for a machine in its middle
takes in from both sides through one plug. B counts what the link carries, headers included. The net is
chosen so that links, not cores, set the pace.
"""
import os
import statistics
import subprocess
import tempfile

import beside
from network_nodes import Nodes

PROGRAM = os.path.join(beside.BIN, "mariana_dnn/mariana_dnn")
CONFIG = os.path.join(beside.ROOT, "configs/speech_production.yaml")
DATA = os.path.join(beside.ROOT, "data/bench_network")
NODES, RATE = 4, 200e6  # bit/s
TARGETS = {"ring": 0.85, "linear": 0.85}
# Outputs and hidden layers: 3.2 M parameters in layers of alike sizes.
STATES, UNITS, LAYERS, BATCH = 1000, 700, 5, 64


def parameters():
    return 440 * UNITS + UNITS + (LAYERS - 1) * (UNITS + 1) * UNITS + (UNITS + 1) * STATES


def bound_seconds(topology, nodes=NODES):
    share = {"ring": (nodes - 1) / nodes, "linear": (nodes + 1) / nodes}[topology]
    return 2 * share * 4 * parameters() / (RATE / 8)


def overrides(topology, overlap, steps):
    paths = ["data.train.%s=%s" % (key, os.path.join(DATA, "train", name))
             for key, name in (("feats", "feats.scp"), ("alignments", "ali.txt"),
                               ("utt2spk", "utt2spk"), ("cmvn", "cmvn.scp"))]
    return paths + [
        "data.valid={}", "data.num_labels=%d" % STATES, "net.layers.0.repeat=%d" % LAYERS,
        "net.layers.0.units=%d" % UNITS, "train.batch_size=%d" % BATCH, "train.precision=fp32",
        "train.optimizer.clip_norm=0", "train.schedule={type: constant, learning_rate: 0.01}",
        "train.checkpoint.every_steps=0", "train.max_steps=%d" % steps, "train.epochs=1000",
        "parallel={devices: 1, threads: 1, topology: %s, overlap: %s}"
        % (topology, "true" if overlap else "false"), "log.every_steps=1"]


def step_seconds(nodes, topology, overlap, steps, scratch):
    with tempfile.TemporaryDirectory(dir=scratch) as folder:
        run = os.path.join(folder, "run")
        done = nodes.mpirun([PROGRAM, "--config", CONFIG, "--run_dir", run, "--progress=none",
                             *overrides(topology, overlap, steps)],
                            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
        if done.returncode != 0:
            raise RuntimeError("mpirun returned %d: %s" % (done.returncode, done.stderr))
        return statistics.median(beside.steps_of(run)[0])


def prepare():
    beside.build("//mariana_dnn")
    if not os.path.exists(os.path.join(DATA, "train", "ali.txt")):
        beside.shell(["scripts/data/generated_speech", "--out", DATA, "--states", str(STATES),
                      "--utterances", "40"], stdout=subprocess.DEVNULL)


def figures(args, scratch):
    """[{"case", "ratio", "target", "text"}]; none where namespaces cannot be made."""
    if os.geteuid() != 0:
        return []
    prepare()
    out = []
    with Nodes(NODES, "%dmbit" % (RATE / 1e6)) as nodes:
        for topology, target in TARGETS.items():
            times = {overlap: step_seconds(nodes, topology, overlap, 12 if args.quick else 40,
                                           scratch) for overlap in (True, False)}
            bound = bound_seconds(topology)
            out.append({"case": "net." + topology, "ratio": bound / times[True], "target": target,
                        "text": "%.3f s a step, bound %.3f s; without overlap %.3f s (%.2f)" % (
                            times[True], bound, times[False], bound / times[False])})
    return out
