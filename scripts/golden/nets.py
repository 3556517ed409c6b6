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
    def __init__(self, branches, join, names=None):
        super().__init__()
        self.names = names or [str(i) for i in range(len(branches))]
        for scope, children in zip(self.names, branches):
            self.add_module(scope, nn.Sequential())
            for name, child in children.items():
                getattr(self, scope).add_module(name, child)
        self.join = join

    def forward(self, x):
        ys = [getattr(self, scope)(x) for scope in self.names]
        return torch.cat(ys, 1) if self.join == "concat" else sum(ys)


class Cross(nn.Module):
    """x' = x0 * (W x + b) + x, `layers` times (Wang et al. 2021); with a rank, W = U V."""

    def __init__(self, columns, layers, rank=0):
        super().__init__()
        self.steps = []
        for i in range(1, layers + 1):
            maps = [("linear", nn.Linear(columns, columns))] if not rank else \
                [("down", nn.Linear(columns, rank, bias=False)), ("up", nn.Linear(rank, columns))]
            for name, module in maps:
                self.add_module(f"{name}{i}", module)
            self.steps.append([f"{name}{i}" for name, _ in maps])

    def forward(self, x0):
        x = x0
        for names in self.steps:
            y = x
            for name in names:
                y = getattr(self, name)(y)
            x = x0 * y + x
        return x


class Dots(nn.Module):
    """Products of all pairs of vectors of `size` (Naumov et al. 2019)."""

    def __init__(self, size):
        super().__init__()
        self.size = size

    def forward(self, x):
        v = x.unflatten(1, (-1, self.size))
        i, j = torch.triu_indices(v.shape[1], v.shape[1], 1)
        return (v @ v.transpose(1, 2))[:, i, j]


class Slice(nn.Module):
    def __init__(self, begin, size):
        super().__init__()
        self.begin, self.end = begin, begin + size

    def forward(self, x):
        return x[:, self.begin:self.end]


class GroupedBatchNorm(nn.BatchNorm1d):
    """Batch normalisation of each run of `group` samples on its own."""

    def __init__(self, columns, group, **kwargs):
        super().__init__(columns, **kwargs)
        self.group = group

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        return torch.cat([nn.BatchNorm1d.forward(self, part) for part in x.split(self.group)])


class GroupedImageNorm(nn.BatchNorm2d):
    """The same for images."""

    def __init__(self, channels, group, **kwargs):
        super().__init__(channels, **kwargs)
        self.group = group

    def forward(self, x):
        if not self.training:
            return super().forward(x)
        return torch.cat([nn.BatchNorm2d.forward(self, part) for part in x.split(self.group)])


class ImageResidual(nn.Module):
    """relu(shortcut(x) + layers(x)), with torchvision's names."""

    def __init__(self, channels, out, stride, group):
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1, bias=False)
        self.bn1 = GroupedImageNorm(out, group)
        self.conv2 = nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.bn2 = GroupedImageNorm(out, group)
        if stride > 1 or channels != out:
            self.downsample = nn.Sequential(nn.Conv2d(channels, out, 1, stride, bias=False),
                                            GroupedImageNorm(out, group))

    def forward(self, x):
        y = self.bn2(self.conv2(self.bn1(self.conv1(x)).relu()))
        return (y + (self.downsample(x) if hasattr(self, "downsample") else x)).relu()


def net(**children):
    n = nn.Sequential()
    for name, child in children.items():
        n.add_module(name, child)
    return n


def randomize(module):
    with torch.no_grad():
        for name, p in module.named_parameters():
            scale = 1 / math.sqrt(p[0].numel()) if p.dim() >= 2 else 0.3
            p.copy_(rounded(*p.shape, scale=scale))
            if p.dim() == 1 and name.endswith("weight"):  # of batch norm
                p.add_(1)


def loss_of(kind, y, labels, smoothing=0.0):
    if kind == "softmax_cross_entropy":
        return nn.functional.cross_entropy(y, labels, label_smoothing=smoothing)
    if kind == "squared_error":
        return 0.5 * (y - labels).square().sum() / y.shape[0]
    return nn.functional.binary_cross_entropy_with_logits(y, labels, reduction="sum") / y.shape[0]


def make_labels(kind, rows, outputs):
    if kind == "softmax_cross_entropy":
        return torch.randint(outputs, (rows,))
    if kind == "squared_error":
        return rounded(rows, outputs)
    return torch.round(torch.rand(rows, outputs) * ROUND) / ROUND


def layer_case(name, yaml, module, rows, inputs, outputs, loss="softmax_cross_entropy",
               smoothing=0.0):
    """`inputs`: columns, or [height, width, channels] of an image; x is written so, too."""
    randomize(module)
    image = inputs if isinstance(inputs, list) else []
    x, labels = rounded(rows, *(image or [inputs])), make_labels(loss, rows, outputs)
    written = flat(x)
    if image:
        x = x.permute(0, 3, 1, 2)
    case = {"name": name, "net": yaml + f"loss: {loss}\nlabel_smoothing: {smoothing}\n",
            "rows": rows, "inputs": math.prod(image) if image else inputs, "image": image,
            "outputs": outputs, "x": written,
            "labels": labels.tolist() if labels.dim() == 1 else flat(labels),
            "params": {n: flat(p) for n, p in module.named_parameters()}}
    y = module(x)
    value = loss_of(loss, y, labels, smoothing)
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
    return cases + image_cases() + click_cases()


def image_cases():
    conv, linear = nn.Conv2d, nn.Linear
    cases = []
    cases.append(layer_case(
        "convolutions and poolings",
        "layers: [{type: conv, channels: 4, padding: 1, activation: relu}, {type: max_pool, kernel:"
        " 3, stride: 2, padding: 1, ceil_mode: true}, {type: conv, channels: 6, padding: [2, 1], "
        "dilation: [2, 1], stride: [1, 2], groups: 2}, {type: tanh}, {type: avg_pool, kernel: 2, "
        "stride: 2, padding: 1, ceil_mode: true, count_include_pad: false}, {type: avg_pool, "
        "kernel: 3, stride: 2, padding: 1, ceil_mode: true}, {type: flatten}, {type: linear}]\n",
        net(conv1=conv(3, 4, 3, padding=1), a=nn.ReLU(),
            b=nn.MaxPool2d(3, 2, 1, ceil_mode=True),
            conv2=conv(4, 6, 3, padding=(2, 1), dilation=(2, 1), stride=(1, 2), groups=2),
            c=nn.Tanh(), d=nn.AvgPool2d(2, 2, 1, ceil_mode=True, count_include_pad=False),
            e=nn.AvgPool2d(3, 2, 1, ceil_mode=True), f=nn.Flatten(), linear1=linear(24, 5)),
        3, [8, 9, 3], 5))
    cases.append(layer_case(
        "padding on one side, same with a stride",
        "layers: [{type: conv, channels: 3, kernel: [2, 3], padding: [1, 0, 2, 1]}, {type: conv, "
        "channels: 2, padding: same, stride: 2, bias: false}, {type: max_pool, kernel: 2}, "
        "{type: linear}]\n",
        net(a=nn.ZeroPad2d((2, 1, 1, 0)), conv1=conv(2, 3, (2, 3)), b=nn.ZeroPad2d((0, 1, 1, 1)),
            conv2=conv(3, 2, 3, stride=2, bias=False), c=nn.MaxPool2d(2), d=nn.Flatten(),
            linear1=linear(2, 3)),
        2, [5, 5, 2], 3))
    cases.append(layer_case(
        "local response normalisation, leaky relu, gelu and a global pool",
        "layers: [{type: conv, channels: 7, kernel: 1}, {type: lrn, size: 5, alpha: 0.7, beta: "
        "0.6, k: 1.5}, {type: leaky_relu, slope: 0.1}, {type: conv, channels: 4, kernel: 2}, "
        "{type: gelu}, {type: lrn, size: 4, alpha: 0.3}, {type: global_pool}, {type: linear}]\n",
        net(conv1=conv(3, 7, 1), a=nn.LocalResponseNorm(5, 0.7, 0.6, 1.5), b=nn.LeakyReLU(0.1),
            conv2=conv(7, 4, 2), c=nn.GELU(), d=nn.LocalResponseNorm(4, 0.3),
            e=nn.AdaptiveAvgPool2d(1), f=nn.Flatten(), linear1=linear(4, 3)),
        3, [4, 3, 3], 3))
    bn = "{type: batch_norm, name: bn%d}"
    three = "{type: conv, name: conv%d, channels: %d, stride: %d, padding: 1, bias: false}"

    def block(name, width, stride, shortcut=""):
        return ("{type: residual, name: %d, activation: relu, layers: [%s, %s, {type: relu}, %s, %s"
                "]%s}" % (name, three % (1, width, stride), bn % 1, three % (2, width, 1), bn % 2,
                          shortcut))
    shortcut = (", shortcut_name: downsample, shortcut: [{type: conv, name: 0, channels: 6, kernel: "
                "1, stride: 2, bias: false}, {type: batch_norm, name: 1}]")
    cases.append(layer_case(
        "a residual net with batch norm on groups of 2 of 5 images, and label smoothing",
        "group: 2\nlayers: [%s, %s, {type: relu}, {type: sequence, name: layer1, layers: [%s, %s]}, "
        "{type: global_pool}, {type: linear, name: fc}]\n"
        % (three % (1, 4, 1), bn % 1, block(0, 4, 1), block(1, 6, 2, shortcut)),
        net(conv1=conv(3, 4, 3, padding=1, bias=False), bn1=GroupedImageNorm(4, 2), a=nn.ReLU(),
            layer1=nn.Sequential(ImageResidual(4, 4, 1, 2), ImageResidual(4, 6, 2, 2)),
            b=nn.AdaptiveAvgPool2d(1), c=nn.Flatten(), fc=linear(6, 4)),
        5, [6, 5, 3], 4, smoothing=0.1))
    cases.append(layer_case(
        "branches of images joined by concat",
        "layers: [{type: branch, branches: [{layers: [{type: conv, channels: 2, kernel: 1}]}, "
        "{name: b, layers: [{type: max_pool, kernel: 3, stride: 1, padding: 1}]}, {name: c, layers:"
        " [{type: conv, channels: 3, padding: same, activation: tanh}]}]}, {type: flatten}, {type: "
        "linear}]\n",
        net(branch1=Branch([{"conv1": conv(2, 2, 1)}, {"m": nn.MaxPool2d(3, 1, 1)},
                            {"conv1": conv(2, 3, 3, padding=1), "a": nn.Tanh()}], "concat",
                           names=["0", "b", "c"]),
            a=nn.Flatten(), linear1=linear(7 * 12, 3)), 3, [3, 4, 2], 3))
    return cases


def click_cases():
    linear = nn.Linear
    cases = []
    for name, options, cross in [("a cross network", "layers: 3", Cross(7, 3)),
                                 ("a cross network of low rank", "layers: 2, rank: 3",
                                  Cross(7, 2, 3))]:
        cases.append(layer_case(
            name, f"layers: [{{type: cross, {options}}}, {{type: linear}}]\n",
            net(cross1=cross, linear1=linear(7, 1)), 6, 7, 1, "logistic"))
    cases.append(layer_case(
        "a DLRM of 5 embeddings and 3 numbers",
        "layers: [{type: branch, name: fields, branches: [{name: bottom, layers: [{type: slice, "
        "begin: 20, size: 3}, {type: linear, units: 6, activation: relu}, {type: linear, units: "
        "4}]}, {layers: [{type: slice, size: 20}]}]}, {type: branch, name: interaction, branches: "
        "[{layers: [{type: slice, size: 4}]}, {layers: [{type: dots, size: 4}]}]}, {type: linear, "
        "name: top, units: 8, activation: relu}, {type: linear}]\n",
        net(fields=Branch([{"s": Slice(20, 3), "linear1": linear(3, 6), "a": nn.ReLU(),
                            "linear2": linear(6, 4)}, {"s": Slice(0, 20)}], "concat",
                          names=["bottom", "1"]),
            interaction=Branch([{"s": Slice(0, 4)}, {"d": Dots(4)}], "concat"),
            top=linear(19, 8), a=nn.ReLU(), linear1=linear(8, 1)), 6, 23, 1, "logistic"))
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
