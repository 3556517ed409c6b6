#!/usr/bin/env -S python3 -B
"""A sweep of mariana_dnn on generated speech: its trials are what the program makes of the same
configs alone, bit for bit."""
import glob
import os
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "mariana_dnn")]
import program  # noqa: E402
import sweeps  # noqa: E402

SWEEP = """\
overrides: {parallel.devices: 1}
space:
  train.schedule.learning_rate: {low: 0.01, high: 1.0, log: true}
  net.layers:
    choices:
      narrow: [{type: linear, units: 8, activation: relu}, {type: linear, units: 0}]
      wide: [{type: linear, units: 64, activation: sigmoid}, {type: linear, units: 0}]
  train.optimizer: [{type: sgd}, {type: adam}]
  train.schedule.type: [constant, cosine]
search: {type: random, trials: 4}
prune: {type: asha, min: 1, max: 4, factor: 2}
back_end: {slots: 2}
"""


class Real(sweeps.SweepTest):

    def setUp(self):
        self.program = os.path.abspath(program.e2e.program())
        super().setUp()
        program.make_data(self.path("data"))
        self.write("job.yaml", program.JOB.format(data="data", states=20))

    def test_a_promoted_trial_is_the_run_that_was_never_stopped(self):
        out, _ = self.sweep(SWEEP)
        again = next(line for line in out.splitlines() if ": again: " in line)
        again = again.split(": again: ")[1].replace("&& mariana_dnn ", "&& %s " % self.program)
        subprocess.run(["bash", "-c", again], check=True, stdout=subprocess.DEVNULL,
                       timeout=sweeps.TIMEOUT)
        best = [e for e in self.events("end")
                if e["rung"] == 2 and e["outcome"] == "done"][-1]["number"]
        best = self.events("trial")[best]["id"]
        self.assertIn("(%s)" % best, next(l for l in out.splitlines() if ": best: " in l))
        one, other = (program.model_of(self.path("runs/sweep-s", *names)) for names in (
            ("trials", best), ("best-again",)))
        self.assertTrue(one == other)
        self.assertEqual(len(glob.glob(self.path("runs/sweep-s/trials/*/job.yaml"))), 4)

    def test_values_that_the_program_refuses_have_their_place(self):
        _, err = self.sweep(SWEEP.replace("[constant, cosine]", "[constant, cosin]")
                            .replace("units: 64", "unit: 64"), code=64)
        self.assertIn("s.yaml:11:24: space: train.schedule.type: is cosin", err)
        self.assertIn("s.yaml:7:5: space: net.layers.0.unit: unknown key", err)
        self.assertEqual(len(err.splitlines()), 2, err)


if __name__ == "__main__":
    program.main()
