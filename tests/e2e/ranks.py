"""Programs that mpirun starts as several ranks, for end-to-end tests. Standard library only."""
import os
import shutil
import signal
import subprocess
import tempfile
import unittest

import e2e

# More ranks than cores, as root.
MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none"]
ENVIRONMENT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


def environment(folder):
    """With mpirun's own files in `folder`: it names them after its process id, which several
    sandboxes may have at a time. The path must be short."""
    return {**os.environ, **ENVIRONMENT, "TMPDIR": folder,
            "OMPI_MCA_btl_vader_backing_directory": folder}


class RanksTest:
    """Beside a ProgramTest: jobs of several ranks."""

    @classmethod
    def setUpClass(cls):
        if shutil.which("mpirun") is None:
            raise unittest.SkipTest("mpirun is not installed")
        super().setUpClass()

    def start_ranks(self, *groups, run_dir=None):
        """mpirun in the background; a group is (number of ranks, words)."""
        command = list(MPIRUN)
        for number, words in groups:
            if command[-1] != MPIRUN[-1]:
                command.append(":")
            command += ["-np", str(number), e2e.program(), *words, "--config", self.scratch.job]
            if run_dir:
                command += ["--run_dir", run_dir]
        folder = tempfile.mkdtemp(dir="/tmp", prefix="ranks.")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE, cwd=self.scratch.path,
                                   env=environment(folder), start_new_session=True)
        self.addCleanup(process.wait)
        self.addCleanup(end_session, process)
        return process

    def expect_ranks(self, code, number, *words, run_dir=None):
        result = e2e.finish(self.start_ranks((number, words), run_dir=run_dir))
        self.assertEqual(result.code, code, "%s\n%s%s" % (" ".join(words), result.out, result.err))
        return result


def end_session(process):
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass


def pid_of_rank(mpirun, rank):
    """Of a child of mpirun; None where there is none."""
    try:
        children = e2e.read("/proc/%d/task/%d/children" % (mpirun.pid, mpirun.pid)).split()
    except FileNotFoundError:
        return None
    for pid in children:
        try:
            words = e2e.read_bytes("/proc/%s/environ" % pid).split(b"\0")
        except (FileNotFoundError, ProcessLookupError):
            continue
        if b"OMPI_COMM_WORLD_RANK=%d" % rank in words:
            return int(pid)
    return None


def last_line(result):
    """The last line of our processes on stderr: mpirun says more after it."""
    name = os.path.basename(e2e.program()) + ": "
    return [line for line in result.err.splitlines() if line.startswith(name)][-1]
