#!/usr/bin/env -S python3 -B
"""scripts/slurm/job and its templates where there is no Slurm, and scripts/slurm/transport."""
import os
import signal
import subprocess
import tarfile
import tempfile
import time
import unittest

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SLURM = os.path.join(ROOT, "scripts", "slurm")
TIMEOUT = 60

# Writes how it was started; ends with the code of line N of `codes` at start N.
PROGRAM = """\
#!/bin/sh
echo "$*" >> started
exit "$(sed -n "$(wc -l < started)p" codes)"
"""
# Saves and ends with 75 when told.
TRAINS = """\
#!/bin/sh
trap 'echo "$1 saves" >> started; exit 75' TERM USR1
echo "$*" >> started
while :; do sleep 0.02; done
"""


class ScratchTest(unittest.TestCase):

    def setUp(self):
        scratch = tempfile.TemporaryDirectory(dir=os.environ.get("TEST_TMPDIR"))
        self.addCleanup(scratch.cleanup)
        self.folder = scratch.name
        self.environment = {k: v for k, v in os.environ.items()
                            if not k.startswith(("SLURM", "MARIANA", "UCX", "OMPI"))}
        self.environment["MARIANA_BIN"] = self.path("bin")
        os.mkdir(self.path("bin"))
        self.write("started", "")

    def path(self, *names):
        return os.path.join(self.folder, *names)

    def write(self, name, text, mode=0o644):
        with open(self.path(name), "w") as f:
            f.write(text)
        os.chmod(self.path(name), mode)

    def read(self, name):
        with open(self.path(name)) as f:
            return f.read().splitlines()

    def start(self, script, *words):
        process = subprocess.Popen([os.path.join(SLURM, script), *words], cwd=self.folder,
                                   env=self.environment, stdin=subprocess.DEVNULL, text=True,
                                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.addCleanup(process.communicate)
        self.addCleanup(process.kill)
        return process

    def job(self, codes, *words, script="job"):
        """(exit code, what the program was started with, output); codes: of its starts."""
        self.write("bin/trainer", PROGRAM, 0o755)
        self.write("codes", "".join("%d\n" % code for code in codes))
        self.write("started", "")
        process = self.start(script, *words)
        out, _ = process.communicate(timeout=TIMEOUT)
        return process.returncode, self.read("started"), out


class JobTest(ScratchTest):

    def test_always_resumes(self):
        code, started, _ = self.job([0], "trainer", "--config=a.yaml", "seed=1")
        self.assertEqual((code, started), (0, ["--config=a.yaml seed=1 --resume"]))

    def test_lost_workers_and_kills_start_it_again_up_to_the_cap(self):
        self.assertEqual(self.job([77, 137, 77, 0], "trainer")[0], 0)
        code, started, out = self.job([77] * 9, "--max_requeues=2", "trainer")
        self.assertEqual((code, len(started)), (77, 3))
        self.assertIn("exit code 77; start 2 of at most 2 more", out)

    def test_what_would_come_again_ends_it(self):
        for code in (64, 65, 70, 73, 74, 75, 76):
            self.assertEqual(self.job([code, 0], "trainer")[:2], (code, ["--resume"]))

    def test_signals_let_the_program_save(self):
        for sent in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            self.write("bin/trainer", TRAINS.replace("TERM USR1", "TERM USR1 INT"), 0o755)
            self.write("started", "")
            process = self.start("one_node.sh", "trainer", "x")
            deadline = time.monotonic() + TIMEOUT
            while not self.read("started"):
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.01)
            process.send_signal(sent)
            self.assertEqual(process.wait(timeout=TIMEOUT), 75)
            self.assertEqual(self.read("started"), ["x --resume", "x saves"])

    def test_exit_file_and_log(self):
        self.job([65], "--exit_file=" + self.path("exit"), "--log=" + self.path("log"), "trainer")
        self.assertEqual(self.read("exit")[0].split()[0], "65")
        self.assertTrue(os.path.exists(self.path("log")))

    def test_gpus_of_the_allocation_become_devices(self):
        self.environment["SLURM_JOB_GPUS"] = "0,1,5"
        self.assertEqual(self.job([0], "trainer")[1], ["--resume parallel.devices=3"])
        self.assertEqual(self.job([0], "trainer", "parallel.devices=1")[1],
                         ["parallel.devices=1 --resume"])

    def test_a_bundle_brings_the_program_along(self):
        self.write("bin/trainer", PROGRAM, 0o755)
        with tarfile.open(self.path("bundle.tar.gz"), "w:gz") as tar:
            tar.add(self.path("bin/trainer"), "mariana/bin/trainer")
        del self.environment["MARIANA_BIN"]
        self.environment["TMPDIR"] = self.folder
        code, started, out = self.job([0], "--bundle=" + self.path("bundle.tar.gz"), "trainer")
        self.assertEqual((code, started), (0, ["--resume"]), out)
        self.assertFalse([name for name in os.listdir(self.folder) if name.startswith("mariana")])

    def test_an_array_runs_line_by_line_or_its_own(self):
        self.write("commands", "trainer 'a b'\ntrainer c\n")
        self.environment["MARIANA_ROOT"] = ROOT
        code, started, _ = self.job([64, 0], "commands", script="array.sh")
        self.assertEqual((code, started), (64, ["a b --resume", "c --resume"]))
        self.environment["SLURM_ARRAY_TASK_ID"] = "2"
        self.assertEqual(self.job([0], "commands", script="array.sh")[1], ["c --resume"])
        self.environment["SLURM_ARRAY_TASK_ID"] = "3"
        code, _, out = self.job([0], "commands", script="array.sh")
        self.assertEqual((code, out), (64, "array: commands has no line 3\n"))

    def test_mistakes_of_the_command_line(self):
        for words, line in ((["--launch=ssh", "trainer"], "--launch: is ssh; must be one of"),
                            (["--ranks=0", "trainer"], "--ranks: is 0; must be"),
                            (["nothing"], "no program nothing"), ([], "PROGRAM is missing")):
            code, _, out = self.job([0], *words)
            self.assertEqual(code, 64)
            self.assertIn(line, out)


class TransportTest(ScratchTest):

    def settings(self, *words):
        process = self.start("transport", "--sys=" + self.path("sys"), *words)
        return process.communicate(timeout=TIMEOUT)[0]

    def port(self, device, state, layer):
        os.makedirs(self.path("sys/class/infiniband", device, "ports/1"))
        self.write("sys/class/infiniband/%s/ports/1/state" % device, state + "\n")
        self.write("sys/class/infiniband/%s/ports/1/link_layer" % device, layer + "\n")

    def test_tcp_where_no_port_is_up(self):
        self.port("mlx5_0", "1: DOWN", "InfiniBand")
        self.assertIn("transport: TCP (no InfiniBand or RoCE port is up", self.settings())
        self.assertIn("export OMPI_MCA_pml=ob1\n", self.settings("--export"))

    def test_infiniband_before_roce(self):
        self.port("mlx5_0", "4: ACTIVE", "Ethernet")
        self.assertIn("transport: UCX (RoCE: Ethernet port(s) mlx5_0:1 are up)", self.settings())
        self.assertIn("export UCX_IB_GID_INDEX=auto\n", self.settings("--export"))
        self.port("mlx5_1", "4: ACTIVE", "InfiniBand")
        self.port("mlx5_2", "4: ACTIVE", "InfiniBand")
        self.assertEqual(self.settings("--export"), "export OMPI_MCA_pml=ucx\n"
                         "export UCX_NET_DEVICES=mlx5_1:1\\,mlx5_2:1\n")

    def test_given_settings_stay(self):
        self.port("mlx5_0", "4: ACTIVE", "InfiniBand")
        self.environment["UCX_NET_DEVICES"] = "mlx5_9:1"
        self.assertEqual(self.settings("--export"), "export OMPI_MCA_pml=ucx\n")


if __name__ == "__main__":
    unittest.main(verbosity=2)
