"""A running job of mariana_cluster as scripts see it: started, asked through the status socket in its
run directory, and, in tests of deaths, killed in parts. Standard library only.

Only processes that the job itself names are ever killed.
"""
import glob
import json
import os
import signal
import socket
import subprocess
import time

MPIRUN = ["mpirun", "--oversubscribe", "--bind-to", "none"]
AS_ROOT = {"OMPI_ALLOW_RUN_AS_ROOT": "1", "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1"}


class RunningJob:

    def __init__(self, program, run_dir, words, nodes=1, log=None, prefix=()):
        """words: those after the program, without --run_dir. The output goes to `log`."""
        self.run_dir, self.nodes = run_dir, nodes
        command = [*prefix, *(MPIRUN + ["-np", str(nodes)] if nodes > 1 else []), program, *words,
                   "--run_dir", run_dir, "--progress=plain"]
        self.log = log or run_dir + ".log"
        self._client = None
        with open(self.log, "a") as out:
            self.process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                                            env={**os.environ, **AS_ROOT})
        self.began = time.monotonic()

    # ---- asking

    def ask(self, **question):
        """The answer, or None where the job cannot be asked (yet, or any more)."""
        try:
            if self._client is None:
                self._client = self._connect()
            self._client.write(json.dumps(question) + "\n")
            self._client.flush()
            line = self._client.readline()
            if line:
                return json.loads(line)
        except OSError:
            pass
        self._disconnect()
        return None

    def _connect(self):
        folder = os.open(self.run_dir, os.O_PATH)
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(20)
                client.connect("/proc/self/fd/%d/status.sock" % folder)
                return client.makefile("rw")
        finally:
            os.close(folder)

    def _disconnect(self):
        if self._client is not None:
            try:
                self._client.close()
            except OSError:
                pass  # what it had not sent yet
            self._client = None

    def status(self):
        return self.ask(ask="status")

    def processes(self, kind=None):
        """Those that live, [{"name", "pid", "node", ...}]: the agents, servers and workers."""
        status = self.status() or {"nodes": []}
        return [dict(p, node=node["number"]) for node in status["nodes"] for p in node["processes"]
                if p["alive"] and kind in (None, p["kind"])]

    def one(self, pid=None, like=None):
        """The process of this pid, or the one in the place of `like`."""
        for p in self.processes():
            if p["pid"] == pid or like and (p["node"], p["name"]) == (like["node"], like["name"]):
                return p
        return None

    def samples(self):
        return sum(p.get("samples", 0) for p in self.processes("worker"))

    # ---- waiting. None where the job ended, or nothing came of it, before.

    def wait_for(self, condition, seconds=60, pause=0.02):
        """The first true value of condition()."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = condition()
            if value:
                return value
            if self.process.poll() is not None:
                return None
            time.sleep(pause)
        return None

    def wait_until_it_trains(self, samples=1, seconds=120):
        return self.wait_for(lambda: (self.status() or {}).get("phase") == "train" and
                             self.samples() >= samples, seconds)

    def finish(self, seconds=240):
        """The exit code."""
        return self.process.wait(seconds)

    # ---- killing

    def kill(self, process, sig=signal.SIGKILL):
        os.kill(process["pid"], sig)

    def end(self, seconds=30):
        """Whatever it does; returns the pids that would not end."""
        processes = self.processes()
        pids = [p["pid"] for p in processes]
        if self.process.poll() is None:
            for agent in processes:
                if agent["kind"] == "agent":
                    self.kill(agent)
            self.process.kill()
        self.process.wait()
        self._disconnect()
        return still_alive(pids, seconds)

    def summary(self):
        with open(os.path.join(self.run_dir, "summary.json")) as f:
            return json.load(f)

    def output(self):
        with open(self.log) as f:
            return f.read()


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def still_alive(pids, seconds):
    """Those of the pids that live after so long."""
    end = time.monotonic() + seconds
    while any(map(alive, pids)) and time.monotonic() < end:
        time.sleep(0.05)
    return [pid for pid in pids if alive(pid)]


def checkpoints(run_dir):
    return sorted(glob.glob(os.path.join(run_dir, "checkpoints", "step-*")))
