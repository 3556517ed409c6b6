"""What the end-to-end tests of mariana_cluster share beside tests/e2e: a small generated click log,
as csv, and a job. Standard library only.

A row is a user looking at an ad of a kind, at a price; who likes which kind decides, and the price.
"""
import math
import os
import random
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import e2e  # noqa: E402
from e2e import *  # noqa: E402,F401,F403

ROWS, VALID, EPOCHS = 6000, 1500, 3
DEEP = ["click.terms=[linear, fm, net]"]
ORDERED = ["parallel.deterministic=true", "parallel.blocks=4"]
USERS, KINDS = 40, 6
HEADER = "user,kind,price,noise,click"

JOB = """\
name: e2e
seed: 7
data:
  train: {data}/train.csv
  valid: {data}/valid.csv
  shards: 6
  rows:
    format: csv
    label: click
    group: user
    fields:
      - {{name: user}}
      - {{name: kind}}
      - {{name: noise}}
      - {{name: price, kind: numeric, bucket: true, quantiles: 8, standardise: true}}
    crosses:
      - {{fields: [user, kind]}}
click:
  terms: [linear, fm]
  linear: {{optimizer: {{learning_rate: 0.1, l1: 0.1}}}}
  embedding: {{size: 4}}
  rows: {{bits: 14}}
net:
  layers:
    - {{type: linear, name: fc1, units: 16, activation: relu}}
    - {{type: linear, name: fc2, units: 1}}
train:
  epochs: 3
  batch_size: 64
  schedule: {{learning_rate: 0.05}}
parallel: {{workers: 2}}
log: {{every_steps: 10}}
"""


def make_rows(count, seed):
    """Lines of csv without the header."""
    world = random.Random(99)
    base = [world.gauss(0, 0.7) for _ in range(USERS)]
    likes = [[world.gauss(0, 1.5) for _ in range(KINDS)] for _ in range(USERS)]
    rng = random.Random(seed)
    lines = []
    for _ in range(count):
        user, kind, price = rng.randrange(USERS), rng.randrange(KINDS), round(rng.expovariate(0.2), 2)
        x = base[user] + likes[user][kind] - 0.15 * price - 0.3
        click = int(rng.random() < 1 / (1 + math.exp(-x)))
        lines.append("u%d,k%d,%.2f,n%d,%d" % (user, kind, price, rng.randrange(50), click))
    return lines


class Scratch(e2e.Scratch):

    def make(self):
        os.makedirs(self("data"))
        self.train, self.valid = make_rows(ROWS, 1), make_rows(VALID, 2)
        for name in ("train", "valid"):
            lines = [HEADER] + getattr(self, name)
            e2e.write(self("data", name + ".csv"), "\n".join(lines) + "\n")
        e2e.write(self.job, JOB.format(data=self("data")))


class ProgramTest(e2e.ProgramTest):
    @classmethod
    def make_scratch(cls):
        return Scratch()

    def exported(self, run_dir):
        """The bytes of the run's newest model as one file, whatever number of servers wrote it."""
        path = run_dir + ".safetensors"
        self.expect(0, "export", "model=" + os.path.join(run_dir, "latest"), "output.path=" + path)
        return e2e.read_bytes(path)

    def summary(self, run_dir):
        return e2e.read_json(os.path.join(run_dir, "summary.json"))
