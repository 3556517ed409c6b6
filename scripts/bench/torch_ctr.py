"""One measurement of PyTorch for scripts/bench/ctr: a JSON job in argv[1], a JSON result on the
last line. Click models of embeddings and three layers of 400, on rows that lie in memory as
tensors: sparse gradients and AdaGrad for embeddings and linear weights, Adam for the rest.

  {"rows": FILE.npz, "make": [rows, test, seed]}  writes the rows of scripts/data/generated_clicks
  {"rows": FILE.npz, "net": wide_deep|deepfm|dlrm, "batch", "threads", "precision", "modes": [..],
   "seconds": S, "examples": N}
      each mode: seconds of a step, wall and CPU, medians of S seconds; then, where N > 0, the AUC
      of the best one after N examples
"""
import importlib.machinery
import importlib.util
import json
import os
import statistics
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SIZE = 16


def generator():
    path = os.path.join(ROOT, "scripts/data/generated_clicks")
    loader = importlib.machinery.SourceFileLoader("generated_clicks", path)
    module = importlib.util.module_from_spec(importlib.util.spec_from_loader(loader.name, loader))
    loader.exec_module(module)
    return module


def make(job):
    """The rows that DIR/train.* and test.* hold: logarithms of numbers, values numbered through all
    columns, a missing one being a value of its own."""
    import numpy as np
    module = generator()
    rows, test, seed = job["make"]
    rule = module.Rule(seed, 1000000)
    offsets = np.concatenate([[0], np.cumsum(rule.sizes + 1)])
    arrays = {"weights": offsets[-1]}
    for part, name, count in ((1, "train", rows), (2, "test", test)):
        blocks = []
        for block, begin in enumerate(range(0, count, module.BLOCK)):
            rng = np.random.default_rng([seed, part, block])
            y, _, numbers, values = rule.rows(rng, min(module.BLOCK, count - begin))
            blocks.append((y.astype(np.float32),
                           np.log1p(np.maximum(numbers, 0)).astype(np.float32),
                           values + 1 + offsets[:-1]))
        for k, what in enumerate(("labels", "numbers", "values")):
            arrays[name + "_" + what] = np.concatenate([b[k] for b in blocks])
    np.savez(job["rows"], **arrays)
    return {}


def layers(torch, inputs, *units):
    parts = []
    for n in units:
        parts += [torch.nn.Linear(inputs, n), torch.nn.ReLU()]
        inputs = n
    return torch.nn.Sequential(*parts, torch.nn.Linear(inputs, 1))


def make_net(torch, kind, weights, joint):
    """joint: linear weight and embedding in one table of 17 columns, one sparse gradient."""
    nn = torch.nn

    class Dense(nn.Module):
        """All but the tables: numbers [n, 13], embeddings [n, 26, 16] -> logits."""

        def __init__(self):
            super().__init__()
            if kind == "dlrm":
                self.bottom = nn.Sequential(nn.Linear(13, 64), nn.ReLU(), nn.Linear(64, SIZE),
                                            nn.ReLU())
                self.pairs = torch.triu_indices(27, 27, 1)
                self.top = layers(torch, SIZE + 351, 400, 400, 400)
            else:
                self.linear = nn.Linear(13, 1)
                self.top = layers(torch, 26 * SIZE + 13, 400, 400, 400)

        def forward(self, numbers, e, w):
            if kind == "dlrm":
                bottom = self.bottom(numbers)
                t = torch.cat([bottom[:, None], e], 1)
                dots = torch.bmm(t, t.transpose(1, 2))[:, self.pairs[0], self.pairs[1]]
                return self.top(torch.cat([bottom, dots], 1)).squeeze(1)
            out = self.top(torch.cat([e.flatten(1), numbers], 1)) + self.linear(numbers) + w
            if kind == "deepfm":
                out = out + .5 * (e.sum(1).square() - e.square().sum(1)).sum(1, keepdim=True)
            return out.squeeze(1)

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            linear = kind != "dlrm"
            self.table = nn.Embedding(weights, SIZE + (1 if linear and joint else 0), sparse=True)
            nn.init.uniform_(self.table.weight, -.01, .01)
            self.weights = None
            if linear and joint:
                self.table.weight.data[:, SIZE] = 0
            elif linear:
                self.weights = nn.EmbeddingBag(weights, 1, mode="sum", sparse=True)
                nn.init.zeros_(self.weights.weight)
            self.dense = Dense()

        def forward(self, numbers, values):
            e, w = self.table(values), None
            if self.weights is not None:
                w = self.weights(values)
            elif kind != "dlrm":
                w = e[:, :, SIZE].sum(1, keepdim=True)
                e = e[:, :, :SIZE]
            return self.dense(numbers, e, w)

    return Net()


class Trainer:
    def __init__(self, torch, job, data, mode):
        torch.manual_seed(0)
        self.torch, self.data, self.batch = torch, data, job["batch"]
        self.bf16 = job["precision"] == "bf16"
        self.net = make_net(torch, job["net"], int(data["weights"]), "joint" in mode)
        if "compile" in mode:
            self.net.dense = torch.compile(self.net.dense)
        tables = [self.net.table.weight]
        if self.net.weights is not None:
            tables.append(self.net.weights.weight)
        self.optimizers = [torch.optim.Adagrad(tables, lr=.05),
                           torch.optim.Adam(self.net.dense.parameters(), lr=1e-3, fused=True)]
        self.at = 0

    def logits(self, part, rows):
        with self.torch.autocast("cpu", self.torch.bfloat16, enabled=self.bf16):
            return self.net(self.data[part + "_numbers"][rows], self.data[part + "_values"][rows])

    def step(self):
        rows = slice(self.at, self.at + self.batch)
        if rows.stop > len(self.data["train_labels"]):
            self.at, rows = 0, slice(0, self.batch)
        self.at += self.batch
        loss = self.torch.nn.functional.binary_cross_entropy_with_logits(
            self.logits("train", rows).float(), self.data["train_labels"][rows])
        for o in self.optimizers:
            o.zero_grad(set_to_none=True)
        loss.backward()
        for o in self.optimizers:
            o.step()

    def scores(self):
        with self.torch.no_grad():
            count = len(self.data["test_labels"])
            parts = [self.logits("test", slice(i, min(i + 8192, count)))
                     for i in range(0, count, 8192)]
        return self.torch.cat(parts).float().numpy()


def measure(step, seconds):
    for _ in range(4):
        step()
    wall, cpu = [], []
    end = time.perf_counter() + seconds
    while time.perf_counter() < end or len(wall) < 4:
        a, c = time.perf_counter(), time.process_time()
        step()
        wall.append(time.perf_counter() - a)
        cpu.append(time.process_time() - c)
    return [statistics.median(wall), statistics.median(cpu)]


def run(job):
    import numpy as np
    import torch
    torch.set_num_threads(job["threads"])
    loaded = np.load(job["rows"])
    data = {k: torch.from_numpy(loaded[k]) if loaded[k].ndim else loaded[k] for k in loaded.files}
    result = {}
    for mode in job["modes"]:
        try:
            result[mode] = measure(Trainer(torch, job, data, mode).step, job["seconds"])
        except Exception as e:  # torch.compile may find no compiler
            print("%s: %s" % (mode, str(e).splitlines()[0]), file=sys.stderr)
    if job["examples"]:
        trainer = Trainer(torch, job, data, min(result, key=lambda mode: result[mode][1]))
        for _ in range(job["examples"] // job["batch"]):
            trainer.step()
        labels = loaded["test_labels"] > 0
        result["auc"] = float(generator().auc(labels, trainer.scores()))
    return result


if __name__ == "__main__":
    job = json.loads(sys.argv[1])
    print(json.dumps(make(job) if "make" in job else run(job)))
