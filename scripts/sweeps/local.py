"""Trials on this machine: so many slots, each pinned to its share of the cores and GPUs.

A trial gets SIGTERM, and so saves and ends, when the sweep dies, kill -9 included (setpriv
--pdeathsig)."""
import fcntl
import os
import shutil
import signal
import subprocess
import time


class Local:

    def __init__(self, back_end):
        cores = sorted(os.sched_getaffinity(0))
        slots = back_end.slots
        # More slots than cores share them all.
        self._cores = [cores[i * len(cores) // slots:(i + 1) * len(cores) // slots] or cores
                       for i in range(slots)]
        each = len(back_end.gpus) // slots
        self._gpus = [back_end.gpus[i * each:(i + 1) * each] for i in range(slots)]
        self._free = list(range(slots))
        self._running = {}  # key -> (process, slot, started)
        self._prefix = ["setpriv", "--pdeathsig", "TERM"] if shutil.which("setpriv") else []

    def free(self):
        return len(self._free)

    def start(self, key, command, folder, log, run_dir):
        """Runs a command in a folder, its output appended to `log`."""
        _wait_for_lock(run_dir)
        slot = self._free.pop(0)
        environment = dict(os.environ)
        if self._gpus[slot]:
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(self._gpus[slot])
        pin = ["taskset", "-c", ",".join(map(str, self._cores[slot]))]
        with open(log, "ab") as output:
            process = subprocess.Popen([*self._prefix, *pin, *command], cwd=folder,
                                       env=environment, stdin=subprocess.DEVNULL, stdout=output,
                                       stderr=output, start_new_session=True)
        self._running[key] = (process, slot, time.monotonic())

    def poll(self):
        """[(key, exit code, seconds)] of those that ended."""
        ended = []
        for key, (process, slot, started) in list(self._running.items()):
            code = process.poll()
            if code is not None:
                del self._running[key]
                self._free.append(slot)
                ended.append((key, code, time.monotonic() - started))
        self._free.sort()
        return ended

    def running(self):
        return list(self._running)

    def stop(self, again=False):
        """Asks all to save and end; again: ends them at once."""
        for process, _, _ in self._running.values():
            process.send_signal(signal.SIGKILL if again else signal.SIGTERM)


def _wait_for_lock(run_dir, seconds=60):
    """A trial of a sweep that was killed may still be saving."""
    path = os.path.join(run_dir, ".lock")
    deadline = time.monotonic() + seconds
    while os.path.exists(path) and time.monotonic() < deadline:
        with open(path, "rb") as f:
            try:
                fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
                return
            except OSError:
                time.sleep(0.05)
