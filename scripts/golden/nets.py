#!/usr/bin/env python3
"""Makes tests/golden/nets.json with PyTorch: layers' outputs and gradients on given parameters and
data, and the losses of the first 10 steps of a small net under each optimizer and schedule.

    pip install torch && scripts/golden/nets.py

Tests read the file only; run this again when a case is added. Parameters and inputs are rounded to
3 decimals, so that the file says exactly what was computed.
"""
import json
import math
import os

import torch
from torch import nn

torch.manual_seed(1)
ROUND = 1000


def rounded(*shape, scale=1.0):
    return torch.round(torch.randn(*shape) * scale * ROUND) / ROUND


def flat(t):
    return [float("%.8g" % v) for v in t.detach().double().flatten().tolist()]


class Residual(nn.Module):
    """y = x + layers(x), or projection(x) + layers(x)."""

    def __init__(self, children, projection=None):
        super().__init__()
        for name, child in children.items():
            self.add_module(name, child)
        self.names = list(children)
        self.projection = projection

    def forward(self, x):
        y = x
        for name in self.names:
            y = getattr(self, name)(y)
        return y + (self.projection(x) if self.projection is not None else x)


class Branch(nn.Module):
    def __init__(self, branches, join):
        super().__init__()
        for i, children in enumerate(branches):
            self.add_module(str(i), nn.Sequential())
            for name, child in children.items():
                getattr(self, str(i)).add_module(name, child)
        self.count, self.join = len(branches), join

    def forward(self, x):
        ys = [getattr(self, str(i))(x) for i in range(self.count)]
        return torch.cat(ys, 1) if self.join == "concat" else sum(ys)


class GroupedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of each run of `group` samples on its own."""

    def __init__(self, columns, group, **kwargs):
        super().__init__(columns, **kwargs)
        self.group = group

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        return torch.cat([nn.BatchNorm1d.forward(self, part) for part in x.split(self.group)])


def net(**children):
    n = nn.Sequential()
    for name, child in children.items():
        n.add_module(name, child)
    return n


def randomize(module):
    with torch.no_grad():
        for name, p in module.named_parameters():
            width = p.shape[-1]
            p.copy_(rounded(*p.shape, scale=1 / math.sqrt(width) if p.dim() == 2 else 0.3))
            if "batch_norm" in name and name.endswith("weight"):
                p.add_(1)


def loss_of(kind, y, labels):
    if kind == "softmax_cross_entropy":
        return nn.functional.cross_entropy(y, labels)
    if kind == "squared_error":
        return 0.5 * (y - labels).square().sum() / y.shape[0]
    return nn.functional.binary_cross_entropy_with_logits(y, labels, reduction="sum") / y.shape[0]


def make_labels(kind, rows, outputs):
    if kind == "softmax_cross_entropy":
        return torch.randint(outputs, (rows,))
    if kind == "squared_error":
        return rounded(rows, outputs)
    return torch.round(torch.rand(rows, outputs) * ROUND) / ROUND


def layer_case(name, yaml, module, rows, inputs, outputs, loss="softmax_cross_entropy"):
    randomize(module)
    x, labels = rounded(rows, inputs), make_labels(loss, rows, outputs)
    case = {"name": name, "net": yaml + f"loss: {loss}\n", "rows": rows, "inputs": inputs,
            "outputs": outputs, "x": flat(x),
            "labels": labels.tolist() if labels.dim() == 1 else flat(labels),
            "params": {n: flat(p) for n, p in module.named_parameters()}}
    y = module(x)
    value = loss_of(loss, y, labels)
    value.backward()
    case.update(y=flat(y), loss=value.item(),
                grads={n: flat(p.grad) for n, p in module.named_parameters()},
                states={n: flat(b) for n, b in module.named_buffers() if "running" in n})
    module.eval()
    case["y_eval"] = flat(module(x))
    return case


def layer_cases():
    cases = []
    for activation, make in [("sigmoid", nn.Sigmoid), ("tanh", nn.Tanh), ("relu", nn.ReLU)]:
        cases.append(layer_case(
            f"linear with {activation}",
            f"layers: [{{type: linear, units: 9}}, {{type: {activation}}}, {{type: linear}}]\n",
            net(linear1=nn.Linear(7, 9), a=make(), linear2=nn.Linear(9, 5)), 6, 7, 5))
    for loss in ["squared_error", "logistic"]:
        cases.append(layer_case(
            f"{loss} without bias", "layers: [{type: linear, bias: false}]\n",
            net(linear1=nn.Linear(7, 3, bias=False)), 6, 7, 3, loss))
    cases.append(layer_case(
        "batch norm on groups of 4 of 10 samples",
        "group: 4\nlayers: [{type: linear, units: 6}, {type: batch_norm, momentum: 0.3, epsilon: "
        "0.001}, {type: relu}, {type: linear}]\n",
        net(linear1=nn.Linear(5, 6), batch_norm1=GroupedBatchNorm(6, 4, momentum=0.3, eps=0.001),
            a=nn.ReLU(), linear2=nn.Linear(6, 4)), 10, 5, 4))
    cases.append(layer_case(
        "batch norm twice, of different widths",
        "group: 5\nlayers: [{type: linear, units: 6}, {type: batch_norm}, {type: residual, layers: "
        "[{type: linear, units: 9}, {type: batch_norm}, {type: tanh}]}, {type: linear}]\n",
        net(linear1=nn.Linear(5, 6), batch_norm1=GroupedBatchNorm(6, 5),
            residual1=Residual({"linear1": nn.Linear(6, 9), "batch_norm1": GroupedBatchNorm(9, 5),
                                "a": nn.Tanh()}, nn.Linear(6, 9, bias=False)),
            linear2=nn.Linear(9, 4)), 12, 5, 4))
    cases.append(layer_case(
        "residual with identity",
        "layers: [{type: linear, units: 6}, {type: residual, layers: [{type: tanh}, {type: linear, "
        "units: 6}]}, {type: linear}]\n",
        net(linear1=nn.Linear(5, 6),
            residual1=Residual({"a": nn.Tanh(), "linear1": nn.Linear(6, 6)}),
            linear2=nn.Linear(6, 3)), 6, 5, 3))
    cases.append(layer_case(
        "residual with projection",
        "layers: [{type: linear, units: 6}, {type: residual, layers: [{type: linear, units: 8, "
        "activation: relu}]}, {type: linear}]\n",
        net(linear1=nn.Linear(5, 6),
            residual1=Residual({"linear1": nn.Linear(6, 8), "a": nn.ReLU()},
                               nn.Linear(6, 8, bias=False)),
            linear2=nn.Linear(8, 3)), 6, 5, 3))
    arms = "branches: [{layers: [{type: linear, units: 6, activation: tanh}]}, {}, {layers: " \
           "[{type: linear, units: 6}, {type: sigmoid}]}]"
    for join, width in [("concat", 18), ("add", 6)]:
        cases.append(layer_case(
            f"branch joined by {join}",
            f"layers: [{{type: linear, units: 6}}, {{type: branch, join: {join}, {arms}}}, "
            "{type: linear}]\n",
            net(linear1=nn.Linear(5, 6),
                branch1=Branch([{"linear1": nn.Linear(6, 6), "a": nn.Tanh()}, {},
                                {"linear1": nn.Linear(6, 6), "a": nn.Sigmoid()}], join),
                linear2=nn.Linear(width, 3)), 6, 5, 3))
    return cases


STEPS, BATCH, INPUTS, HIDDEN, CLASSES, EPOCH = 10, 16, 12, 16, 5, 4


def mlp():
    return net(linear1=nn.Linear(INPUTS, HIDDEN), a=nn.ReLU(), linear2=nn.Linear(HIDDEN, HIDDEN),
               b=nn.Tanh(), linear3=nn.Linear(HIDDEN, CLASSES))


def exponential(first, last, horizon):
    return lambda t: first * (last / first) ** min(1, t / horizon)


def cosine(first, last, horizon, warmup):
    def rate(t):
        if t < warmup:
            return first * (t + 1) / warmup
        p = min(1, (t - warmup) / (horizon - warmup))
        return last + (first - last) * 0.5 * (1 + math.cos(math.pi * p))
    return rate


def traces():
    """name: (yaml of optimizer and schedule, make optimizer, rate at step, clip, l1)"""
    constant = lambda rate: (lambda t: rate)
    sgd, ada, adam, adamw = (torch.optim.SGD, torch.optim.Adagrad, torch.optim.Adam,
                             torch.optim.AdamW)
    yaml = lambda o, s: f"optimizer: {{{o}}}\nschedule: {{{s}}}\n"
    rows = [
        ("plain sgd", yaml("type: sgd, momentum: 0", "learning_rate: 0.5"), sgd, {},
         constant(0.5), 0, 0),
        ("momentum", yaml("momentum: 0.9", "learning_rate: 0.1"), sgd, {"momentum": 0.9},
         constant(0.1), 0, 0),
        ("nesterov", yaml("momentum: 0.9, nesterov: true", "learning_rate: 0.1"), sgd,
         {"momentum": 0.9, "nesterov": True}, constant(0.1), 0, 0),
        ("adagrad", yaml("type: adagrad, epsilon: 1.0e-10", "learning_rate: 0.05"), ada, {},
         constant(0.05), 0, 0),
        ("adam", yaml("type: adam, beta2: 0.99", "learning_rate: 0.02"), adam,
         {"betas": (0.9, 0.99)}, constant(0.02), 0, 0),
        ("adam with l2", yaml("type: adam, l2: 0.01", "learning_rate: 0.02"), adam,
         {"weight_decay": 0.01}, constant(0.02), 0, 0),
        ("adamw", yaml("type: adamw, weight_decay: 0.5", "learning_rate: 0.02"), adamw,
         {"weight_decay": 0.5}, constant(0.02), 0, 0),
        ("momentum with l2", yaml("momentum: 0.9, l2: 0.05", "learning_rate: 0.1"), sgd,
         {"momentum": 0.9, "weight_decay": 0.05}, constant(0.1), 0, 0),
        ("momentum with l1", yaml("momentum: 0.9, l1: 0.01", "learning_rate: 0.1"), sgd,
         {"momentum": 0.9}, constant(0.1), 0, 0.01),
        ("momentum with clipping", yaml("momentum: 0.9, clip_norm: 0.3", "learning_rate: 0.2"), sgd,
         {"momentum": 0.9}, constant(0.2), 0.3, 0),
        ("exponential schedule", yaml("momentum: 0.9", "type: exponential, learning_rate: 0.3, "
         "final_learning_rate: 0.01, horizon_epochs: 2"), sgd, {"momentum": 0.9},
         exponential(0.3, 0.01, 2 * EPOCH), 0, 0),
        ("cosine schedule with warm-up", yaml("momentum: 0.9", "type: cosine, learning_rate: 0.3, "
         "final_learning_rate: 0.01, horizon_epochs: 2, warmup_steps: 3"), sgd, {"momentum": 0.9},
         cosine(0.3, 0.01, 2 * EPOCH, 3), 0, 0),
    ]
    return rows


def run_trace(initial, x, labels, make, options, rate, clip, l1):
    module = mlp()
    module.load_state_dict(initial)
    weights = [p for p in module.parameters() if p.dim() == 2]
    biases = [p for p in module.parameters() if p.dim() == 1]
    # Penalties and decay apply to weights only.
    optimizer = make([{"params": weights}, {"params": biases, "weight_decay": 0}], lr=rate(0),
                     **options)
    losses = []
    for t in range(STEPS):
        for group in optimizer.param_groups:
            group["lr"] = rate(t)
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(module(x[t]), labels[t])
        loss.backward()
        if clip:
            # Scales by clip / norm exactly (PyTorch's own adds 1e-6 to the norm).
            norm = torch.sqrt(sum(p.grad.double().square().sum() for p in module.parameters()))
            for p in module.parameters():
                p.grad.mul_(min(1.0, clip / norm.item()))
        for p in weights:
            p.grad.add_(l1 * p.detach().sign())
        optimizer.step()
        losses.append(loss.item())
    return losses


def main():
    base = mlp()
    randomize(base)
    x = rounded(STEPS, BATCH, INPUTS)
    labels = (x[:, :, :CLASSES] + 0.3 * torch.randn(STEPS, BATCH, CLASSES)).argmax(2)
    out = {
        "made_by": f"scripts/golden/nets.py, torch {torch.__version__}",
        "layers": layer_cases(),
        "training": {
            "net": "layers: [{type: linear, units: %d, activation: relu}, {type: linear, units: %d,"
                   " activation: tanh}, {type: linear}]\n" % (HIDDEN, HIDDEN),
            "rows": BATCH, "inputs": INPUTS, "outputs": CLASSES, "epoch_steps": EPOCH,
            "x": flat(x), "labels": labels.flatten().tolist(),
            "params": {n: flat(p) for n, p in base.named_parameters()},
            "traces": [{"name": name, "yaml": yaml,
                        "losses": run_trace(base.state_dict(), x, labels, *rest)}
                       for name, yaml, *rest in traces()],
        },
    }
    path = os.path.join(os.path.dirname(__file__), "../../tests/golden/nets.json")
    with open(path, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")
    print(os.path.normpath(path), os.path.getsize(path), "bytes")


if __name__ == "__main__":
    main()
