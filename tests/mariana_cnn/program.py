"""What the end-to-end tests of mariana_cnn share beside tests/e2e: small generated images, as IDX
files and as folders of BMPs, and a job. Standard library only.

An image shows a bright bar: its class says where, noise and the bar's shade differ.
"""
import gzip
import os
import random
import struct
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "e2e"))
import e2e  # noqa: E402
from e2e import *  # noqa: E402,F401,F403

SIZE, CLASSES = 12, 4
NAMES = ["left", "right", "top", "bottom"]

JOB = """\
name: e2e
seed: 7
data:
  train:
    type: idx
    path: {data}/train-images.gz
    labels: {data}/train-labels.gz
    classes: {data}/classes.txt
  valid:
    type: idx
    path: {data}/valid-images
    labels: {data}/valid-labels
    classes: {data}/classes.txt
  input: {{height: 12, width: 12, channels: 1, mean: 0.4, std: 0.3}}
  train_transform: {{crop: random, padding: 1}}
  cpu_threads: 2
net:
  layers:
    - {{type: conv, name: conv1, channels: 8, kernel: 3, padding: 1, bias: false}}
    - {{type: batch_norm, name: bn1}}
    - {{type: relu}}
    - {{type: max_pool, kernel: 2}}
    - {{type: dropout, rate: 0.1}}
    - {{type: linear, name: fc, units: 0}}
  group: 8
train:
  epochs: 2
  batch_size: 32
  optimizer: {{type: sgd, momentum: 0.9, l2: 0.0001}}
  schedule: {{type: cosine, learning_rate: 0.05, warmup_steps: 2}}
  checkpoint: {{every_steps: 3, keep: 2}}
parallel: {{devices: 2, threads: 1}}
log: {{every_steps: 1}}
"""


def picture(rng, label, channels=1):
    """[SIZE][SIZE][channels] of 0..255."""
    shade = rng.randint(90, 200)
    pixels = []
    for y in range(SIZE):
        row = []
        for x in range(SIZE):
            at = (x, SIZE - 1 - x, y, SIZE - 1 - y)[label]
            level = shade if at < 4 else 60
            row.append([min(255, max(0, level + rng.randint(-60, 60))) for _ in range(channels)])
        pixels.append(row)
    return pixels


def idx_images(pictures):
    return struct.pack(">IIII", 0x803, len(pictures), SIZE, SIZE) + bytes(
        pixel[0] for rows in pictures for row in rows for pixel in row)


def idx_labels(labels):
    return struct.pack(">II", 0x801, len(labels)) + bytes(labels)


def bmp(pixels):
    """24 bits a pixel, bottom row first, blue before red; rows of 4 bytes."""
    line = (3 * SIZE + 3) // 4 * 4
    rows = b"".join(b"".join(bytes((p[2], p[1], p[0])) for p in row).ljust(line, b"\0")
                    for row in reversed(pixels))
    size = len(rows)
    return (struct.pack("<2sIHHI", b"BM", 54 + size, 0, 0, 54) +
            struct.pack("<IiiHHIIiiII", 40, SIZE, SIZE, 1, 24, 0, size, 2835, 2835, 0, 0) + rows)


def write_bytes(path, data):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "wb") as f:
        f.write(data)


def make_idx(folder, name, count, seed, zipped):
    rng = random.Random(seed)
    labels = [i % CLASSES for i in range(count)]
    rng.shuffle(labels)
    suffix, pack = (".gz", gzip.compress) if zipped else ("", bytes)
    write_bytes(os.path.join(folder, name + "-images" + suffix),
                pack(idx_images([picture(rng, label) for label in labels])))
    write_bytes(os.path.join(folder, name + "-labels" + suffix), pack(idx_labels(labels)))
    return labels


def make_folder(folder, count, seed):
    """`count` images a class: folder/CLASS/NNN.bmp."""
    rng = random.Random(seed)
    for label, name in enumerate(NAMES):
        for i in range(count):
            write_bytes(os.path.join(folder, name, "%03d.bmp" % i), bmp(picture(rng, label, 3)))


class Scratch(e2e.Scratch):
    # So large that a save takes some ms.
    kill_overrides = [
        "net.layers=[{type: conv, channels: 16, kernel: 3, padding: 1, bias: false}, "
        "{type: batch_norm}, {type: relu}, {type: max_pool}, {type: linear, units: 512, "
        "activation: relu}, {type: dropout, rate: 0.2}, {type: linear, units: 0}]",
        "train.epochs=3", "train.ema=0.9",
    ]

    def make(self):
        self.train_labels = make_idx(self("data"), "train", 300, 1, True)
        self.valid_labels = make_idx(self("data"), "valid", 60, 2, False)
        e2e.write(self("data", "classes.txt"), "".join(name + "\n" for name in NAMES))
        e2e.write(self.job, JOB.format(data=self("data")))


class ProgramTest(e2e.ProgramTest):
    @classmethod
    def make_scratch(cls):
        return Scratch()
