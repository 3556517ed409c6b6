#!/usr/bin/env python3
"""Stands in for mariana_dnn where a test is about sweeps: the same flags, files and exit codes,
and a learning curve that follows from the config at once.

  valid/loss at epoch e = (log10(learning_rate) + 1)^2 + units / 1000 + 1 / e
  fake.fails: an exit code; fake.fails_from: the epoch it comes at; fake.once: only the first time
  fake.wait: a file whose coming each epoch waits for; fake.seconds: of an epoch"""
import json
import math
import os
import signal
import sys
import time

KEYS = {"name": "fake", "train.epochs": 9, "train.max_steps": 0, "train.schedule.type": "constant",
        "train.schedule.learning_rate": 0.1, "train.schedule.horizon_epochs": 0, "units": 10,
        "seed": 1, "structure": "", "fake.fails": 0, "fake.fails_from": 1, "fake.once": False,
        "fake.wait": "", "fake.seconds": 0.0}
stopped = False


def stop(*_):
    global stopped
    stopped = True


def convert(key, text):
    default = KEYS[key]
    if isinstance(default, bool):
        return text == "true"
    return type(default)(text)


def parse(words):
    config, flags, wrong = dict(KEYS), {}, False
    for word in words:
        if word.startswith("--"):
            name, _, value = word[2:].partition("=")
            flags[name] = value
        elif "=" in word:
            key, value = word.split("=", 1)
            if key not in config:
                print('mariana_dnn: error: override "%s": %s: unknown key' % (word, key),
                      file=sys.stderr)
                wrong = True
            else:
                config[key] = convert(key, value)
    if wrong:
        sys.exit(64)
    return config, flags


def print_config(config):
    tree = {}
    for key, value in config.items():
        node = tree
        *path, last = key.split(".")
        for part in path:
            node = node.setdefault(part, {})
        node[last] = value
    print(json.dumps(tree))


def finish(folder, code, epoch, error=""):
    with open(os.path.join(folder, "summary.json"), "w") as f:
        json.dump({"exit_code": code, "error": error, "samples": 100 * epoch}, f)
    if error:
        print("mariana_dnn: error: " + error, file=sys.stderr)
    sys.exit(code)


def train(config, folder):
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "metrics.jsonl")
    done = sum(1 for _ in open(path)) if os.path.exists(path) else 0
    with open(os.path.join(folder, "starts"), "a") as f:
        f.write("%d %d %s\n" % (done, config["train.epochs"],
                                config["train.schedule.horizon_epochs"]))
    starts = sum(1 for _ in open(os.path.join(folder, "starts")))
    rate = config["train.schedule.learning_rate"]
    for epoch in range(done + 1, config["train.epochs"] + 1):
        until = time.monotonic() + config["fake.seconds"]
        while time.monotonic() < until or (config["fake.wait"] and
                                           not os.path.exists(config["fake.wait"])):
            time.sleep(0.005)
            if stopped:
                finish(folder, 75, epoch - 1, "stopped")
        if (config["fake.fails"] and epoch == config["fake.fails_from"] and
                not (config["fake.once"] and starts > 1)):
            if config["fake.fails"] == 137:
                os.kill(os.getpid(), signal.SIGKILL)
            finish(folder, config["fake.fails"], epoch - 1, "fails at epoch %d" % epoch)
        loss = (math.log10(rate) + 1) ** 2 + config["units"] / 1000 + 1 / epoch
        with open(path, "a") as f:
            f.write(json.dumps({"step": 10 * epoch, "epoch": epoch, "samples": 100 * epoch,
                                "seconds": 0.1 * epoch, "valid/loss": loss}) + "\n")
    finish(folder, 0, config["train.epochs"])


def main():
    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGUSR1, stop)
    words = sys.argv[1:]
    config, flags = parse([w for i, w in enumerate(words)
                           if w != "--config" and (i == 0 or words[i - 1] != "--config")])
    if "print_config" in flags:
        print_config(config)
    else:
        train(config, flags["run_dir"])


if __name__ == "__main__":
    main()
