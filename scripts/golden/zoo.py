#!/usr/bin/env python3
"""Makes tests/golden/zoo.json with torchvision: names and shapes of the parameters and running
averages of the nets in configs/zoo that torchvision has, too.

    pip install torch torchvision && scripts/golden/zoo.py

Tests read the file only.
"""
import json
import os

import torch
import torchvision
from torchvision import models

NETS = {
    "alexnet": lambda: models.alexnet(),
    "vgg16": lambda: models.vgg16(),
    "googlenet": lambda: models.googlenet(aux_logits=False, init_weights=False),
    "resnet18": lambda: models.resnet18(),
    "resnet50": lambda: models.resnet50(),
}


def main():
    out = {"made_by": f"scripts/golden/zoo.py, torchvision {torchvision.__version__}", "nets": {}}
    with torch.device("meta"):  # shapes only
        for name, make in NETS.items():
            net = make()
            out["nets"][name] = {
                "parameters": sum(p.numel() for p in net.parameters()),
                "params": {n: list(p.shape) for n, p in net.named_parameters()},
                "states": {n: list(b.shape) for n, b in net.named_buffers() if "running" in n}}
    path = os.path.join(os.path.dirname(__file__), "../../tests/golden/zoo.json")
    with open(path, "w") as f:
        json.dump(out, f, separators=(",", ":"))
        f.write("\n")
    print(os.path.normpath(path), os.path.getsize(path), "bytes",
          {n: v["parameters"] for n, v in out["nets"].items()})


if __name__ == "__main__":
    main()
