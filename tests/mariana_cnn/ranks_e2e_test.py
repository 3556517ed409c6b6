#!/usr/bin/env -S python3 -B
"""Several ranks under mpirun train on their own images alone, and give one process's model."""
import math
import os
import signal

import program
from program import (ProgramTest, lines_of, model_of, norm_of_difference, read_json, read_metrics,
                     wait_until)

import ranks  # noqa: E402  (its folder is on the path now)


# Every kind of split: by channels, with borders of neighbours; branches on workers of their own;
# by rows; by columns; a softmax over split classes.
NET = """net.layers=[
  {type: conv, channels: 16, padding: 1, activation: relu}, {type: lrn}, {type: max_pool},
  {type: branch, name: arms, branches: [
    {name: left, layers: [{type: conv, channels: 8, padding: 1}, {type: batch_norm}]},
    {name: right, layers: [{type: conv, channels: 8, padding: 1}]}]},
  {type: relu}, {type: dropout, rate: 0.1},
  {type: linear, name: first, units: 24, activation: relu},
  {type: linear, name: second, units: 20, activation: tanh},
  {type: linear, name: last, units: 0}]"""
LAYERS = """parallel.layers=[{layer: arms.left, place: 0}, {layer: arms.right, place: 1},
  {layer: first, split: rows}, {layer: second, split: columns}, {layer: last, split: columns}]"""


def losses(run_dir):
    return [row["train/loss"] for row in read_metrics(run_dir) if "train/loss" in row]


def distance(a, b):
    return math.dist(a, b) / math.hypot(*b)


class Ranks(ranks.RanksTest, ProgramTest):

    def test_ranks_train_and_evaluate_as_one_process(self):
        words = ["train.ema=0.9", "parallel.topology=linear"]
        whole, run_dir = self.run_dir("whole"), self.run_dir()
        self.expect(0, "parallel.devices=3", *words, run_dir=whole)
        self.expect_ranks(0, 3, "parallel.devices=1", *words, run_dir=run_dir)
        self.assertTrue(model_of(run_dir) == model_of(whole))
        rows, expected = ([{n: v for n, v in row.items() if not n.endswith("seconds")}
                           for row in read_metrics(d)] for d in (run_dir, whole))
        self.assertEqual(rows, expected)
        self.assertEqual(read_json(run_dir + "/summary.json")["best"],
                         read_json(whole + "/summary.json")["best"])

    def split(self, ranks, groups, split, *words, run_dir):
        return self.expect_ranks(0, ranks, "parallel.devices=1", "parallel.groups=%d" % groups,
                                 "parallel.split=%d" % split, NET, LAYERS, *words, run_dir=run_dir)

    def test_a_model_split_over_ranks_gives_one_workers_losses(self):
        words = ["train.epochs=5", "train.schedule.horizon_epochs=5"]
        whole = self.run_dir("whole")
        self.expect(0, "parallel.devices=1", NET, *words, run_dir=whole)
        expected = losses(whole)
        self.assertEqual(len(expected), 50)
        for ranks, groups, split in ((3, 1, 3), (4, 2, 2), (3, 2, 3)):
            run_dir = self.run_dir("%d.%d" % (groups, split))
            self.split(ranks, groups, split, *words, run_dir=run_dir)
            self.assertLess(distance(losses(run_dir), expected), 1e-4)
        run_dir = self.run_dir("on")
        self.split(3, 1, 3, "train.epochs=2", words[1], run_dir=run_dir)
        self.split(4, 1, 4, "train.epochs=4", words[1], "--resume", run_dir=run_dir)
        self.expect(0, "parallel.devices=1", NET, *words, "--resume", run_dir=run_dir)
        self.assertEqual(len(losses(run_dir)), 50)
        self.assertLess(distance(losses(run_dir), expected), 1e-4)
        self.assertLess(norm_of_difference(*(d + "/latest/model.safetensors"
                                             for d in (run_dir, whole))), 1e-4)
        best = [read_json(d + "/summary.json")["best"]["loss"] for d in (run_dir, whole)]
        self.assertAlmostEqual(best[0], best[1], delta=1e-4)

    def test_one_ranks_stop_or_death_is_that_of_all_who_share_its_model(self):
        for how in (signal.SIGTERM, signal.SIGKILL):
            run_dir = self.run_dir(how.name)
            process = self.start_ranks((3, ["parallel.devices=1", "parallel.split=3", NET, LAYERS,
                                            "train.epochs=100000"]), run_dir=run_dir)
            self.assertTrue(wait_until(lambda: lines_of(run_dir + "/metrics.jsonl") >= 3, process))
            os.kill(ranks.pid_of_rank(process, 1), how)
            result = program.finish(process)
            if how == signal.SIGTERM:
                self.assertEqual(result.code, 75, result)
            else:
                self.assertNotEqual(result.code, 0)
                summary = read_json(run_dir + "/summary.json")
                self.assertEqual(summary["exit_code"], 77)
                self.assertRegex(summary["error"], r"rank 1, [a-z ]+: the process on ")

    def test_ranks_that_cannot_share_a_model_are_refused(self):
        out = self.expect_ranks(0, 3, "--check", "parallel.devices=1", "parallel.split=3", NET,
                                LAYERS).out
        self.assertIn("between the 3 workers of a group", out)
        self.assertIn("no deadlock", out)
        out = self.expect_ranks(64, 3, "parallel.devices=1", "parallel.split=2").err
        self.assertIn("parallel.split: 2 does not divide the 3 devices of 3 processes", out)
        out = self.expect_ranks(64, 3, "parallel.devices=1", "parallel.groups=2",
                                "parallel.split=2").err
        self.assertIn("groups * split = 4 workers cannot be dealt out evenly to 3 processes", out)


if __name__ == "__main__":
    program.main()
