#!/usr/bin/env -S python3 -B
"""A death of each kind, on one node and on two: who dies comes back, or the job ends and goes on."""
import signal

import program
from program import ProgramTest, ROWS
from running_job import RunningJob, checkpoints, still_alive

ENDLESS = ["train.epochs=1000000", "train.checkpoint.every_steps=200", "log.every_steps=50"]


class Faults(ProgramTest):

    def begin(self, *words, run_dir=None, nodes=1, samples=500):
        job = RunningJob(program.program(), run_dir or self.run_dir(),
                         ["--config", self.scratch.job, *words], nodes)
        self.addCleanup(job.end)
        self.assertTrue(job.wait_until_it_trains(samples), job.output())
        return job

    def stop(self, job):
        """Saves and ends it; what the run has come to."""
        self.assertEqual(job.ask(ask="stop"), {})
        self.assertEqual(job.finish(), 75, job.output())
        return job.summary()

    def to_the_end(self, job, *words):
        """Goes on to the end of the epoch that it was in. Every row was seen as often, but for a batch
        a death."""
        epochs = job.summary()["samples"] // ROWS + 1
        self.expect(0, "--resume", "train.epochs=%d" % epochs, *words, run_dir=job.run_dir)
        return job.summary()["samples"] - epochs * ROWS

    def comes_back(self, kind, sig, nodes=1):
        job = self.begin(*ENDLESS, nodes=nodes)
        victim = job.processes(kind)[-1]
        job.kill(victim, sig)

        def is_back():
            now = job.one(like=victim)
            return now if now and now["pid"] != victim["pid"] else None
        back = job.wait_for(is_back)
        self.assertTrue(back, job.output())
        self.assertEqual(back["restarts"], 1)
        events = [e["what"] for e in job.status()["events"]]
        self.assertTrue(any(str(victim["pid"]) in what for what in events), events)
        samples = job.samples()
        self.assertTrue(job.wait_for(lambda: job.samples() > samples + 2 * ROWS), job.output())
        self.stop(job)
        self.assertEqual(still_alive([victim["pid"], back["pid"]], 10), [])
        return job

    def test_worker_that_is_killed_is_started_again_and_its_rows_are_trained(self):
        job = self.comes_back("worker", signal.SIGKILL)
        self.assertLess(abs(self.to_the_end(job)), 200)

    def test_server_that_is_killed_comes_back_with_its_rows(self):
        job = self.comes_back("server", signal.SIGKILL)
        self.assertLess(abs(self.to_the_end(job)), 200)
        self.assertGreater(job.summary()["final"]["auc"], 0.7)

    def test_worker_that_is_stopped_is_named_and_replaced(self):
        job = self.comes_back("worker", signal.SIGSTOP)
        self.assertLess(abs(self.to_the_end(job)), 200)

    def test_agent_of_a_node_that_is_killed_ends_the_job_with_77_and_resume_goes_on(self):
        job = self.begin(*ENDLESS, nodes=2)
        agents = job.processes("agent")
        self.assertEqual(len(agents), 2, agents)
        self.assertTrue(job.wait_for(lambda: checkpoints(job.run_dir)), job.output())
        pids = [p["pid"] for p in job.processes()]
        job.kill(agents[1])
        self.assertNotEqual(job.finish(), 0)
        self.assertEqual(still_alive(pids, 60), [])
        self.assertEqual(job.summary()["exit_code"], 77, job.output())
        again = self.begin(*ENDLESS, "--resume", run_dir=job.run_dir, samples=1)
        self.stop(again)
        self.to_the_end(again)
        self.assertGreater(again.summary()["final"]["auc"], 0.7)

    def test_all_agents_killed_leave_a_run_that_resume_goes_on_with(self):
        job = self.begin(*ENDLESS)
        pids = [p["pid"] for p in job.processes()]
        job.kill(job.processes("agent")[0])
        self.assertEqual(job.finish(), -signal.SIGKILL)
        self.assertEqual(still_alive(pids, 60), [])
        again = self.begin(*ENDLESS, "--resume", run_dir=job.run_dir, samples=1)
        self.stop(again)
        self.to_the_end(again)
        self.assertGreater(again.summary()["final"]["auc"], 0.7)


if __name__ == "__main__":
    program.main()
