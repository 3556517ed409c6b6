#!/usr/bin/env -S python3 -B
"""Sweeps over a stand-in for the programs (fake_trainer.py): what is trained, and what becomes of
trials and sweeps that fail, are stopped or killed."""
import json
import os
import re
import signal
import sys
import time
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import sweeps

sweeps.under_its_environment()

import brackets  # noqa: E402
import journal  # noqa: E402
import spec as specs  # noqa: E402

ASHA = """\
space:
  train.schedule.learning_rate: {low: 0.001, high: 1.0, log: true}
  units: {low: 1, high: 100}
search: {type: random, trials: 9}
prune: {type: asha, min: 1, max: 9, factor: 3}
"""


def smaller(a, b):
    return a < b


class Brackets(unittest.TestCase):

    def trial(self, number, **values):
        t = journal.Trial(number, str(number), {}, outcome="paused")
        t.values = {int(k[1:]): v for k, v in values.items()}
        t.rung = max(t.values)
        return t

    def test_a_third_of_a_rung_goes_on_the_best_first(self):
        asha = brackets.Brackets(specs.Prune("asha", min=1, max=9, factor=3), smaller)
        self.assertEqual(asha.brackets, [[1, 3, 9]])
        trials = [self.trial(i, r0=float(v)) for i, v in enumerate([5, 3, 4, 1, 2, 6])]
        self.assertEqual(asha.promotable(trials).number, 3)
        trials[3] = self.trial(3, r0=1.0, r1=0.5)
        self.assertEqual(asha.promotable(trials).number, 4)
        trials[4].outcome = "running"
        self.assertIsNone(asha.promotable(trials))

    def test_higher_rungs_come_first(self):
        asha = brackets.Brackets(specs.Prune("asha", min=1, max=4, factor=2), lambda a, b: a > b)
        trials = [self.trial(0, r0=9.0, r1=9.5), self.trial(1, r0=8.0, r1=9.6),
                  self.trial(2, r0=7.0), self.trial(3, r0=6.0), self.trial(4, r0=9.1),
                  self.trial(5, r0=1.0)]
        self.assertEqual(asha.promotable(trials).number, 1)

    def test_hyperband_deals_trials_out_by_work(self):
        hyperband = brackets.Brackets(specs.Prune("hyperband", min=1, max=9, factor=3), smaller)
        self.assertEqual(hyperband.brackets, [[1, 3, 9], [3, 9], [9]])
        counts = [0, 0, 0]
        for number in range(3000):
            counts[hyperband.bracket_of(1, number)] += 1
        # 3 / 3 * 9 : 3 / 2 * 3 : 3 / 1
        for count, share in zip(counts, (9 / 16.5, 4.5 / 16.5, 3 / 16.5)):
            self.assertAlmostEqual(count / 3000, share, delta=0.05)


class Training(sweeps.SweepTest):

    def test_asha_goes_on_from_checkpoints_and_finds_the_best(self):
        out, _ = self.sweep(ASHA)
        starts = self.starts()
        self.assertEqual(len(starts), 9)
        self.assertEqual(sum(s[-1][1] == 9 for s in starts.values()), 1)
        for trial in starts.values():  # each start begins where the one before ended
            done = 0
            for begun, to, _ in trial:
                self.assertEqual(begun, done)
                done = to
        ends = self.events("end")
        best = min(ends, key=lambda e: e["value"])
        self.assertIn("best: trial %d " % best["number"], out)
        self.assertEqual(self.sweep(ASHA)[0].count("begins"), 0)
        self.assertEqual(self.starts(), starts)

    def test_of_few_trials_the_best_is_trained_to_the_end(self):
        self.sweep(ASHA.replace("trials: 9", "trials: 2"))
        best = min((e for e in self.events("end") if e["rung"] == 0), key=lambda e: e["value"])
        best = self.events("trial")[best["number"]]["id"]
        self.assertEqual({trial: starts[-1][1] for trial, starts in self.starts().items()},
                         {trial: 9 if trial == best else 1 for trial in self.starts()})

    def test_horizon_is_that_of_the_whole_training(self):
        self.sweep("overrides: {train.schedule.type: cosine}\n" + ASHA)
        self.assertEqual({s[2] for trial in self.starts().values() for s in trial}, {9})

    def test_more_trials_go_on_from_those_there_are(self):
        self.sweep(ASHA.replace("trials: 9", "trials: 4"))
        before = self.starts()
        self.sweep(ASHA)
        self.assertEqual(len(self.starts()), 9)
        for trial, starts in before.items():
            self.assertEqual(self.starts()[trial][:len(starts)], starts)

    def test_tpe_comes_nearer_than_its_first_draws(self):
        self.sweep(ASHA.replace("random, trials: 9", "tpe, trials: 24")
                   .replace("asha, min: 1, max: 9, factor: 3", "none"))
        values = [e["value"] for e in self.events("end")]
        self.assertLess(min(values[10:]), min(values[:10]))

    def test_a_grid_takes_whole_values_and_never_one_config_twice(self):
        out, _ = self.sweep("space:\n  units: {choices: {one: 1, two: 2, uno: 1}}\n"
                            "  train.schedule.learning_rate: {low: 0.01, high: 1.0, log: true, "
                            "steps: 3}\nsearch: {type: grid}\n")
        self.assertEqual(len(self.starts()), 6)
        self.assertEqual(out.count(" again\n"), 3)
        rates = {e["point"]["train.schedule.learning_rate"] for e in self.events("trial")}
        self.assertEqual(rates, {0.01, 0.1, 1.0})

    def test_a_grid_on_the_command_line(self):
        self.finish(self.start("main.py", "mariana_dnn", "--config=job.yaml", "units=1,2",
                               "seed=1,2,3", "train.epochs=2"))
        self.assertEqual(len(self.starts("runs/sweep-job")), 6)

    def test_report_is_one_page_of_its_own(self):
        self.sweep(ASHA)
        with open(self.path("runs/sweep-s/report.html")) as f:
            text = f.read()
        self.assertNotRegex(text, r"(src|href)=|https?://|@import")
        self.assertEqual(text.count("<svg"), 3)
        best = min(self.events("end"), key=lambda e: e["value"])
        point = self.events("trial")[best["number"]]["point"]
        self.assertIn("train.schedule.learning_rate=%.12g units=%d" % tuple(point.values()), text)


class Failing(sweeps.SweepTest):

    def outcomes(self, overrides, more=""):
        self.sweep("overrides: {%s}\nspace: {seed: [1, 2]}\nsearch: {type: grid}\n%s" % (
            overrides, more))
        return [e["outcome"] for e in self.events("end")]

    def test_diverged_trials_are_recorded(self):
        self.write("s.yaml", "")
        out, err = self.sweep("space: {fake.fails: [76]}\nsearch: {type: grid}\n", code=70)
        self.assertEqual([e["outcome"] for e in self.events("end")], ["diverged"])
        self.assertIn("diverged: fails at epoch 1", out)
        self.assertIn("no trial came to a value", err)

    def test_preempted_lost_and_killed_trials_go_on(self):
        for code, outcome in ((75, "preempted"), (77, "lost"), (137, "killed")):
            with self.subTest(outcome):
                self.setUp()
                ends = self.outcomes("fake.fails: %d, fake.once: true, fake.fails_from: 3" % code)
                self.assertEqual(ends, [outcome, "done", outcome, "done"])
                for trial in self.starts().values():
                    self.assertEqual([s[0] for s in trial], [0, 2])

    def test_retries_have_an_end(self):
        out, _ = self.sweep("space: {fake.fails: [0, 77]}\nsearch: {type: grid}\n"
                            "retry: {lost: 2}\n")
        self.assertEqual([e["outcome"] for e in self.events("end")],
                         ["done", "lost", "lost", "lost"])

    def test_a_sweep_whose_trials_all_fail_ends_soon(self):
        _, err = self.sweep("overrides: {fake.fails: 65}\nspace: {seed: {low: 1, high: 100}}\n"
                            "search: {type: random, trials: 50}\n", code=70)
        self.assertEqual(len(self.events("end")), 5)
        self.assertIn("the first 5 trials failed; the last: fails at epoch 1", err)

    def test_unknown_metric_is_named(self):
        _, err = self.sweep("metric: valid/los\nspace: {seed: [1, 2]}\n", code=64)
        self.assertIn("metric: no valid/los in ", err)
        self.assertIn("there are valid/loss", err)


class Interrupted(sweeps.SweepTest):

    def begin(self):
        """A sweep whose second trial waits until told."""
        self.gate = self.path("gate")
        self.text = ("overrides: {fake.wait: %s}\n" % self.gate) + ASHA
        self.write("s.yaml", "program: mariana_dnn\nconfig: job.yaml\n" + self.text)
        process = self.start("main.py", "s.yaml")
        self.addCleanup(process.kill)
        deadline = time.monotonic() + sweeps.TIMEOUT
        while not self.starts():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.01)
        return process

    def points(self, folder="runs/sweep-s"):
        return [(e["id"], e["point"]) for e in self.events("trial", folder)]

    def test_ctrl_c_saves_and_the_same_command_goes_on(self):
        process = self.begin()
        process.send_signal(signal.SIGINT)
        _, err = self.finish(process, 75)
        self.assertIn("stopped; the same command goes on from there", err)
        self.assertEqual(self.events("end")[-1]["outcome"], "stopped")
        self.write("gate", "")
        self.sweep(self.text)
        stopped = self.points()
        self.assertEqual(len(self.starts()), 9)
        self.sweep(self.text, "--run_dir=whole")
        self.assertEqual(stopped, self.points("whole"))

    def test_kill_9_ends_the_trials_and_the_same_command_goes_on(self):
        process = self.begin()
        process.kill()
        process.communicate()
        with open(self.path("runs/sweep-s/journal.jsonl"), "a") as f:
            f.write('{"event": "torn')
        self.write("gate", "")
        self.sweep(self.text)
        killed = self.points()
        self.sweep(self.text, "--run_dir=whole")
        self.assertEqual(killed, self.points("whole"))
        ends = [[(e["number"], e["rung"], e["value"]) for e in self.events("end", folder)]
                for folder in ("runs/sweep-s", "whole")]
        self.assertEqual(ends[0], ends[1])

    def test_one_sweep_at_a_time(self):
        self.begin()
        _, err = self.finish(self.start("main.py", "s.yaml"), 73)
        self.assertIn("another sweep is at work here", err)

    def test_another_space_is_another_sweep(self):
        self.sweep(ASHA)
        _, err = self.sweep(ASHA.replace("high: 100", "high: 50"), code=64)
        self.assertIn("space is not what", err)


class Mistakes(sweeps.SweepTest):

    def test_all_mistakes_of_the_file_come_at_once(self):
        _, err = self.sweep("metrik: x\nsearch: {type: gird, trials: -3}\n"
                            "prune: {type: asha, factor: 1}\n"
                            "space:\n  a: 3\n  b: {low: 0, high: 1.0, log: true}\n  c: []\n",
                            code=64)
        lines = [line.split(self.folder)[-1] for line in err.splitlines()]
        lines = [re.sub(r"^.*?s\.yaml", "s.yaml", line).split(": ")[:2] for line in lines]
        self.assertEqual(lines, [
            ["s.yaml:4:16", "search.type"], ["s.yaml:4:30", "search.trials"],
            ["s.yaml:5:29", "prune.factor"], ["s.yaml:7:6", "space.a"], ["s.yaml:8:6", "space.b"],
            ["s.yaml:9:6", "space.c"], ["s.yaml:3:1", "metrik"]])
        self.assertIn('did you mean "metric"?', err)
        self.assertIn('did you mean "grid"?', err)

    def test_the_program_is_asked_about_every_value(self):
        _, err = self.sweep("space:\n  unit: [1, 2]\n  sed: [3]\n  seed: [1]\n", code=64)
        self.assertEqual(len(err.splitlines()), 2, err)
        self.assertIn("s.yaml:4:9: space: unit: unknown key", err)

    def test_no_file_and_no_yaml(self):
        self.assertIn("No such file", self.finish(self.start("main.py", "x.yaml"), 64)[1])
        self.write("x.yaml", "a: [1\n")
        self.assertIn("x.yaml:2:1: ", self.finish(self.start("main.py", "x.yaml"), 64)[1])


class Compare(sweeps.SweepTest):

    def run_of(self, name, rate, loss):
        os.makedirs(self.path(name))
        self.write(name + "/job.yaml", "name: %s  # x.yaml:1\ntrain:\n  rate: %s  # override\n"
                   "net:\n  layers:\n    - type: linear  # default\n" % (name, rate))
        self.write(name + "/summary.json", json.dumps(
            {"status": "done", "steps": 10, "samples_per_second": 123.4, "best": {
                "valid/loss": loss, "step": 5}}))
        self.write(name + "/metrics.jsonl", "".join(json.dumps(
            {"step": e, "epoch": e, "samples": e, "valid/loss": loss + 1 / e}) + "\n"
            for e in (1, 2, 3)))

    def test_differences_and_results(self):
        self.run_of("a", 0.1, 0.5)
        self.run_of("b", 0.2, 0.4)
        out, _ = self.finish(self.start("compare.py", "a", "b"))
        self.assertRegex(out, r"train\.rate +0\.1 +0\.2\n")
        self.assertRegex(out, r"best valid/loss +0\.5 +0\.4\n")
        self.assertNotIn("net.layers", out)
        with open(self.path("compare.html")) as f:
            text = f.read()
        self.assertEqual(text.count("<svg"), 1)
        self.assertNotRegex(text, r"(src|href)=|https?://")

    def test_what_is_no_run_is_named(self):
        _, err = self.finish(self.start("compare.py", "nowhere"), 64)
        self.assertIn("nowhere: holds no run", err)


if __name__ == "__main__":
    unittest.main(verbosity=2)
