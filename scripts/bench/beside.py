"""What scripts/bench/dnn, cnn and ctr share: measuring a program of ours beside a peer in one run.
One thread compares CPU time (a busy machine disturbs it least), more threads wall time on idle
cores. A shared machine's clock changes by half within minutes, so each round measures both sides
one after the other, and a figure is the median of the rounds' ratios."""
import argparse
import json
import os
import platform
import re
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BIN = os.path.join(ROOT, "bazel-out/k8-opt/bin")
VENV = os.path.join(ROOT, ".venv-bench")
PYTHON = os.path.join(VENV, "bin/python")


def shell(command, **kwargs):
    return subprocess.run(command, check=True, cwd=ROOT, **kwargs)


def output_of(command, **kwargs):
    return shell(command, stdout=subprocess.PIPE, text=True, **kwargs).stdout


def install(*packages, **kwargs):
    """Python packages into .venv-bench, once. kwargs: subprocess.run's."""
    stamp = os.path.join(VENV, "ready")
    have = open(stamp).read().split() if os.path.exists(stamp) else None
    if have is None:
        shell(["/usr/bin/python3", "-m", "venv", VENV])
    missing = [p for p in packages if p not in (have or [])]
    if missing:
        print("installing into .venv-bench (once): " + " ".join(missing), flush=True)
        shell([os.path.join(VENV, "bin/pip"), "install", "-q", *missing], **kwargs)
        with open(stamp, "a") as f:
            f.write("".join(p + "\n" for p in missing))


def build(*targets):
    shell(["bazel", "build", "--config=opt", *targets], stderr=subprocess.DEVNULL)


def steps_of(folder):
    """Wall and CPU seconds of each step of a run but the first two (log.every_steps=1)."""
    with open(os.path.join(folder, "metrics.jsonl")) as lines:
        rows = [row for row in map(json.loads, lines) if "train/cpu_seconds" in row]
    wall = [row["seconds"] for row in rows]
    cpu = [row["train/cpu_seconds"] for row in rows]
    return ([b - a for a, b in zip(wall[1:], wall[2:])], [b - a for a, b in zip(cpu[1:], cpu[2:])])


def idle(limit=60):
    """Waits until others use less than a fifth of a core, `limit` seconds at most."""
    def busy():
        with open("/proc/stat") as f:
            fields = [int(x) for x in f.readline().split()[1:]]
        return sum(fields) - fields[3] - fields[4], time.monotonic()
    end = time.monotonic() + limit
    while time.monotonic() < end:
        a, t = busy()
        time.sleep(1)
        b, u = busy()
        if (b - a) / 100 / (u - t) < 0.2:
            return True
    return False


def peak(threads):
    """GFLOP/s of the machine's best fp32 matrix product, as step_bench measures it."""
    out = output_of([os.path.join(BIN, "tests/bench/step_bench"), "big", "256", str(threads), "1"])
    return float(re.search(r"GEMM's (\d+)", out).group(1)) * threads


def has_bf16():
    with open("/proc/cpuinfo") as f:
        return "avx512_bf16" in f.read()


def compare(rounds, threads, modes, ours, theirs):
    """ours() -> (wall, cpu) a step; theirs(modes) -> {mode: (wall, cpu)}. The first round takes all
    modes of the peer, the others its best one. Medians of seconds a step, and of their ratio."""
    mine, other = [], []
    which = 1 if threads == 1 else 0
    quiet = True
    for r in range(rounds):
        if threads > 1:
            quiet = idle() and quiet
        mine.append(ours()[which])
        measured = theirs(modes)
        if r == 0:  # a mode may have failed
            best = min(measured, key=lambda mode: measured[mode][which])
            modes = [best]
        other.append(measured[best][which])
    return {"ratio": statistics.median(b / a for a, b in zip(mine, other)),
            "ours_seconds": statistics.median(mine), "peer_seconds": statistics.median(other),
            "peer": "torch " + best, "measure": "cpu" if threads == 1 else "wall", "quiet": quiet}


def show(bench, r, unit):
    """The line of one figure: r has case, ratio, target, ours and peer [unit/s], and may have peer's
    name, gflops, share_of_peak, quiet."""
    extra = "  %.4g %s/s beside %.4g" % (r["ours_per_second"], unit, r["peer_per_second"])
    if "peer" in r:
        extra += " (%s)" % r["peer"]
    if "gflops" in r:
        extra += "; %.0f GFLOP/s, %.0f %% of the GEMM peak" % (r["gflops"],
                                                               100 * r["share_of_peak"])
    if not r.get("quiet", True):
        extra += "  (the machine was busy)"
    print("%s.%s: %.2f (target %.2f)%s" % (bench, r["case"], r["ratio"], r["target"], extra),
          flush=True)


def machine():
    model = "?"
    with open("/proc/cpuinfo") as f:
        for line in f:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return "%s, %d cores, %s" % (model, len(os.sched_getaffinity(0)), platform.release())


def parser(doc):
    parser = argparse.ArgumentParser(description=doc.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", help="file for the results")
    parser.add_argument("--rounds", type=int, default=3)
    return parser


def arguments(doc):
    with_cases = parser(doc)
    with_cases.add_argument("--only", default="", help="cases, separated by commas")
    return with_cases.parse_args()


def write(path, results):
    if path:
        with open(path, "w") as f:
            json.dump({"machine": machine(), "results": results}, f, indent=1)
