#!/usr/bin/env -S python3 -B
"""A net trained on frames of speech: its modes, resume, the model that mariana_dnn reads too."""
import os
import re
import subprocess
import sys
import textwrap

import program
from program import ORDERED, ProgramTest, e2e, model_of, read, read_metrics, wait_until

UTTERANCES, STATES, EPOCHS = 12, 8, 3

DATA = """\
train: {{feats: {data}/train/feats.scp, alignments: {data}/train/ali.txt}}
valid: {{feats: {data}/valid/feats.scp, alignments: {data}/valid/ali.txt}}
num_labels: {states}
context: {{left: 2, right: 2}}
"""

NET = """\
net:
  layers:
    - {type: linear, units: 32, activation: relu}
    - {type: linear, units: 0}
"""

TRAIN = """\
train:
  epochs: %d
  batch_size: 64
  optimizer: {type: sgd, momentum: 0.9}
  schedule: {type: constant, learning_rate: 0.05}
log: {every_steps: 5}
""" % EPOCHS


class Scratch(e2e.Scratch):

    def make(self):
        maker = os.path.join(e2e.ROOT, "scripts", "data", "generated_speech")
        subprocess.run([sys.executable, maker, "--out", self("data"), "--utterances",
                        str(UTTERANCES), "--states", str(STATES)],
                       check=True, stdout=subprocess.DEVNULL, timeout=e2e.TIMEOUT)
        with open(self("data", "train", "ali.txt")) as f:
            self.frames = sum(len(line.split()) - 1 for line in f)
        data = DATA.format(data=self("data"), states=STATES)
        head = "name: e2e\nseed: 7\ndata:\n"
        e2e.write(self.job, head + "  frames:\n" + textwrap.indent(data, "    ") + NET + TRAIN +
                  "parallel: {workers: 2}\n")
        self.dnn_job = self("dnn.yaml")
        e2e.write(self.dnn_job, head + textwrap.indent(data, "  ") + NET + TRAIN)


class Frames(ProgramTest):

    @classmethod
    def make_scratch(cls):
        return Scratch()

    def train(self, name, *words):
        run_dir = self.run_dir(name)
        self.expect(0, *words, run_dir=run_dir)
        summary = self.summary(run_dir)
        self.assertEqual(summary["samples"], EPOCHS * self.scratch.frames)
        return run_dir, summary["final"]

    def test_every_mode_learns_as_well(self):
        modes = {"async": [], "bsp": ["parallel.mode=bsp"],
                 "ssp": ["parallel.mode=ssp", "parallel.staleness=1"],
                 "alone": ["parallel.workers=1"]}
        accuracy = {name: self.train(name, *words)[1]["accuracy"] for name, words in modes.items()}
        for name, value in accuracy.items():
            self.assertGreater(value, 3 / STATES, accuracy)
            self.assertLess(abs(value - accuracy["alone"]), 0.1, accuracy)

    def test_devices_that_share_a_workers_net_train_as_one_does(self):
        finals = [self.train("split%d" % split, "parallel.groups=1", "parallel.workers=0",
                             "parallel.split=%d" % split)[1] for split in (1, 2, 3)]
        for final in finals[1:]:
            self.assertAlmostEqual(final["loss"], finals[0]["loss"], delta=1e-4)
        result = self.expect(64, "--check", "parallel.split=2",
                             "parallel.layers=[{layer: none_such, split: rows}]")
        self.assertIn("no layer or block is named none_such", result.err)

    def test_deterministic_training_gives_the_same_bits_on_any_processes(self):
        models = []
        for workers, servers in ((1, 1), (2, 2)):
            run_dir, final = self.train("%d%d" % (workers, servers), *ORDERED,
                                        "parallel.workers=%d" % workers,
                                        "parallel.servers=%d" % servers)
            models.append((model_of(run_dir), final))
        self.assertTrue(models[0] == models[1])

    def test_stopped_run_goes_on_with_the_frames_it_has_not_seen(self):
        run_dir = self.run_dir()
        process = self.start("--config", self.scratch.job, "--run_dir", run_dir,
                             "train.epochs=1000000", "log.every_steps=1")
        metrics = os.path.join(run_dir, "metrics.jsonl")
        self.assertTrue(wait_until(lambda: program.lines_of(metrics) >= 3, process))
        process.terminate()
        self.assertEqual(program.finish(process).code, 75)
        epochs = self.summary(run_dir)["samples"] // self.scratch.frames + 1
        self.expect(0, "--resume", "train.epochs=%d" % epochs, run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["samples"], epochs * self.scratch.frames)

    def test_metrics_report_and_model_are_those_of_frames(self):
        run_dir, _ = self.train("run")
        rows = read_metrics(run_dir)
        self.assertEqual(sum("valid/accuracy" in row for row in rows), EPOCHS)
        self.assertTrue(any("train/accuracy" in row for row in rows))
        self.assertIn("State accuracy", read(os.path.join(run_dir, "report.html")))
        metadata, tensors = program.read_safetensors(
            os.path.join(run_dir, "best", "model.safetensors"))
        self.assertEqual(set(tensors), {"input.mean", "input.scale", "output.prior",
                                        "linear1.weight", "linear1.bias", "linear2.weight",
                                        "linear2.bias"})
        self.assertIn("feature_dim", metadata["mariana.model"])
        dnn = os.path.join(os.path.dirname(os.path.dirname(program.program())), "mariana_dnn",
                           "mariana_dnn")
        done = subprocess.run([dnn, "evaluate", "--config", self.scratch.dnn_job, "model=" + run_dir],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=e2e.TIMEOUT)
        out = done.stdout.decode()
        self.assertEqual(done.returncode, 0, out)
        told = re.search(r"state accuracy +(0\.\d+|1\.0*)", out)
        self.assertTrue(told, out)
        best = self.summary(run_dir)["best"]["accuracy"]
        self.assertLess(abs(float(told.group(1)) - best), 0.005, out)

    def test_check_prints_the_plan_and_mistakes_are_told(self):
        out = self.expect(0, "--check").out
        self.assertIn("data.frames.train: ", out)
        self.assertTrue(out.endswith("ok\n"), out)
        self.assertIn("data.frames: excludes", self.expect(64, "data.train=x.csv").err)
        self.assertIn("num_labels", self.expect(64, "data.frames.num_labels=0").err)
        self.assertIn("mariana_dnn reads", self.expect(64, "evaluate").err)
        bn = "net.layers=[{type: batch_norm}, {type: linear, units: 0}]"
        self.assertIn("batch normalisation", self.expect(64, bn, run_dir=self.run_dir()).err)


if __name__ == "__main__":
    program.main()
