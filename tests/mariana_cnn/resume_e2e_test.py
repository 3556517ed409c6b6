#!/usr/bin/env -S python3 -B
"""A run that is killed or stopped goes on to the model of an undisturbed run."""
import os
import random
import signal

import program
import kill_trials  # its folder is on the path now
from program import ProgramTest, lines_of, model_of, read_json, read_metrics, wait_until

STEPS = 10  # of an epoch


class Killed(ProgramTest):

    def test_kill_between_saves_and_resume_gives_the_same_model(self):
        trials = kill_trials.Trials(self.scratch, random.Random(3), name="between")
        trial = trials.run(inside_save=False, kills=4)
        self.assertTrue(trial.identical, trial)

    def test_kill_inside_a_save_and_resume_gives_the_same_model(self):
        trials = kill_trials.Trials(self.scratch, random.Random(4), name="inside")
        results = [trials.run(inside_save=True, kills=2) for _ in range(2)]
        self.assertTrue(all(t.identical for t in results), results)
        self.assertGreaterEqual(sum(t.inside_save for t in results), 2, results)


class Stopped(ProgramTest):

    def test_term_saves_and_stops_and_resume_goes_on(self):
        run_dir, whole = self.run_dir(), self.run_dir("whole")
        words = ["train.checkpoint.every_steps=0", "train.schedule.horizon_epochs=9"]
        process = self.start("--config", self.scratch.job, "--run_dir", run_dir,
                             "train.epochs=1000000", *words)
        self.assertTrue(wait_until(
            lambda: lines_of(os.path.join(run_dir, "metrics.jsonl")) >= 3, process))
        process.send_signal(signal.SIGTERM)
        stopped = program.finish(process)
        self.assertEqual(stopped.code, 75, stopped)
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertEqual((summary["status"], summary["exit_code"]), ("stopped", 75))
        epochs = summary["steps"] // STEPS + 1
        self.expect(0, "--resume", "train.epochs=%d" % epochs, *words, run_dir=run_dir)
        self.expect(0, "train.epochs=%d" % epochs, *words, run_dir=whole)
        self.assertTrue(model_of(run_dir) == model_of(whole))
        steps = [row["step"] for row in read_metrics(run_dir) if "train/loss" in row]
        self.assertEqual(steps, list(range(1, STEPS * epochs + 1)))


if __name__ == "__main__":
    program.main()
