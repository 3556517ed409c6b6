#!/usr/bin/env -S python3 -B
"""A training run: what it leaves behind, what --resume allows, workers, schedules, divergence."""
import os
import pty
import re
import unittest

import program
from program import (ProgramTest, model_of, norm_of_difference, read, read_bytes, read_json,
                     read_metrics)

STEPS = 15  # of an epoch
ALWAYS_IN_SUMMARY = ["program", "verb", "status", "exit_code", "config_hash", "version", "steps",
                     "samples", "samples_per_second", "wall_seconds", "peak_memory_bytes",
                     "stage_seconds", "final", "best"]


def has_bf16():
    with open("/proc/cpuinfo") as f:
        return "avx512_bf16" in f.read()


class RunDirectory(ProgramTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.scratch("whole")
        cls.result = program.run("--config", cls.scratch.job, "--run_dir", cls.whole,
                                 cwd=cls.scratch.path)

    def test_training_ends_with_exit_code_0_and_tells_how_good_the_model_is(self):
        self.assertEqual(self.result.code, 0, self.result)
        self.assertEqual(self.result.err, "")
        self.assertRegex(self.result.out, r"state accuracy +0\.\d+\nreport: .*report\.html\n$")

    def test_files_of_the_run_directory(self):
        files = set(os.listdir(self.whole))
        events = {name for name in files if name.startswith("events.out.tfevents.")}
        self.assertEqual(len(events), 1)
        self.assertEqual(files - events, {
            ".lock", "best", "checkpoints", "job.yaml", "latest", "log", "metrics.jsonl",
            "report.html", "summary.json"})
        newest = "checkpoints/step-%08d" % (2 * STEPS)
        log = os.path.join(self.whole, "log")
        self.assertIn("epoch 2: held out", "".join(
            read(os.path.join(log, name)) for name in os.listdir(log)))
        for link in ("best", "latest"):
            self.assertEqual(os.readlink(os.path.join(self.whole, link)), newest)
        manifest = read_json(os.path.join(self.whole, newest, "manifest.json"))
        self.assertEqual(set(os.listdir(os.path.join(self.whole, newest))),
                         set(manifest["files"]) | {"manifest.json"})
        for name, entry in manifest["files"].items():
            path = os.path.join(self.whole, newest, name)
            self.assertEqual(os.path.getsize(path), entry["bytes"])

    def test_summary_has_every_field(self):
        summary = read_json(os.path.join(self.whole, "summary.json"))
        self.assertEqual([key for key in ALWAYS_IN_SUMMARY if key not in summary], [])
        self.assertEqual((summary["program"], summary["verb"], summary["status"],
                          summary["exit_code"], summary["steps"]),
                         ("mariana_dnn", "train", "done", 0, 2 * STEPS))
        self.assertGreater(summary["samples_per_second"], 0)
        self.assertGreater(summary["peak_memory_bytes"], 1 << 20)
        self.assertLessEqual({"data", "forward", "backward", "evaluate", "save"},
                             set(summary["stage_seconds"]))
        self.assertEqual(summary["best"]["step"], 2 * STEPS)
        for key in ("loss", "accuracy"):
            self.assertEqual(summary["best"][key], summary["final"][key])
        self.assertGreater(summary["final"]["accuracy"], 0.5)

    def test_metrics_have_a_line_a_step_and_never_go_back(self):
        rows = read_metrics(self.whole)
        self.assertEqual([row["step"] for row in rows if "train/loss" in row],
                         list(range(1, 2 * STEPS + 1)))
        self.assertEqual([row["step"] for row in rows if "valid/loss" in row], [STEPS, 2 * STEPS])
        for before, row in zip(rows, rows[1:]):
            for key in ("step", "epoch", "samples", "seconds"):
                self.assertLessEqual(before[key], row[key], row)
        self.assertEqual(rows[-1]["epoch"], 2)
        self.assertEqual(rows[-1]["samples"],
                         read_json(os.path.join(self.whole, "summary.json"))["samples"])

    def test_report_is_one_page_that_needs_no_network(self):
        page = read(os.path.join(self.whole, "report.html"))
        self.assertTrue(page.lower().startswith("<!doctype html>"))
        self.assertIn("<svg", page)
        self.assertIsNone(re.search(r"https?://|<script[^>]*\bsrc|<link|@import|url\(", page))

    def test_progress_into_a_file_has_no_carriage_returns(self):
        self.assertNotIn("\r", self.result.out)
        self.assertNotIn("\033", self.result.out)

    def test_progress_on_a_terminal_is_a_bar(self):
        terminal, end = pty.openpty()
        process = self.start("--config", self.scratch.job, "--run_dir", self.run_dir(), stdout=end,
                             env={**os.environ, "TERM": "xterm"})
        os.close(end)
        shown = b""
        try:
            while data := os.read(terminal, 4096):
                shown += data
        except OSError:  # the other end was closed
            pass
        os.close(terminal)
        self.assertEqual(program.finish(process).code, 0)
        self.assertIn(b"\repoch 1/2", shown)

    def test_same_job_gives_the_same_bits(self):
        self.expect(0, run_dir=self.run_dir())
        self.assertTrue(model_of(self.run_dir()) == model_of(self.whole))

    def test_printed_config_is_a_job_again(self):
        printed = self.expect(0, "--print_config", "train.batch_size=64").out
        again = self.scratch("printed.yaml")
        program.write(again, printed)
        without_origin = re.compile(" +# .*")
        self.assertEqual(without_origin.sub("", printed), without_origin.sub(
            "", self.expect_plain(0, "--print_config", "--config", again).out))
        self.assertIn("batch_size: 64  # override", printed)
        kept = os.path.join(self.whole, "job.yaml")  # of a run likewise
        self.expect_plain(0, "--config", kept, "--run_dir", self.run_dir())
        self.assertTrue(model_of(self.run_dir()) == model_of(self.whole))


class Resume(ProgramTest):

    def test_run_directory_that_holds_a_run_is_refused(self):
        run_dir = self.run_dir()
        self.expect(0, "train.epochs=1", run_dir=run_dir)
        model = model_of(run_dir)
        result = self.expect(73, "train.epochs=1", run_dir=run_dir)
        self.assertIn("--resume", result.err)
        self.assertTrue(model_of(run_dir) == model)

    def test_finished_run_stays_as_it_is(self):
        run_dir = self.run_dir()
        self.expect(0, "train.epochs=1", run_dir=run_dir)
        names = ("summary.json", "report.html", "metrics.jsonl", "job.yaml")
        before = [read_bytes(os.path.join(run_dir, name)) for name in names]
        result = self.expect(0, "--resume", "train.epochs=1", run_dir=run_dir)
        self.assertIn("is done already", result.out)
        self.assertEqual(before, [read_bytes(os.path.join(run_dir, name)) for name in names])

    def test_more_epochs_and_other_devices_go_on(self):
        run_dir, whole = self.run_dir(), self.run_dir("whole")
        self.expect(0, "train.epochs=1", run_dir=run_dir)
        self.expect(0, "--resume", "train.epochs=2", run_dir=run_dir)
        self.expect(0, "train.epochs=2", run_dir=whole)
        self.assertTrue(model_of(run_dir) == model_of(whole))
        self.expect(0, "--resume", "train.epochs=3", "parallel.devices=3", "log.every_steps=7",
                    "parallel.topology=ring", run_dir=run_dir)
        self.expect(0, "--resume", "train.epochs=3", run_dir=whole)
        self.assertLess(norm_of_difference(os.path.join(run_dir, "latest", "model.safetensors"),
                                           os.path.join(whole, "latest", "model.safetensors")),
                        1e-4)
        self.assertEqual(read_json(os.path.join(run_dir, "summary.json"))["steps"], 3 * STEPS)

    def test_another_job_is_refused_by_the_name_of_what_changed(self):
        run_dir = self.run_dir()
        self.expect(0, "train.epochs=1", run_dir=run_dir)
        names = ("summary.json", "report.html", "metrics.jsonl", "job.yaml")
        before = [read_bytes(os.path.join(run_dir, name)) for name in names]
        for change, key in (("seed=8", "seed was 7 and is now 8"),
                            ("train.batch_size=64", "train.batch_size was 128 and is now 64"),
                            ("net.layers.0.units=16", "net.layers.0.units was 32 and is now 16"),
                            ("net.layers.1.rate=0.2", "net.layers.1.rate was 0.1 and is now 0.2"),
                            ("data.context.left=1", "data.context.left was 2 and is now 1"),
                            ("train.schedule.horizon_epochs=9",
                             "train.schedule.horizon_epochs was 0 and is now 9"),
                            ("data.train.feats=data/valid/feats.scp", None)):
            words = [change]
            if key is None:
                words.append("data.train.alignments=data/valid/ali.txt")
                key = "data.train.feats was "
            result = self.expect(64, "--resume", *words, run_dir=run_dir)
            self.assertIn(key, result.err)
            self.assertIn("use another --run_dir", result.err)
            self.assertEqual(before, [read_bytes(os.path.join(run_dir, name)) for name in names])

    def test_other_data_under_the_same_name_is_refused(self):
        run_dir, scp = self.run_dir(), self.scratch("data", "train", "some.scp")
        lines = read(self.scratch("data", "train", "feats.scp")).splitlines(True)
        program.write(scp, "".join(lines))
        words = ["data.train.feats=" + scp, "data.allow_extra_alignments=true"]
        self.expect(0, *words, run_dir=run_dir)
        program.write(scp, "".join(lines[:-1]))
        result = self.expect(64, "--resume", "train.epochs=3", *words, run_dir=run_dir)
        self.assertIn("training_frames", result.err)

    def test_broken_newest_checkpoint_is_passed_over(self):
        run_dir = self.run_dir()
        self.expect(0, run_dir=run_dir)
        whole = model_of(run_dir)
        path = os.path.join(run_dir, "latest", "model.safetensors")
        with open(path, "r+b") as f:
            f.seek(-1, os.SEEK_END)
            f.write(b"\x55")
        result = self.expect(0, "--resume", run_dir=run_dir)
        self.assertRegex(result.out, r"going on from \S+step-00000028 \(passed over .*checksum")
        self.assertTrue(model_of(run_dir) == whole)

    def test_failed_start_does_not_make_a_run_of_the_folder(self):
        run_dir = self.run_dir()
        self.expect(65, "data.num_labels=3", run_dir=run_dir)
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertEqual((summary["status"], summary["exit_code"]), ("failed", 65))
        self.expect(0, "train.epochs=1", run_dir=run_dir)

    def test_run_directory_that_cannot_be_made_is_refused(self):
        result = self.expect(73, run_dir=os.path.join(self.scratch.job, "run"))
        self.assertIn("Not a directory", result.err)


class Training(ProgramTest):

    def losses(self, name, *words):
        run_dir = self.run_dir(name)
        self.expect(0, *words, run_dir=run_dir)
        return [row["train/loss"] for row in read_metrics(run_dir) if "train/loss" in row], run_dir

    def test_workers_and_topologies_learn_the_same(self):
        layers = ("net.layers=[{type: linear, units: 32}, {type: batch_norm}, {type: relu}, "
                  "{type: dropout, rate: 0.1}, {type: linear, units: 0}]")
        common = [layers, "net.group=16", "train.optimizer.clip_norm=1"]
        one, first = self.losses("one", "parallel.devices=1", *common)
        for devices, topology in ((2, "linear"), (3, "linear"), (3, "ring")):
            several, run_dir = self.losses("%d%s" % (devices, topology),
                                           "parallel.devices=%d" % devices,
                                           "parallel.topology=" + topology, *common)
            for a, b in zip(one, several):
                self.assertAlmostEqual(a, b, delta=1e-4 * abs(a))
            self.assertEqual(len(one), len(several))
            self.assertLess(norm_of_difference(
                os.path.join(first, "latest", "model.safetensors"),
                os.path.join(run_dir, "latest", "model.safetensors")), 1e-4)

    def test_every_optimizer_and_schedule_learns(self):
        for name, words in {
                "adam": ["train.optimizer={type: adam}", "train.schedule.learning_rate=0.01"],
                "adamw": ["train.optimizer={type: adamw, weight_decay: 0.01}",
                          "train.schedule={type: cosine, learning_rate: 0.01, warmup_steps: 5}"],
                "adagrad": ["train.optimizer={type: adagrad}", "train.schedule.learning_rate=0.05"],
                "sgd": ["train.optimizer={type: sgd, nesterov: true, l2: 1.0e-4}",
                        "train.schedule={type: exponential, learning_rate: 0.1, "
                        "final_learning_rate: 0.01}", "train.accumulate=2"]}.items():
            losses, _ = self.losses(name, *words)
            self.assertLess(losses[-1], 0.8 * losses[0], words)

    def test_start_from_another_model(self):
        before, run_dir = self.losses("first")
        after, _ = self.losses("second", "train.start_from=" + run_dir, "seed=9")
        self.assertLess(after[0], 1.5 * before[-1])

    def test_patience_ends_a_run_that_gains_nothing(self):
        losses, run_dir = self.losses("run", "train.patience=1", "train.epochs=1000",
                                      "train.schedule.learning_rate=1.0e-9")
        self.assertLess(len(losses), 1000 * STEPS)
        result = self.expect(0, "--resume", "train.patience=1", "train.epochs=1000",
                             "train.schedule.learning_rate=1.0e-9", run_dir=run_dir)
        self.assertIn("is done already", result.out)

    def test_divergence_ends_the_run_and_says_so(self):
        run_dir = self.run_dir()
        words = ["net.layers=[{type: linear, units: 32, activation: relu}, {type: linear, "
                 "units: 0}]", "train.schedule.learning_rate=1.0e30"]
        result = self.expect(76, *words, run_dir=run_dir)
        self.assertIn("diverged", result.err.splitlines()[-1])
        self.assertIn("learning_rate", result.err.splitlines()[-1])
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertEqual((summary["status"], summary["exit_code"]), ("diverged", 76))
        self.assertIn(summary["error"], result.err)
        self.assertEqual(summary["steps"], len(read_metrics(run_dir)))
        self.assertGreater(summary["steps"], 0)
        self.assertIn("diverged", read(os.path.join(run_dir, "report.html")))

    @unittest.skipUnless(has_bf16(), "this CPU has no bf16")
    def test_bf16_learns_where_the_cpu_has_it(self):
        fp32, _ = self.losses("fp32")
        bf16, _ = self.losses("bf16", "train.precision=bf16")
        self.assertAlmostEqual(fp32[0], bf16[0], delta=0.02 * fp32[0])
        self.assertLess(bf16[-1], 0.8 * bf16[0])

    @unittest.skipIf(has_bf16(), "this CPU has bf16")
    def test_bf16_is_refused_where_the_cpu_lacks_it(self):
        for words in ([], ["--check"]):
            result = self.expect(64, "train.precision=bf16", *words, run_dir=self.run_dir())
            self.assertIn("train.precision: bf16 needs a CPU with AVX512_BF16", result.err)


if __name__ == "__main__":
    program.main()
