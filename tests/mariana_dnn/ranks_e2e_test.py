#!/usr/bin/env -S python3 -B
"""Several ranks under mpirun are one job: one model, one run directory, one end."""
import os
import signal

import program
from program import ProgramTest, lines_of, model_of, read_json, read_metrics, wait_until

import ranks  # noqa: E402  (its folder is on the path now)

STEPS = 15  # of an epoch
ENDLESS = "train.epochs=1000000"
ONE, TWO = "parallel.devices=1", "parallel.devices=2"


class Ranks(ranks.RanksTest, ProgramTest):

    def rows(self, run_dir):
        return [{name: value for name, value in row.items() if not name.endswith("seconds")}
                for row in read_metrics(run_dir)]

    def test_ranks_train_what_one_process_trains_and_resume_on_another_number(self):
        whole, run_dir, alone = self.run_dir("whole"), self.run_dir(), self.run_dir("alone")
        self.expect(0, "parallel.devices=4", run_dir=whole)
        stopped = self.start_ranks((2, [TWO, ENDLESS]), run_dir=run_dir)
        self.assertTrue(wait_until(lambda: lines_of(run_dir + "/metrics.jsonl") >= 3, stopped))
        stopped.send_signal(signal.SIGUSR1)  # mpirun passes it on
        result = program.finish(stopped)
        self.assertEqual(result.code, 75, result)
        self.assertEqual(result.out.count("--resume goes on"), 1, result.out)
        self.assertEqual(result.err.count("stopping after saving"), 1, result.err)
        done = read_json(run_dir + "/summary.json")["steps"]
        epochs = max(2, done // STEPS + 1)
        if epochs > 2:
            self.expect(0, "--resume", "parallel.devices=4", "train.epochs=%d" % epochs,
                        run_dir=whole)
        self.expect_ranks(0, 4, ONE, "--resume", "train.epochs=%d" % epochs, run_dir=run_dir)
        self.assertEqual(self.rows(run_dir), self.rows(whole))
        self.assertTrue(model_of(run_dir) == model_of(whole))
        self.expect(0, ONE, "train.epochs=%d" % epochs, run_dir=alone)
        self.assertLess(program.norm_of_difference(
            *(os.path.join(d, "latest", "model.safetensors") for d in (alone, run_dir))), 1e-4)
        logs = sorted(name.split(".")[0] for name in os.listdir(run_dir + "/log"))
        self.assertEqual(set(logs), {"rank-0", "rank-1", "rank-2", "rank-3"})

    def test_blocks_of_steps_resume_to_the_same_bits(self):
        words = ["parallel={devices: 1, threads: 1, exchange: block, block_steps: 4, "
                 "block_momentum: 0.5, block_nesterov: true}"]
        whole, run_dir = self.run_dir("whole"), self.run_dir()
        self.expect_ranks(0, 3, *words, "train.epochs=3", run_dir=whole)
        process = self.start_ranks((3, [*words, ENDLESS]), run_dir=run_dir)
        self.assertTrue(wait_until(lambda: lines_of(run_dir + "/metrics.jsonl") >= 2, process))
        os.kill(ranks.pid_of_rank(process, 2), signal.SIGTERM)  # one rank's stop is everybody's
        self.assertEqual(program.finish(process).code, 75)
        epochs = read_json(run_dir + "/summary.json")["steps"] // STEPS + 1
        if epochs > 3:
            self.expect_ranks(0, 3, *words, "--resume", "train.epochs=%d" % epochs, run_dir=whole)
        self.expect_ranks(0, 3, *words, "--resume", "train.epochs=%d" % max(3, epochs),
                          run_dir=run_dir)
        self.assertTrue(model_of(run_dir) == model_of(whole))

    def lose(self, rank, how):
        """A job of three whose rank gets a signal while it trains."""
        run_dir = self.run_dir("%d.%s" % (rank, how.name))
        process = self.start_ranks((3, [ONE, ENDLESS]), run_dir=run_dir)
        if not wait_until(lambda: lines_of(run_dir + "/metrics.jsonl") >= 5, process):
            self.fail(program.finish(process))
        os.kill(ranks.pid_of_rank(process, rank), how)
        result = program.finish(process)
        self.assertNotEqual(result.code, 0)
        return run_dir, result

    def says_who(self, rank, text):
        self.assertRegex(text, r"rank %d, [a-z ]+: the process on " % rank)

    def test_a_killed_rank_ends_all_and_the_job_resumes(self):
        run_dir, result = self.lose(1, signal.SIGKILL)
        self.says_who(1, ranks.last_line(result))
        summary = read_json(run_dir + "/summary.json")
        self.assertEqual((summary["status"], summary["exit_code"]), ("failed", 77))
        self.says_who(1, summary["error"])
        epochs = read_metrics(run_dir)[-1]["step"] // STEPS + 1
        self.expect_ranks(0, 2, ONE, "--resume", "train.epochs=%d" % epochs, run_dir=run_dir)
        _, result = self.lose(0, signal.SIGKILL)
        self.says_who(0, ranks.last_line(result))

    def test_a_rank_that_is_stuck_ends_all(self):
        run_dir, result = self.lose(2, signal.SIGSTOP)  # mpirun may lose the last words of ranks
        self.assertEqual(result.code, 77, result)
        self.says_who(2, read_json(run_dir + "/summary.json")["error"])

    def test_a_rank_that_fails_says_why(self):
        gate = self.scratch("gate.sh")
        program.write(gate, "#!/bin/sh\n[ \"$OMPI_COMM_WORLD_RANK\" != 1 ] && exec cat \"$1\"\n")
        os.chmod(gate, 0o755)
        scp = self.scratch("gated.scp")
        first, *others = program.read(self.scratch("data", "train", "feats.scp")).splitlines()
        key, place = first.split()
        archive, _, at = place.rpartition(":")
        matrix = self.scratch("first.mat")
        data = program.read_bytes(self.scratch("data", "train", archive))[int(at):]
        size = 15 + 4 * int.from_bytes(data[6:10], "little") * int.from_bytes(data[11:15], "little")
        with open(matrix, "wb") as f:
            f.write(data[:size])
        folder = self.scratch("data", "train")
        lines = ["%s %s/%s" % (k, folder, p) for k, p in (line.split() for line in others)]
        program.write(scp, "\n".join(["%s %s %s |" % (key, gate, matrix), *lines, ""]))
        result = self.expect_ranks(65, 2, ONE, "data.train.feats=" + scp, "data.allow_pipes=true",
                                   run_dir=self.run_dir())
        self.assertRegex(ranks.last_line(result), "^mariana_dnn: error: rank 1, .*gate.sh")

    def test_ranks_of_different_jobs_are_refused(self):
        process = self.start_ranks((1, [ONE]), (2, [ONE, "train.batch_size=64"]),
                                   run_dir=self.run_dir())
        result = program.finish(process)
        self.assertEqual(result.code, 64, result)
        self.assertRegex(ranks.last_line(result),
                         "^mariana_dnn: error: ranks 1 and 2 have a config")
        self.assertEqual(result.err.count("mariana_dnn: error"), 1, result.err)

    def test_check_speaks_once_and_other_verbs_run_alone(self):
        result = self.expect_ranks(0, 2, TWO, "--check")
        self.assertEqual(result.out.count("ranks: 2 on 1 machine"), 1, result.out)
        self.assertIn("each of 4 workers", result.out)
        result = program.finish(self.start_ranks((2, ["evaluate"])))
        self.assertEqual(result.code, 64, result)
        self.assertIn("not under mpirun", ranks.last_line(result))


if __name__ == "__main__":
    program.main()
