"""A private Slurm (scripts/slurm/private) with small jobs in it, for scripts/slurm/test."""
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLURM = os.path.join(ROOT, "scripts", "slurm")
sys.path.insert(0, os.path.join(ROOT, "tests", "mariana_dnn"))
import program  # noqa: E402

PATIENCE = 90  # seconds; only what hangs reaches it


class Failed(Exception):
    pass


def client(*words, check=True):
    """A client's output; it may take 20 s."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=20, check=False)
    if check and done.returncode:
        raise Failed("%s: %s" % (" ".join(words), done.stderr.strip()))
    return done.stdout if done.returncode == 0 else done.stderr


def await_that(what, condition, pause=0.02):
    deadline = time.monotonic() + PATIENCE
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise Failed("waited %d s in vain: %s" % (PATIENCE, what))
        time.sleep(pause)


def expect(condition, what):
    if not condition:
        raise Failed(what)


class Cluster:
    """The private Slurm, and a folder with a small job in it."""

    def __init__(self, db):
        self.db = db
        subprocess.run([os.path.join(SLURM, "private"), "up", *(["--db"] if db else [])],
                       check=True)
        text = client(os.path.join(SLURM, "private"), "env")
        os.environ.update(re.findall(r"(\w+)=(\S+)", text))
        os.environ["MARIANA_ROOT"] = ROOT
        self.folder = tempfile.mkdtemp(prefix="slurm-test.")
        program.make_data(self.path("data"))

    def down(self):
        client(os.path.join(SLURM, "private"), "down")
        shutil.rmtree(self.folder, ignore_errors=True)

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write_job(self, name, epochs):
        text = program.JOB.format(data=self.path("data"), states=20)
        with open(self.path(name + ".new"), "w") as f:
            f.write(text.replace("epochs: 2", "epochs: %d" % epochs)
                    .replace("devices: 2", "devices: 1")
                    .replace("every_steps: 4", "every_steps: 20"))
        os.replace(self.path(name + ".new"), self.path(name))

    def submit(self, script, *words, options=()):
        with_qos = ["--account=speech"] if self.db else []
        return client("sbatch", "--parsable", "--chdir=" + self.folder, "--output=job-%j.log",
                      *with_qos, *options, script, *words).strip()

    def train(self, run_dir, *options):
        self.write_job(run_dir + ".yaml", 1000000)
        return self.submit(os.path.join(SLURM, "one_node.sh"), "--max_requeues=1000",
                           "mariana_dnn", "--config=%s.yaml" % run_dir, "--run_dir=" + run_dir,
                           options=options)

    def urgent(self, *options):
        """A job that takes nodes for itself, and ends."""
        how = ["--qos=urgent"] if self.db else ["--partition=urgent"]
        with open(self.path("urgent.sh"), "w") as f:
            f.write("#!/bin/sh\nexit 0\n")
        return self.submit(self.path("urgent.sh"), options=["--exclusive", *how, *options])

    def shown(self, job, field):
        found = re.search(r"\b%s=(\S*)" % field, client("scontrol", "show", "job", job))
        return found.group(1) if found else ""

    def cancel(self, job):
        client("scancel", job, check=False)
        await_that("job %s gone" % job, lambda: self.shown(job, "JobState") not in (
            "RUNNING", "PENDING", "COMPLETING"))

    def rows(self, run_dir):
        return program.lines_of(self.path(run_dir, "metrics.jsonl"))

    def await_rows(self, run_dir, count):
        return await_that("%d rows of metrics" % count, lambda: self.rows(run_dir) >= count)

    def await_restart(self, job, count):
        """Until a job was requeued so often and has begun again: Slurm lets its old credential
        expire first, in 6 s."""
        await_that("restart %d of job %s" % (count, job), lambda: int(
            self.shown(job, "Restarts") or 0) == count and
            self.shown(job, "JobState") != "PENDING", 0.1)

    def await_end(self, job):
        await_that("the end of job " + job, lambda: self.shown(job, "JobState") == "COMPLETED",
                   0.1)

    def program_of(self, run_dir):
        """The process id of the program that trains in a folder."""
        with open(self.path(run_dir, ".lock")) as f:
            return int(f.read().split()[0])
