"""What the end-to-end tests of mariana_dnn share beside tests/e2e: small generated speech, a job, and
Kaldi archives read again. Standard library only.
"""
import os
import struct
import subprocess
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import e2e  # noqa: E402
from e2e import *  # noqa: E402,F401,F403

JOB = """\
name: e2e
seed: 7
data:
  train: {{feats: {data}/train/feats.scp, alignments: {data}/train/ali.txt}}
  valid: {{feats: {data}/valid/feats.scp, alignments: {data}/valid/ali.txt}}
  num_labels: {states}
  context: {{left: 2, right: 2}}
net:
  layers:
    - {{type: linear, units: 32, activation: sigmoid}}
    - {{type: dropout, rate: 0.1}}
    - {{type: linear, units: 0}}
train:
  epochs: 2
  batch_size: 128
  optimizer: {{type: sgd, momentum: 0.9}}
  schedule: {{type: constant, learning_rate: 0.1}}
  checkpoint: {{every_steps: 4, keep: 2}}
parallel: {{devices: 2, threads: 1}}
log: {{every_steps: 1}}
"""

def make_data(folder, utterances=12, states=20, seed=1):
    maker = os.path.join(e2e.ROOT, "scripts", "data", "generated_speech")
    subprocess.run([sys.executable, maker, "--out", folder, "--utterances", str(utterances),
                    "--states", str(states), "--seed", str(seed)],
                   check=True, stdout=subprocess.DEVNULL, timeout=e2e.TIMEOUT)


class Scratch(e2e.Scratch):
    # Large enough that a save takes some ten ms: 1.5 MB of values and as much of momentum.
    kill_overrides = [
        "net.layers=[{type: linear, units: 512, activation: sigmoid, repeat: 2}, "
        "{type: dropout, rate: 0.1}, {type: linear, units: 0}]",
        "train.epochs=3", "train.checkpoint.every_steps=4",
        "data.block_frames=400", "data.reader_threads=2",  # several shuffled blocks an epoch
    ]

    def make(self, utterances=12, states=20):
        make_data(self("data"), utterances, states)
        e2e.write(self.job, JOB.format(data=self("data"), states=states))


class ProgramTest(e2e.ProgramTest):
    utterances, states = 12, 20

    @classmethod
    def make_scratch(cls):
        return Scratch(cls.utterances, cls.states)


def read_ark(path):
    """{utterance: (rows, cols, floats)} of an archive of binary float matrices."""
    data, at, out = e2e.read_bytes(path), 0, {}
    while at < len(data):
        end = data.index(b" ", at)
        key, at = data[at:end].decode(), end + 1
        if data[at:at + 5] != b"\0BFM ":
            raise ValueError("%s: %s is no binary float matrix" % (path, key))
        rows, cols = struct.unpack("<xixi", data[at + 5:at + 15])
        at += 15
        out[key] = (rows, cols, e2e.floats(data[at:at + 4 * rows * cols]))
        at += 4 * rows * cols
    return out
