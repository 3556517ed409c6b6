#!/usr/bin/env -S python3 -B
"""A run that is killed, stopped or out of disk goes on to the model of an undisturbed run."""
import glob
import os
import random
import shutil
import signal
import subprocess

import program
import kill_trials  # its folder is on the path now
from program import ProgramTest, lines_of, model_of, read_json, read_metrics, wait_until

# Hands out a feature archive; waits for the file GO as soon as the run has METRICS with as many
# evaluations as told. So a test holds the program where it wants it, for as long as it wants.
GATE = """\
#!/bin/sh
# gate FILE: the command of an scp entry
if [ -s "$METRICS" ] && [ "$(grep -c valid/loss "$METRICS")" -ge "$EVALUATIONS" ]; then
  : > "$REACHED"
  while [ ! -e "$GO" ] && [ -e "$REACHED" ]; do sleep 0.02; done
fi
exec cat "$1"
"""


STEPS = 15  # of an epoch
ENDLESS = "train.epochs=1000000"


class Killed(ProgramTest):

    def test_kill_between_saves_and_resume_gives_the_same_model(self):
        trial = kill_trials.Trials(self.scratch, random.Random(3), name="between").run(inside_save=False, kills=4)
        self.assertTrue(trial.identical, trial)

    def test_kill_inside_a_save_and_resume_gives_the_same_model(self):
        trials = kill_trials.Trials(self.scratch, random.Random(4), name="inside")
        results = [trials.run(inside_save=True, kills=2) for _ in range(2)]
        self.assertTrue(all(t.identical for t in results), results)
        self.assertGreaterEqual(sum(t.inside_save for t in results), 2, results)

    def test_newbob_that_rolled_back_resumes_to_the_same_model(self):
        # A rate so high that some epochs are rejected.
        trials = kill_trials.Trials(
            self.scratch, random.Random(5),
            ["net.layers=[{type: linear, units: 64}, {type: batch_norm}, {type: relu}, "
             "{type: linear, units: 0}]",
             "train.optimizer={type: adam, clip_norm: 1}", "train.epochs=6",
             "train.schedule={type: newbob, learning_rate: 0.3, newbob_stop_gain: -9, "
             "warmup_steps: 5}"], name="newbob")
        self.assertIn("back to the best values", trials.out)
        trial = trials.run(inside_save=False, kills=3)
        self.assertTrue(trial.identical, trial)


class Stopped(ProgramTest):

    def stop_and_resume(self, stop, run_dir, words=()):
        """Sends `stop` to a run that trains without end, resumes it to the end of the epoch;
        (what the stopped one said, number of epochs)."""
        process = self.start("--config", self.scratch.job, "--run_dir", run_dir, ENDLESS, *words)
        self.assertTrue(wait_until(
            lambda: lines_of(os.path.join(run_dir, "metrics.jsonl")) >= 3, process))
        process.send_signal(stop)
        stopped = program.finish(process)
        self.assertEqual(stopped.code, 75, stopped)
        epochs = read_json(os.path.join(run_dir, "summary.json"))["steps"] // STEPS + 1
        self.expect(0, "--resume", "train.epochs=%d" % epochs, *words, run_dir=run_dir)
        return stopped, epochs

    def test_term_int_and_usr1_save_and_stop(self):
        for stop in (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1):
            words = ["train.checkpoint.every_steps=0"]
            run_dir, whole = self.run_dir(stop.name), self.run_dir(stop.name + ".whole")
            stopped, epochs = self.stop_and_resume(stop, run_dir, words)
            self.assertIn("stopping after saving a checkpoint", stopped.err)
            self.assertIn("--resume goes on", stopped.out)
            self.expect(0, "train.epochs=%d" % epochs, *words, run_dir=whole)
            self.assertTrue(model_of(run_dir) == model_of(whole), stop)
            steps = [row["step"] for row in read_metrics(run_dir) if "train/loss" in row]
            self.assertEqual(steps, list(range(1, STEPS * epochs + 1)))

    def test_stopped_run_says_so_in_its_summary(self):
        run_dir = self.run_dir()
        process = self.start("--config", self.scratch.job, "--run_dir", run_dir, ENDLESS)
        self.assertTrue(wait_until(
            lambda: lines_of(os.path.join(run_dir, "metrics.jsonl")) >= 3, process))
        process.terminate()
        self.assertEqual(program.finish(process).code, 75)
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertEqual((summary["status"], summary["exit_code"]), ("stopped", 75))
        self.assertGreaterEqual(summary["steps"], 3)
        link = os.readlink(os.path.join(run_dir, "latest"))
        self.assertEqual(link, "checkpoints/step-%08d" % summary["steps"])

    def test_second_interrupt_exits_at_once(self):
        # The program hangs in writing its first line to a full pipe, as in `mariana_dnn | less`.
        read_end, write_end = os.pipe()
        os.set_blocking(write_end, False)
        try:
            while True:
                os.write(write_end, b"x" * 4096)
        except BlockingIOError:
            os.set_blocking(write_end, True)
        process = self.start("--config", self.scratch.job, "--run_dir", self.run_dir(),
                             stdout=write_end)
        os.close(write_end)
        self.assertTrue(wait_until(lambda: os.path.isdir(self.run_dir()), process))
        process.send_signal(signal.SIGINT)
        notice = process.stderr.readline().decode()
        self.assertIn("interrupt again to exit at once", notice)
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(timeout=program.TIMEOUT), 130)
        process.stderr.close()
        os.close(read_end)


class StoppedInEvaluation(ProgramTest):

    def held(self, name, evaluations, words):
        """A run that waits in its evaluation number `evaluations` (from 0) until it is let go."""
        gate = self.scratch("gate.sh")
        program.write(gate, GATE)
        os.chmod(gate, 0o755)
        scp, lines = self.scratch("data", "valid", "gated.scp"), []
        source = self.scratch("data", "valid", "feats.scp")
        for i, line in enumerate(program.read(source).splitlines()):
            key, place = line.split()
            if i == 0:  # as a whole file: an archive's value without its key
                value = self.scratch("data", "valid", "first.mat")
                data = program.read_bytes(self.scratch("data", "valid", "feats.ark"))
                rest = program.read(source).splitlines()[1].split()
                end = int(rest[1].split(":")[1]) - len(rest[0]) - 1
                with open(value, "wb") as f:
                    f.write(data[int(place.split(":")[1]):end])
                place = "%s %s |" % (gate, value)
            lines.append("%s %s\n" % (key, place))
        program.write(scp, "".join(lines))
        run_dir = self.run_dir(name)
        self.go, reached = run_dir + ".go", run_dir + ".reached"
        words = ["--config", self.scratch.job, "--run_dir", run_dir,
                 "data.valid.feats=" + scp, "data.allow_pipes=true", *words]
        environment = {**os.environ, "METRICS": os.path.join(run_dir, "metrics.jsonl"),
                       "EVALUATIONS": str(evaluations), "REACHED": reached, "GO": self.go}
        process = self.start(*words, env=environment)
        self.assertTrue(wait_until(lambda: os.path.exists(reached), process),
                        process.poll() is not None and program.finish(process))
        return process, run_dir

    def terminate(self, process):
        process.terminate()  # handled before the program sees what it waits for
        program.write(self.go, "")
        return program.finish(process)

    def stop_and_compare(self, evaluations, *words):
        whole = self.run_dir()
        self.expect(0, *words, run_dir=whole)
        process, run_dir = self.held("stopped", evaluations, words)
        result = self.terminate(process)
        self.assertEqual(result.code, 75, result)
        self.assertIn("stopping after saving a checkpoint", result.err)
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertEqual(summary["status"], "stopped")
        self.expect(0, "--resume", *words, run_dir=run_dir)
        for link in ("latest", "best"):
            self.assertTrue(model_of(run_dir, link) == model_of(whole, link), link)
            self.assertEqual(os.readlink(os.path.join(run_dir, link)),
                             os.readlink(os.path.join(whole, link)))
        rows, expected = ([{n: v for n, v in row.items() if not n.endswith("seconds")}
                           for row in read_metrics(d)] for d in (run_dir, whole))
        self.assertEqual(rows, expected)
        for key in ("final", "best"):
            self.assertEqual(read_json(os.path.join(run_dir, "summary.json"))[key],
                             read_json(os.path.join(whole, "summary.json"))[key])

    def test_stop_in_the_evaluation_after_an_epoch(self):
        self.stop_and_compare(0)

    def test_stop_in_the_evaluation_at_max_steps(self):
        self.stop_and_compare(0, "train.max_steps=6")

    def test_stop_while_the_best_model_tells_texts_apart(self):
        keys = [line.split()[0] for line in
                program.read(self.scratch("data", "valid", "ali.txt")).splitlines()]
        words = ["data.num_labels=0", "data.silence_phones=[SIL]"]
        for name, text in (
                ("states", "".join("%d %s %d\n" % (i, "SIL" if i > 17 else "P%d" % (i // 3), i % 3)
                                   for i in range(20))),
                ("lexicon", "YES P1 P2\nNO P3 P4\n"),
                ("texts", "".join("%s %s\n" % (key, ("YES", "NO")[i % 2])
                                  for i, key in enumerate(keys)))):
            program.write(self.scratch(name), text)
            words.append("data.%s=%s" % (name, self.scratch(name)))
        self.stop_and_compare(2, *words)


class DiskFull(ProgramTest):

    def setUp(self):
        self.disk = self.scratch("disk")
        os.makedirs(self.disk, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=700k", "none", self.disk]
        if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no file system can be mounted here")

    def tearDown(self):
        subprocess.run(["umount", self.disk], check=True)

    def test_full_disk_ends_the_run_and_more_space_lets_it_go_on(self):
        words = ["train.checkpoint.every_steps=2", "train.checkpoint.keep=100"]
        whole, run_dir = self.run_dir(), os.path.join(self.disk, "run")
        self.expect(0, *words, run_dir=whole)
        result = self.expect(74, *words, run_dir=run_dir)
        self.assertIn("disk full", result.err.splitlines()[-1])
        checkpoints = glob.glob(os.path.join(run_dir, "checkpoints", "*"))
        self.assertTrue(checkpoints)
        for checkpoint in checkpoints:  # each is whole
            self.expect_plain(0, "inspect", checkpoint)
        self.assertEqual(glob.glob(os.path.join(run_dir, "checkpoints", ".*")), [])
        shutil.rmtree(min(checkpoints))
        subprocess.run(["mount", "-o", "remount,size=16m", self.disk], check=True)
        self.expect(0, "--resume", *words, run_dir=run_dir)
        self.assertTrue(model_of(run_dir) == model_of(whole))


if __name__ == "__main__":
    program.main()
