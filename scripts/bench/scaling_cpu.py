"""Part of scripts/bench/scaling: the emulator beside the truth. Kernel times of this machine go into
machine files (machine_bench), measured with as many devices at work as there are workers, before and
after each real run, as a machine's clock changes from minute to minute; the mean of what both predict
for one and two CPU workers of one thread each is compared with mariana_dnn on the same net, batch and
schedule, here.
"""
import os
import statistics
import subprocess

import beside
import emulate

PROGRAM = os.path.join(beside.BIN, "mariana_dnn/mariana_dnn")
CONFIG = os.path.join(beside.ROOT, "configs/speech_production.yaml")
DATA = os.path.join(beside.ROOT, "data/bench_speech/small")
# case: workers, frames a worker
CASES = {"cpu.1x256": (1, 256), "cpu.1x1024": (1, 1024), "cpu.2x256": (2, 256),
         "cpu.2x1024": (2, 1024)}
NET = ["data.valid={}", "data.num_labels=2000", "net.layers.0.repeat=4", "net.layers.0.units=512",
       "train.optimizer.clip_norm=0", "parallel.topology=linear", "parallel.bucket_bytes=4MB",
       "train.schedule={type: constant, learning_rate: 0.01}"]


def prepare():
    beside.build("//mariana_dnn", "//tests/bench:machine_bench")
    if not os.path.exists(os.path.join(DATA, "train", "ali.txt")):
        beside.shell(["scripts/data/generated_speech", "--out", DATA, "--states", "2000",
                      "--utterances", "240"], stdout=subprocess.DEVNULL)


def measured_machine(scratch, workers, seconds):
    """The job on this machine as it is while so many workers compute."""
    machine = os.path.join(scratch, "this%d.yaml" % workers)
    with open(machine, "w") as f:
        subprocess.run([os.path.join(beside.BIN, "tests/bench/machine_bench"), str(seconds),
                        str(workers)], check=True, stdout=f)
    return emulate.Job("mariana_dnn", CONFIG, machine[:-len(".yaml")], scratch,
                       "data.train={}", "plan.input=[440]", "plan.outputs=2000", *NET)


def real(workers, batch, steps, folder):
    """Median wall seconds of a step."""
    data = ["data.train.%s=%s" % (key, os.path.join(DATA, "train", name))
            for key, name in (("feats", "feats.scp"), ("alignments", "ali.txt"),
                              ("utt2spk", "utt2spk"), ("cmvn", "cmvn.scp"))]
    beside.shell([PROGRAM, "--config", CONFIG, "--run_dir", folder, "--progress=none",
                  "train.max_steps=%d" % steps, "train.epochs=1000", "log.every_steps=1",
                  "train.batch_size=%d" % (workers * batch), "parallel.devices=%d" % workers,
                  "parallel.threads=1", "train.checkpoint.every_steps=0"] + NET + data,
                 stdout=subprocess.DEVNULL)
    wall, cpu = beside.steps_of(folder)
    return statistics.median(cpu if workers == 1 else wall)


def figures(args, scratch):
    rounds = 1 if args.quick else args.rounds
    ratios = {case: [] for case in CASES}
    quiet = True
    prepare()
    for r in range(rounds):
        quiet = beside.idle(10 if args.quick else 60) and quiet
        for case, (workers, batch) in CASES.items():
            def predict():
                job = measured_machine(scratch, workers, 2 if args.quick else 4)
                return job.run(workers, workers * batch, True, "linear")["step_seconds"]
            steps = max(12, 24000 // (workers * batch) // (2 if args.quick else 1))
            before = predict()
            measured = real(workers, batch, steps, os.path.join(scratch, "%s.%d" % (case, r)))
            predicted = (before + predict()) / 2
            ratios[case].append((predicted / measured, predicted, measured))
    out = []
    for case, rows in ratios.items():
        ratio, predicted, measured = sorted(rows)[len(rows) // 2]
        out.append({"case": case, "ratio": ratio, "target": 1.0,
                    "text": "emulated %.1f ms a step, real %.1f ms (within 10 %% wanted)%s" % (
                        1e3 * predicted, 1e3 * measured,
                        "" if quiet else "  (the machine was busy)")})
    return out
