#!/usr/bin/env -S python3 -B
"""Checkpoints that servers write while training goes on: in parts, of changes alone, killed at any
moment, on a full disk."""
import contextlib
import glob
import os
import random
import signal
import subprocess
import time

import program
from program import DEEP, ORDERED, ROWS, ProgramTest, read_safetensors, wait_until

KEYED = "click.rows={form: keyed, admission: 2, max_rows: 65536}"
OFTEN = ["train.checkpoint={every_steps: 6, full_every: 3, keep: 1}"]


class Snapshot(ProgramTest):

    def test_parts_and_changes_are_the_model_that_one_server_writes_at_once(self):
        words = [*DEEP, *ORDERED, KEYED, "train.epochs=1"]
        one, parts = self.run_dir("one"), self.run_dir("parts")
        self.expect(0, *words, run_dir=one)
        stop = "train.max_steps=50"
        self.expect(0, *words, *OFTEN, "parallel.servers=3", stop, run_dir=parts)
        self.expect(0, *words, *OFTEN, "parallel.servers=2", "--resume", run_dir=parts)
        newest = os.path.join(parts, "latest")
        self.assertEqual(sorted(name for name in os.listdir(newest) if "model" in name),
                         ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors",
                          "model.safetensors.index.json"])
        of = [os.path.join(newest, "model-0000%d-of-00002.safetensors" % p) for p in (1, 2)]
        index = program.read_json(os.path.join(newest, "model.safetensors.index.json"))
        for path in of:
            for name in read_safetensors(path)[1]:
                self.assertEqual(index["weight_map"][name], os.path.basename(path))
        self.assertTrue(self.exported(one) == self.exported(parts))
        self.assertIn("table ", self.expect_plain(0, "inspect", parts).out)
        scores = [self.expect(0, "evaluate", "--progress=json", run_dir=d).out for d in (one, parts)]
        self.assertEqual(*[s.split('"rows"')[1] for s in scores])
        warm = self.run_dir("warm")
        self.assertIn("start from", self.expect(0, *DEEP, KEYED, "train.epochs=1",
                                                "train.start_from=" + parts, run_dir=warm).out)

    def members(self, process, verb):
        found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(process.pid)],
                               stdout=subprocess.PIPE, check=False).stdout.decode()
        return [int(line.split()[0]) for line in found.splitlines() if line.split()[-1] == verb]

    def kill(self, process, *also):
        """The agent, and what else is to die at the same moment."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGSTOP)  # it is to start nothing again
            for pid in also:
                os.kill(pid, signal.SIGKILL)
        process.kill()
        process.wait()

    def begin(self, run_dir, *words, lines=3):
        process = self.start("--config", self.scratch.job, "--run_dir", run_dir,
                             "log.every_steps=1", "train.epochs=1000000", *words)
        metrics = os.path.join(run_dir, "metrics.jsonl")
        self.assertTrue(wait_until(lambda: program.lines_of(metrics) >= lines, process))
        return process

    def test_servers_save_by_themselves_when_their_agent_is_killed(self):
        run_dir = self.run_dir()
        words = [*DEEP, "parallel.servers=2", "train.checkpoint.every_epochs=1000"]
        process = self.begin(run_dir, *words, lines=120)  # beyond the first epoch
        self.kill(process)
        manifest = os.path.join(run_dir, "rescue", "00000001", "manifest.json")
        self.assertTrue(wait_until(lambda: os.path.exists(manifest)))
        self.assertIn(b"servers saved step", process.stderr.read())
        step = program.read_json(manifest)["step"]
        self.assertGreaterEqual(step, 110)
        wait_until(lambda: os.path.exists(os.path.join(run_dir, "summary.json")))
        summary = self.summary(run_dir)
        self.assertEqual((summary["exit_code"], summary["steps"]), (77, step))
        epochs = summary["samples"] // ROWS + 1
        result = self.expect(0, "--resume", *words, "train.epochs=%d" % epochs,
                             "parallel.servers=1", run_dir=run_dir)
        self.assertIn("step %d: saved by servers when their agent was gone" % step, result.out)
        # A batch may have been applied and counted in one place only when its worker was killed.
        self.assertLessEqual(abs(self.summary(run_dir)["samples"] - epochs * ROWS), 2 * 64)
        self.assertGreater(self.summary(run_dir)["final"]["auc"], 0.7)
        self.assertFalse(os.path.exists(os.path.join(run_dir, "rescue")))

    def test_rescue_without_one_of_its_servers_is_passed_over(self):
        run_dir = self.run_dir()
        words = ["parallel.servers=2", "train.checkpoint.every_steps=20"]
        process = self.begin(run_dir, *words, lines=60)
        self.kill(process, self.members(process, "server")[1])
        saved = os.path.join(run_dir, "rescue", "00000001", "saved-00001-of-00002.json")
        self.assertTrue(wait_until(lambda: os.path.exists(saved)))
        epochs = program.read_json(os.path.join(run_dir, "latest", "state.json"))["epoch"] + 2
        result = self.expect(0, "--resume", *words, "train.epochs=%d" % epochs, run_dir=run_dir)
        self.assertIn("not whole (1 of 2 parts), passed over", result.out)
        self.assertIn("going on from %s/checkpoints/step-" % run_dir, result.out)
        self.assertEqual(self.summary(run_dir)["samples"], epochs * ROWS)

    def test_run_that_is_killed_20_times_while_it_saves_goes_on(self):
        run_dir = self.run_dir()
        words = ["--config", self.scratch.job, "--run_dir", run_dir, "--resume", *OFTEN, KEYED,
                 "parallel.servers=2", "train.epochs=2"]
        moments = random.Random(5)
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        hidden = os.path.join(run_dir, "checkpoints", ".new-*")
        for _ in range(20):
            process = self.start(*words, **quiet)
            if not wait_until(lambda: glob.glob(hidden), process):
                self.assertEqual(process.wait(), 0)
                continue
            servers = self.members(process, "server")
            time.sleep(moments.choice([0, 0.002, 0.01, 0.05]))
            self.kill(process, *servers[:moments.randrange(3)])
        self.expect_plain(0, *words)
        self.assertLessEqual(abs(self.summary(run_dir)["samples"] - 2 * ROWS), 20 * 2 * 64)
        self.assertGreater(self.summary(run_dir)["final"]["auc"], 0.7)

    def test_full_disk_costs_a_snapshot_and_at_the_end_the_run(self):
        disk = self.scratch("disk")
        os.makedirs(disk, exist_ok=True)
        mount = ["mount", "-t", "tmpfs", "-o", "size=16m", "none", disk]
        if subprocess.run(mount, stderr=subprocess.DEVNULL).returncode != 0:
            self.skipTest("no file system can be mounted here")
        self.addCleanup(subprocess.run, ["umount", disk], check=True)
        run_dir, filler = os.path.join(disk, "run"), os.path.join(disk, "filler")
        words = ["click.embedding.size=128", "log.every_steps=1000"]

        def begin():
            process = self.start("--config", self.scratch.job, "--run_dir", run_dir, "--resume",
                                 "train.checkpoint.every_steps=20", "train.epochs=1000000", *words)
            self.assertTrue(wait_until(lambda: os.path.exists(os.path.join(run_dir, "latest")),
                                       process))
            return process

        def fill():
            left = os.statvfs(disk)
            with open(filler, "wb") as f:
                f.write(bytes(left.f_bavail * left.f_bsize - (150 << 10)))

        process = begin()
        newest = os.path.join(run_dir, "latest")
        fill()
        at = os.readlink(newest)
        self.assertTrue(wait_until(lambda: b"not saved" in os.read(process.stderr.fileno(), 1 << 16),
                                   process))
        os.remove(filler)
        self.assertTrue(wait_until(lambda: os.readlink(newest) != at, process))
        fill()
        process.terminate()
        result = program.finish(process)
        self.assertEqual(result.code, 74, result)
        self.assertIn("disk full", result.err.splitlines()[-1])
        for checkpoint in glob.glob(os.path.join(run_dir, "checkpoints", "*")):  # each is whole
            self.expect_plain(0, "inspect", checkpoint)


if __name__ == "__main__":
    program.main()
