#!/usr/bin/env -S python3 -B
"""Several ranks under mpirun train on their own images alone, and give one process's model."""
import program
from program import ProgramTest, model_of, read_json, read_metrics

import ranks  # noqa: E402  (its folder is on the path now)


class Ranks(ranks.RanksTest, ProgramTest):

    def test_ranks_train_and_evaluate_as_one_process(self):
        words = ["train.ema=0.9", "parallel.topology=linear"]
        whole, run_dir = self.run_dir("whole"), self.run_dir()
        self.expect(0, "parallel.devices=3", *words, run_dir=whole)
        self.expect_ranks(0, 3, "parallel.devices=1", *words, run_dir=run_dir)
        self.assertTrue(model_of(run_dir) == model_of(whole))
        rows, expected = ([{n: v for n, v in row.items() if not n.endswith("seconds")}
                           for row in read_metrics(d)] for d in (run_dir, whole))
        self.assertEqual(rows, expected)
        self.assertEqual(read_json(run_dir + "/summary.json")["best"],
                         read_json(whole + "/summary.json")["best"])


if __name__ == "__main__":
    program.main()
