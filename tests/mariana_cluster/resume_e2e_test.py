#!/usr/bin/env -S python3 -B
"""A run that is killed or stopped goes on; a member that dies ends the job."""
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

    def test_deterministic_run_that_was_killed_ends_in_the_same_bits(self):
        words = [*DEEP, *ORDERED, "train.epochs=2", "train.checkpoint.every_steps=8",
                 "click.rows={form: keyed, admission: 2, max_rows: 65536}"]
        run_dir, whole = self.run_dir(), self.run_dir("whole")
        self.expect(0, *words, run_dir=whole)
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
        self.assertTrue(model_of(run_dir) == model_of(whole))

    def test_resume_on_another_number_of_workers_goes_on_at_the_same_share(self):
        run_dir = self.run_dir()
        process = self.begin(run_dir, *ENDLESS)
        process.terminate()
        self.assertEqual(program.finish(process).code, 75)
        epochs = self.summary(run_dir)["samples"] // ROWS + 1
        self.expect(0, "--resume", "train.epochs=%d" % epochs, "parallel.workers=3",
                    run_dir=run_dir)
        self.assertLess(abs(self.summary(run_dir)["samples"] - epochs * ROWS), 0.3 * ROWS)

    def test_resume_refuses_another_job_and_knows_a_finished_one(self):
        run_dir = self.run_dir()
        self.expect(0, run_dir=run_dir)
        self.assertIn("is done already", self.expect(0, "--resume", run_dir=run_dir).out)
        result = self.expect(64, "--resume", "train.batch_size=32", run_dir=run_dir)
        self.assertIn("train.batch_size was 64 and is now 32", result.err)
        self.expect(73, run_dir=run_dir)
        self.expect(0, "--resume", "train.epochs=4", run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["samples"], 4 * ROWS)

    def test_member_that_is_killed_ends_the_job_with_77(self):
        for verb in ("worker", "server"):
            run_dir = self.run_dir(verb)
            process = self.begin(run_dir, *ENDLESS)
            members = self.members(process, verb)
            self.assertEqual(len(members), 2 if verb == "worker" else 1)
            os.kill(members[-1], signal.SIGKILL)
            result = program.finish(process)
            self.assertEqual(result.code, 77, result)
            self.assertRegex(result.err.splitlines()[-1], verb + r" \d \(pid %d\) was killed by "
                             r"signal 9" % members[-1])
            self.assertEqual(self.summary(run_dir)["exit_code"], 77)


if __name__ == "__main__":
    program.main()
