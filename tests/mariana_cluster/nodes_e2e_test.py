#!/usr/bin/env -S python3 -B
"""Several nodes under mpirun are one job: every row is seen as often, deaths are survived or told,
and nothing is left behind. On one host every rank counts as a node."""
import os
import signal
import subprocess

import program
from program import DEEP, EPOCHS, ROWS, ProgramTest, lines_of, read_json, wait_until

import ranks  # noqa: E402  (its folder is on the path now)

ENDLESS = ["train.epochs=1000000", "log.every_steps=1"]
TWO = ["parallel.workers=2", "parallel.servers=2"]


def children(pid, verb):
    """Processes of `pid` that run this verb."""
    found = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(pid)], stdout=subprocess.PIPE,
                           check=False).stdout.decode()
    return [int(line.split()[0]) for line in found.splitlines() if line.split()[-1] == verb]


def gone(pids):
    """Nothing of them is left, but perhaps who still writes down what it has."""
    return all(not os.path.exists("/proc/%d" % pid) for pid in pids)


class Nodes(ranks.RanksTest, ProgramTest):

    def begin(self, run_dir, number, *words, lines=3):
        """A job that trains, the agents' process ids and all members'."""
        process = self.start_ranks((number, [*ENDLESS, *words]), run_dir=run_dir)
        if not wait_until(lambda: lines_of(run_dir + "/metrics.jsonl") >= lines, process):
            self.fail(program.finish(process))
        agents = [ranks.pid_of_rank(process, r) for r in range(number)]
        members = [pid for a in agents for verb in ("server", "worker") for pid in children(a, verb)]
        return process, agents, members

    def test_two_nodes_see_every_row_as_often_and_learn_as_well(self):
        for name, words in (("linear", []), ("deep", DEEP)):
            run_dir = self.run_dir(name)
            result = self.expect_ranks(0, 2, *TWO, *words, run_dir=run_dir)
            self.assertIn("4 workers, 4 servers on 2 nodes", result.out)
            summary = self.summary(run_dir)
            self.assertEqual(summary["samples"], EPOCHS * ROWS)
            alone = self.run_dir(name + ".alone")
            self.expect(0, *words, run_dir=alone)
            self.assertLess(abs(summary["final"]["auc"] - self.summary(alone)["final"]["auc"]), 0.02)

    def test_a_stop_of_any_agent_saves_and_the_job_resumes_on_another_number_of_nodes(self):
        run_dir = self.run_dir()
        process, agents, members = self.begin(run_dir, 2, *DEEP)
        os.kill(agents[1], signal.SIGTERM)
        result = program.finish(process)
        self.assertEqual(result.code, 75, result)
        self.assertTrue(wait_until(lambda: gone(members)))
        epochs = self.summary(run_dir)["samples"] // ROWS + 1
        self.expect_ranks(0, 3, *DEEP, "--resume", "train.epochs=%d" % epochs, run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["samples"], epochs * ROWS)
        self.expect(0, *DEEP, "--resume", "train.epochs=%d" % (epochs + 1), run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["samples"], (epochs + 1) * ROWS)

    def test_max_steps_ends_at_that_step(self):
        run_dir = self.run_dir()
        self.expect_ranks(0, 2, "train.max_steps=37", run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["steps"], 37)

    def test_members_of_other_nodes_are_started_again(self):
        run_dir = self.run_dir()
        process, agents, _ = self.begin(run_dir, 2, *DEEP, "parallel.workers=1")
        killed = []
        for verb in ("worker", "server", "worker"):
            before = children(agents[1], verb)
            os.kill(before[0], signal.SIGKILL)
            killed.append((verb, before[0]))
            self.assertTrue(wait_until(
                lambda v=verb, b=before: set(children(agents[1], v)) - set(b), process, 0.05))
            lines = lines_of(run_dir + "/metrics.jsonl")
            self.assertTrue(wait_until(
                lambda n=lines: lines_of(run_dir + "/metrics.jsonl") >= n + 3, process))
        os.kill(agents[0], signal.SIGTERM)
        result = program.finish(process)
        self.assertEqual(result.code, 75, result)
        for verb, pid in killed:
            self.assertRegex(result.err, r"node 1: %s 0 \(pid %d\) was killed by signal 9" % (verb, pid))
        samples = self.summary(run_dir)["samples"]
        epochs = samples // ROWS + 1
        self.expect_ranks(0, 2, *DEEP, "--resume", "parallel.workers=1", "train.epochs=%d" % epochs,
                          run_dir=run_dir)
        self.assertLessEqual(abs(self.summary(run_dir)["samples"] - epochs * ROWS), 3 * 64)

    def test_a_dead_agent_ends_the_job_which_names_its_node_and_leaves_nothing_behind(self):
        run_dir = self.run_dir()
        process, agents, members = self.begin(run_dir, 2)
        os.kill(agents[1], signal.SIGKILL)
        result = program.finish(process)
        self.assertNotEqual(result.code, 0)
        summary = read_json(run_dir + "/summary.json")
        self.assertEqual(summary["exit_code"], 77, summary)
        self.assertRegex(summary["error"], "rank 1, ")
        self.assertTrue(wait_until(lambda: gone(members)))
        self.expect_ranks(0, 2, "--resume", "train.epochs=3", run_dir=run_dir)

    def test_an_error_of_a_member_anywhere_ends_the_job_with_its_code(self):
        run_dir = self.run_dir()
        result = self.expect_ranks(76, 2, *DEEP, "train.schedule.learning_rate=1e30",
                                   "train.optimizer={type: sgd}", run_dir=run_dir)
        self.assertIn("diverged", ranks.last_line(result))
        self.assertEqual(self.summary(run_dir)["status"], "diverged")

    def test_check_says_where_rows_live(self):
        out = self.expect_ranks(0, 2, "--check", *TWO, run_dir=self.run_dir()).out
        for words in ("nodes: 2", "6 lanes", "node 1 has 2/4 to 4/4"):
            self.assertIn(words, out)
        self.assertTrue(out.endswith("ok\n"), out)

    def test_what_needs_one_node_is_refused(self):
        for words in (["parallel.deterministic=true"], ["parallel.mode=bsp"],
                      ["parallel.sparse_access=per_sample"]):
            result = self.expect_ranks(64, 2, *words, run_dir=self.run_dir(words[0][9:12]))
            self.assertIn("needs one node, and mpirun started 2", result.err)


if __name__ == "__main__":
    program.main()
