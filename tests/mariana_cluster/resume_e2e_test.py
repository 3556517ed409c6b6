#!/usr/bin/env -S python3 -B
"""A run that is killed or stopped goes on; so does one whose members are."""
import os
import re
import signal
import subprocess

import program
from program import DEEP, ORDERED, ROWS, ProgramTest, lines_of, model_of, wait_until

ENDLESS = ["train.epochs=1000000", "log.every_steps=1"]


class Resume(ProgramTest):

    def begin(self, run_dir, *words, lines=3):
        """A run that has come so far."""
        process = self.start("--config", self.scratch.job, "--run_dir", run_dir, *words)
        metrics = os.path.join(run_dir, "metrics.jsonl")
        self.assertTrue(wait_until(lambda: lines_of(metrics) >= lines, process))
        return process

    def members(self, process, verb):
        """Processes that an agent started as `verb`."""
        found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
                               stdout=subprocess.PIPE, check=True).stdout.decode()
        return [int(line.split()[0]) for line in found.splitlines() if line.split()[-1] == verb]

    def test_term_int_and_usr1_save_and_stop_and_resume_sees_each_row_as_often(self):
        for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            run_dir = self.run_dir(stop.name)
            process = self.begin(run_dir, *ENDLESS)
            process.send_signal(stop)
            stopped = program.finish(process)
            self.assertEqual(stopped.code, 75, stopped)
            self.assertIn("--resume goes on", stopped.out)
            summary = self.summary(run_dir)
            self.assertEqual(summary["status"], "stopped")
            epochs = summary["samples"] // ROWS + 1
            self.expect(0, "--resume", "train.epochs=%d" % epochs, run_dir=run_dir)
            self.assertEqual(self.summary(run_dir)["samples"], epochs * ROWS)

    def test_deterministic_run_that_was_stopped_ends_in_the_same_bits(self):
        words = [*DEEP, *ORDERED]
        run_dir, whole = self.run_dir(), self.run_dir("whole")
        process = self.begin(run_dir, *words, *ENDLESS)
        process.terminate()
        self.assertEqual(program.finish(process).code, 75)
        epochs = "train.epochs=%d" % (self.summary(run_dir)["samples"] // ROWS + 1)
        self.expect(0, "--resume", *words, epochs, "parallel.workers=1", run_dir=run_dir)
        self.expect(0, *words, epochs, run_dir=whole)
        self.assertTrue(model_of(run_dir) == model_of(whole))

    def kill_and_resume(self, run_dir, *words):
        """A run that is killed twice, once it has saved steps 8 and 40, and then goes on to its end."""
        checkpoints = os.path.join(run_dir, "checkpoints")
        for first in (8, 40):
            process = self.start("--config", self.scratch.job, "--run_dir", run_dir, *words,
                                 "--resume", stdout=subprocess.DEVNULL,
                                 stderr=subprocess.DEVNULL)
            wait_until(lambda: any(int(name[5:]) >= first for name in (
                os.listdir(checkpoints) if os.path.isdir(checkpoints) else []) if
                                   re.match(r"step-\d+$", name)), process)
            process.kill()
            process.wait()
        self.expect(0, "--resume", *words, run_dir=run_dir)

    def test_deterministic_run_that_was_killed_ends_in_the_same_bits(self):
        words = [*DEEP, *ORDERED, "train.epochs=2", "train.checkpoint.every_steps=8",
                 "click.rows={form: keyed, admission: 2, max_rows: 65536}"]
        run_dir, whole = self.run_dir(), self.run_dir("whole")
        self.expect(0, *words, run_dir=whole)
        self.kill_and_resume(run_dir, *words)
        self.assertTrue(model_of(run_dir) == model_of(whole))

    def test_run_that_was_killed_trains_on_every_row_as_often(self):
        run_dir = self.run_dir()
        self.kill_and_resume(run_dir, "train.epochs=2", "train.checkpoint.every_steps=8")
        self.assertEqual(self.summary(run_dir)["samples"], 2 * ROWS)
        self.assertGreater(self.summary(run_dir)["final"]["auc"], 0.7)

    def test_resume_on_another_number_of_workers_sees_each_row_as_often(self):
        run_dir = self.run_dir()
        process = self.begin(run_dir, *ENDLESS, "parallel.lanes=5")
        process.terminate()
        self.assertEqual(program.finish(process).code, 75)
        epochs = self.summary(run_dir)["samples"] // ROWS + 2
        self.expect(0, "--resume", "train.epochs=%d" % epochs, "parallel.workers=3",
                    run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["samples"], epochs * ROWS)

    def test_resume_refuses_another_job_and_knows_a_finished_one(self):
        run_dir = self.run_dir()
        self.expect(0, run_dir=run_dir)
        self.assertIn("is done already", self.expect(0, "--resume", run_dir=run_dir).out)
        result = self.expect(64, "--resume", "train.batch_size=32", run_dir=run_dir)
        self.assertIn("train.batch_size was 64 and is now 32", result.err)
        self.expect(73, run_dir=run_dir)
        self.expect(0, "--resume", "train.epochs=4", run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["samples"], 4 * ROWS)

    def harm(self, process, run_dir, verb, how, words):
        """Sends a signal to a member of a job that trains, until the job has gone on without it."""
        before = self.members(process, verb)
        metrics = os.path.join(run_dir, "metrics.jsonl")
        os.kill(before[-1], how)
        self.assertTrue(wait_until(lambda: len(set(self.members(process, verb)) - set(before)) == 1,
                                   process, 0.05))
        lines = lines_of(metrics)
        self.assertTrue(wait_until(lambda: lines_of(metrics) >= lines + 3, process))
        words.append(r"%s \d \(pid %d\) was .*; started again" % (verb, before[-1]))

    def test_members_that_are_killed_or_stopped_are_started_again_and_no_row_is_left_out(self):
        for name, more in (("linear", []), ("deep", DEEP),
                           ("bsp", ["parallel.mode=bsp", "parallel.lanes=5"]),
                           ("ordered", [*DEEP, *ORDERED])):
            run_dir, said = self.run_dir(name), []
            process = self.begin(run_dir, *ENDLESS, *more)
            self.harm(process, run_dir, "worker", signal.SIGKILL, said)
            self.harm(process, run_dir, "worker", signal.SIGSTOP, said)
            if name != "ordered":
                self.harm(process, run_dir, "server", signal.SIGKILL, said)
            process.terminate()
            result = program.finish(process)
            self.assertEqual(result.code, 75, result)
            for words in said:
                self.assertRegex(result.err, words)
            epochs = self.summary(run_dir)["samples"] // ROWS + 1
            self.expect(0, "--resume", "train.epochs=%d" % epochs, *more, run_dir=run_dir)
            # A batch in flight may be lost to the count, or trained twice, with each kill.
            self.assertLessEqual(abs(self.summary(run_dir)["samples"] - epochs * ROWS), 2 * 64)
            self.assertGreater(self.summary(run_dir)["final"]["auc"], 0.6)

    def test_too_many_kills_end_the_job_with_77(self):
        for verb, words in (("worker", ["parallel.restarts=0"]), ("server", ORDERED)):
            run_dir = self.run_dir(verb)
            process = self.begin(run_dir, *ENDLESS, *words)
            members = self.members(process, verb)
            self.assertEqual(len(members), 2 if verb == "worker" else 1)
            os.kill(members[-1], signal.SIGKILL)
            result = program.finish(process)
            self.assertEqual(result.code, 77, result)
            # Servers may say after it that they have saved.
            errors = [line for line in result.err.splitlines() if ": error: " in line]
            self.assertRegex(errors[-1], verb + r" \d \(pid %d\) was killed by signal 9" % members[-1])
            self.assertEqual(self.summary(run_dir)["exit_code"], 77)


if __name__ == "__main__":
    program.main()
