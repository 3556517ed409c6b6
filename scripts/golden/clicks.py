#!/usr/bin/env python3
"""Makes tests/golden/clicks.json with PyTorch in float64: losses of a few training steps of click
models on small batches, and the weights they end with. Sparse optimizers are the published ones
(FTRL-proximal: McMahan et al. 2013, algorithm 1; AdaGrad: Duchi et al. 2011), on the sum of the
gradients of a batch; the net follows the mean by SGD.

    pip install torch && scripts/golden/clicks.py

Tests read the file only; run this again when a case is added.
"""
import json
import math
import os

import torch
from torch import nn

torch.manual_seed(3)
torch.set_default_dtype(torch.float64)
FIELDS = {0: 7, 1: 5, 2: 6, 3: 1, 5: 35}  # values of user, ad, words (several), age (a number), user*ad
EMBEDDED = [0, 1, 2, 3]
DENSE = 2
STEPS, ROWS, SIZE = 5, 12, 4
FTRL = dict(alpha=0.3, beta=0.5, l1=0.05, l2=0.1)


def rounded(*shape, scale=1.0):
    return torch.round(torch.randn(shape) * scale * 100) / 100


def below(n):
    return int(torch.randint(n, ()))


def make_row():
    """[[field, value, x], ...], label, dense numbers."""
    user, ad = below(7), below(5)
    features = [[0, user, 1.0]] if below(6) else []
    features.append([1, ad, 1.0])
    features += [[2, below(6), (1 + below(8)) / 8] for _ in range(below(4))]
    if below(4):
        features.append([3, 0, float(rounded())])
    features.append([5, user * 5 + ad, 1.0])
    return features, below(2), rounded(DENSE).tolist()


class Ftrl:
    def __init__(self, n):
        self.z, self.n = torch.zeros(n), torch.zeros(n)

    def weights(self):
        z, n = self.z, self.n
        w = -(z - z.sign() * FTRL["l1"]) / ((FTRL["beta"] + n.sqrt()) / FTRL["alpha"] + FTRL["l2"])
        return torch.where(z.abs() <= FTRL["l1"], torch.zeros_like(z), w)

    def step(self, g):
        sigma = ((self.n + g * g).sqrt() - self.n.sqrt()) / FTRL["alpha"]
        self.z, self.n = self.z + g - sigma * self.weights(), self.n + g * g


class AdaGrad:
    def __init__(self, start, rate=0.05):
        self.w, self.sum, self.rate = start.clone(), torch.zeros_like(start), rate

    def weights(self):
        return self.w

    def step(self, g):
        self.sum = self.sum + g * g
        self.w = self.w - self.rate * g / (self.sum.sqrt() + 1e-8)


class Cross(nn.Module):
    def __init__(self, columns):
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(columns, columns), nn.Linear(columns, columns)

    def forward(self, x0):
        x = x0 * self.linear1(x0) + x0
        return x0 * self.linear2(x) + x


class Net(nn.Module):
    def __init__(self, children):
        super().__init__()
        self.names = list(children)
        for name, child in children.items():
            self.add_module(name, child)

    def forward(self, x):
        for name in self.names:
            x = torch.relu(getattr(self, name)(x)) if name == "linear1" else getattr(self, name)(x)
        return x


COLUMNS = len(EMBEDDED) * SIZE + DENSE
DEEP = """layers:
- {type: linear, units: 6, activation: relu}
- {type: linear, units: 0}
"""


def deep(before=None):
    return Net({**(before or {}), "linear1": nn.Linear(COLUMNS, 6), "linear2": nn.Linear(6, 1)})


CASES = [
    ("linear", ["linear"], "", None),
    ("fm", ["linear", "fm"], "", None),
    ("ffm", ["linear", "ffm"], "", None),
    ("wide_deep", ["linear", "net"], DEEP, deep),
    ("deepfm", ["linear", "fm", "net"], DEEP, deep),
    ("dcn", ["net"], DEEP.replace("layers:\n", "layers:\n- {type: cross, layers: 2}\n"),
     lambda: deep({"cross1": Cross(COLUMNS)})),
]


def logit(terms, features, dense, w, bias, e, f, net):
    z = torch.zeros(())
    if "linear" in terms:
        z = z + bias + sum(w[i] * x for _, i, x in features)
    inner = [t for t in features if t[0] in EMBEDDED]
    for a, (fa, i, x) in enumerate(inner):
        for fb, j, y in inner[a + 1:]:
            if "fm" in terms:
                z = z + x * y * (e[i] @ e[j])
            if "ffm" in terms:
                z = z + x * y * (f[i, EMBEDDED.index(fb)] @ f[j, EMBEDDED.index(fa)])
    if net is not None:
        pooled = [sum((x * e[i] for fi, i, x in inner if fi == field), torch.zeros(SIZE))
                  for field in EMBEDDED]
        z = z + net(torch.cat(pooled + [torch.tensor(dense)])[None])[0, 0]
    return z


def flat(t, digits="%.7g"):
    return [float(digits % v) for v in t.detach().flatten().tolist()]


def train(name, terms, yaml, make_net, batches, place, start_e, start_f):
    """place: (field, value) -> number of the feature; the bias is the last one."""
    n = len(place) + 1
    linear, e, f = Ftrl(n), AdaGrad(start_e), AdaGrad(start_f)
    net = make_net() if make_net else None
    if net is not None:
        for p in net.parameters():
            p.data = rounded(*p.shape, scale=0.3)
    case = {"name": name, "terms": terms, "net": yaml,
            "params": {k: flat(p) for k, p in net.named_parameters()} if net else {}, "losses": []}
    for batch in batches:
        w, ew, fw = (o.weights().detach().requires_grad_() for o in (linear, e, f))
        loss = torch.zeros(())
        for (features, label, dense), weight in batch:
            z = logit(terms, [(fi, place[fi, v], x) for fi, v, x in features], dense, w[:-1], w[-1],
                      ew, fw, net)
            loss = loss + weight * nn.functional.binary_cross_entropy_with_logits(
                z, torch.tensor(float(label)))
        loss.backward()
        for optimizer, weights in ((linear, w), (e, ew), (f, fw)):
            if weights.grad is not None:
                optimizer.step(weights.grad)
        if net is not None:
            for p in net.parameters():
                p.data -= 0.1 * p.grad / len(batch)
                p.grad = None
        case["losses"].append(float("%.9g" % loss.item()))
    case["linear"] = flat(linear.weights()) if "linear" in terms else []
    case["vectors"] = flat((f if "ffm" in terms else e).weights()) \
        if {"fm", "ffm", "net"} & set(terms) else []
    case["trained"] = {k: flat(p) for k, p in net.named_parameters()} if net else {}
    return case


def main():
    batches = [[(make_row(), 2.0 if below(4) == 0 else 1.0) for _ in range(ROWS)]
               for _ in range(STEPS)]
    place = {}
    for batch in batches:
        for (features, _, _), _ in batch:
            for field, value, _ in features:
                place.setdefault((field, value), len(place))
    start_e = rounded(len(place), SIZE, scale=0.3)
    start_f = rounded(len(place), len(EMBEDDED), SIZE, scale=0.3)
    golden = {
        "size": SIZE, "features": list(place), "embeddings": flat(start_e),
        "factors": flat(start_f), "ftrl": FTRL,
        "batches": [[{"features": f, "label": y, "dense": d, "weight": w} for (f, y, d), w in b]
                    for b in batches],
        "cases": [train(*case, batches, place, start_e, start_f) for case in CASES],
    }
    path = os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tests/golden/clicks.json")
    text = json.dumps(golden, separators=(",", ":")).replace('{"name"', '\n{"name"')
    with open(path, "w") as out:
        out.write(text.replace("],[{", "],\n[{") + "\n")
    for case in golden["cases"]:
        print(case["name"], case["losses"])
    assert all(math.isfinite(x) for case in golden["cases"] for x in case["losses"])


main()
