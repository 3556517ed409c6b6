#!/usr/bin/env -S python3 -B
"""A training run of mariana_cnn: what it leaves behind, what --resume allows, workers, targets."""
import json
import os
import re

import program
from program import ProgramTest, model_of, norm_of_difference, read, read_json, read_metrics, write

STEPS = 10  # of an epoch


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
        self.assertRegex(self.result.out,
                         r"top-1 accuracy +[01]\.\d+\n(.|\n)*report: .*report\.html\n$")

    def test_the_images_are_learned(self):
        summary = read_json(os.path.join(self.whole, "summary.json"))
        self.assertEqual((summary["program"], summary["status"], summary["steps"]),
                         ("mariana_cnn", "done", 2 * STEPS))
        self.assertEqual(summary["samples"], 600)
        self.assertGreater(summary["best"]["accuracy"], 0.8)
        self.assertLessEqual({"data", "forward", "backward", "evaluate", "save"},
                             set(summary["stage_seconds"]))

    def test_metrics_have_a_line_a_step(self):
        rows = read_metrics(self.whole)
        self.assertEqual([row["step"] for row in rows if "train/loss" in row],
                         list(range(1, 2 * STEPS + 1)))
        self.assertEqual([row["step"] for row in rows if "valid/accuracy" in row],
                         [STEPS, 2 * STEPS])

    def test_report_is_one_page_with_pictures_that_needs_no_network(self):
        page = read(os.path.join(self.whole, "report.html"))
        self.assertIn("Held-out images", page)
        self.assertGreaterEqual(page.count('src="data:image/png;base64,'), 18)
        self.assertIn("bottom taken for left", page)
        self.assertRegex(page, r"Data pipeline, last epoch \(the limit: \w+\)")
        without_pictures = re.sub(r"base64,[\w+/=]*", "", page)
        self.assertIsNone(re.search(r"https?://|<script[^>]*\bsrc|<link|@import|url\(",
                                    without_pictures))

    def test_same_job_gives_the_same_bits_whatever_the_threads_of_the_pipeline(self):
        self.expect(0, "data.cpu_threads=5", "data.io_threads=3", run_dir=self.run_dir())
        self.assertTrue(model_of(self.run_dir()) == model_of(self.whole))

    def test_workers_give_what_one_gives(self):
        for words in (["parallel.devices=1"], ["parallel.devices=3", "parallel.topology=ring"],
                      ["parallel.devices=1", "train.accumulate=2"]):
            run_dir = self.run_dir(words[-1])
            self.expect(0, *words, run_dir=run_dir)
            other, same = (os.path.join(d, "latest", "model.safetensors")
                           for d in (run_dir, self.whole))
            self.assertLess(norm_of_difference(other, same), 1e-4, words)

    def test_workers_that_share_a_model_give_what_one_gives(self):
        for words in (["parallel.split=2"], ["parallel.devices=4", "parallel.split=2"],
                      ["parallel.devices=3", "parallel.split=3"],
                      ["parallel.split=2", "parallel.layers=[{layer: fc, split: rows}]"],
                      ["parallel.split=2", "parallel.layers=[{layer: conv1, place: 1}]"]):
            run_dir = self.run_dir("-".join(words).replace(" ", ""))
            self.expect(0, *words, run_dir=run_dir)
            other, same = (os.path.join(d, "latest", "model.safetensors")
                           for d in (run_dir, self.whole))
            self.assertLess(norm_of_difference(other, same), 1e-4, words)
            loss, whole = (read_json(os.path.join(d, "summary.json"))["best"]["loss"]
                           for d in (run_dir, self.whole))
            self.assertAlmostEqual(loss, whole, delta=1e-4)

    def test_a_shared_model_goes_on_with_other_workers(self):
        run_dir = self.run_dir()
        self.expect(0, "parallel.split=2", "train.epochs=1", "train.schedule.horizon_epochs=2",
                    run_dir=run_dir)
        self.expect(0, "--resume", "parallel.devices=4", "parallel.split=2",
                    "train.schedule.horizon_epochs=2", run_dir=run_dir)
        other, same = (os.path.join(d, "latest", "model.safetensors")
                       for d in (run_dir, self.whole))
        self.assertLess(norm_of_difference(other, same), 1e-4)

    def test_check_prints_who_has_what_and_what_travels(self):
        out = self.expect(0, "--check", "parallel.split=2").out
        for line in (r"conv1 +channels +0-4 4-8", r"fc +(rows|channels) ", r"no deadlock",
                     r"one group of 1: \d+ MB a worker, 2: \d+ MB a worker"):
            self.assertRegex(out, line)

    def test_what_does_not_fit_a_device_is_refused_with_the_split_that_does(self):
        big = ["net.layers=[{type: conv, channels: 64, padding: 1}, {type: linear, units: 512}, "
               "{type: linear, units: 0}]", "parallel.devices=1", "parallel.device_memory=45MB"]
        for check in ([], ["--check"]):
            result = self.expect(64, *big, *check, run_dir=self.run_dir("big"))
            self.assertRegex(result.err, r"parallel.device_memory: worker 0 needs \d+ MB .*; with "
                                         r"parallel.split=2 a worker needs \d+ MB")

    def test_the_model_can_be_the_average_of_its_values(self):
        run_dir = self.run_dir()
        self.expect(0, "train.ema=0.9", run_dir=run_dir)
        said = json.loads(self.expect(0, "evaluate", "--progress=json", run_dir=run_dir).out)
        best = read_json(os.path.join(run_dir, "summary.json"))["best"]
        self.assertAlmostEqual(said["loss"], best["loss"], delta=1e-5)
        self.assertGreater(norm_of_difference(
            *(os.path.join(d, "latest", "model.safetensors") for d in (run_dir, self.whole))), 1e-3)


class Resume(ProgramTest):

    def test_other_data_net_or_transform_is_refused(self):
        run_dir = self.run_dir()
        self.expect(0, "train.epochs=1", run_dir=run_dir)
        model = model_of(run_dir)
        for words, said in ((["seed=8"], "seed was 7 and is now 8"),
                            (["data.train_transform.padding=2"], "data.train_transform.padding"),
                            (["net.layers.0.channels=16"], "net.layers.0.channels"),
                            (["train.batch_size=16"], "train.batch_size")):
            result = self.expect(64, "--resume", *words, run_dir=run_dir)
            self.assertIn(said, result.err)
        self.assertTrue(model_of(run_dir) == model)
        self.assertEqual(read_json(os.path.join(run_dir, "summary.json"))["status"], "done")

    def test_finished_run_stays_as_it_is_and_more_epochs_go_on(self):
        run_dir, whole = self.run_dir(), self.run_dir("whole")
        horizon = "train.schedule.horizon_epochs=3"
        self.expect(0, "train.epochs=1", horizon, run_dir=run_dir)
        again = self.expect(0, "train.epochs=1", horizon, "--resume", run_dir=run_dir)
        self.assertIn("is done already", again.out)
        self.expect(0, "train.epochs=3", horizon, "--resume", "data.cpu_threads=1", run_dir=run_dir)
        self.expect(0, "train.epochs=3", horizon, run_dir=whole)
        self.assertTrue(model_of(run_dir) == model_of(whole))


class Targets(ProgramTest):
    """Images with numbers: 1 where the bar is left or at the top."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        program.make_folder(cls.scratch("bmps"), 20, 5)
        lines = ["%s/%03d.bmp\t%d\n" % (name, i, name in ("left", "top"))
                 for i in range(20) for name in program.NAMES]
        write(cls.scratch("bmps", "clicks.tsv"), "".join(lines))
        cls.words = ["net.loss=logistic", "train.epochs=6", "data.train_transform={crop: none}"]
        for name in ("train", "valid"):
            cls.words.append("data.%s={type: list, path: %s, target: number}" % (
                name, cls.scratch("bmps", "clicks.tsv")))

    def test_logistic_loss_learns_and_tells_the_area_under_the_curve(self):
        run_dir = self.run_dir()
        self.expect(0, *self.words, run_dir=run_dir)
        best = read_json(os.path.join(run_dir, "summary.json"))["best"]
        self.assertGreater(best["auc"], 0.9)
        self.assertIn("auc", read(os.path.join(run_dir, "metrics.jsonl")))
        out = self.expect(0, "predict", *self.words, run_dir=run_dir).out.splitlines()
        self.assertEqual(out[0], "image\tvalue")
        values = [float(line.split("\t")[1]) for line in out[1:]]
        self.assertEqual(len(values), 80)
        self.assertTrue(all(0 <= v <= 1 for v in values))

    def test_squared_error_learns(self):
        run_dir = self.run_dir()
        words = [*self.words, "net.loss=squared_error", "train.schedule.learning_rate=0.003"]
        self.expect(0, *words, run_dir=run_dir)
        losses = [row["valid/loss"] for row in read_metrics(run_dir) if "valid/loss" in row]
        self.assertLess(losses[-1], 0.8 * losses[0])

    def test_a_loss_of_classes_needs_classes(self):
        result = self.expect(64, *self.words, "net.loss=softmax_cross_entropy",
                             run_dir=self.run_dir())
        self.assertIn("softmax_cross_entropy goes with images that have classes", result.err)


if __name__ == "__main__":
    program.main()
