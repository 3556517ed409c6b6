#!/usr/bin/env -S python3 -B
"""A training run: what it leaves behind, its modes, its determinism, mistakes of config and data."""
import os

import program
from program import DEEP, EPOCHS, ORDERED, ROWS, VALID, ProgramTest, read, read_metrics

ALWAYS_IN_SUMMARY = ["program", "verb", "status", "exit_code", "config_hash", "version", "steps",
                     "samples", "samples_per_second", "wall_seconds", "peak_memory_bytes",
                     "stage_seconds", "final", "best"]


class RunDirectory(ProgramTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.whole = cls.scratch("whole")
        cls.result = program.run("--config", cls.scratch.job, "--run_dir", cls.whole, *DEEP,
                                 cwd=cls.scratch.path)

    def test_training_ends_with_exit_code_0_and_tells_how_good_the_model_is(self):
        self.assertEqual(self.result.code, 0, self.result)
        self.assertEqual(self.result.err, "")
        self.assertRegex(self.result.out, r"epoch 3: held out +loss 0\.\d+ +auc 0\.\d+")

    def test_files_of_the_run_directory(self):
        files = {name for name in os.listdir(self.whole) if not name.startswith("events.out.")}
        self.assertLessEqual({"best", "checkpoints", "job.yaml", "latest", "log", "metrics.jsonl",
                              "summary.json"}, files)
        self.assertEqual(set(os.listdir(os.path.join(self.whole, "latest"))),
                         {"model.safetensors", "optimizer.safetensors", "state.json",
                          "manifest.json"})

    def test_model_has_tables_and_layers_and_says_what_it_is(self):
        metadata, tensors = program.read_safetensors(
            os.path.join(self.whole, "latest", "model.safetensors"))
        self.assertEqual(metadata["mariana.program"], "mariana_cluster")
        self.assertIn("deviation", metadata["mariana.model"])
        self.assertIn("fc1.weight", tensors)
        tables = [name[:-4] for name in tensors if name.endswith(".key")]
        self.assertTrue(tables)
        for table in tables:
            self.assertIn(table, metadata)
            self.assertEqual(tensors[table + ".key"][1][0], tensors[table + ".value"][1][0])

    def test_summary_has_every_field(self):
        summary = self.summary(self.whole)
        self.assertEqual([key for key in ALWAYS_IN_SUMMARY if key not in summary], [])
        self.assertEqual((summary["program"], summary["status"], summary["exit_code"],
                          summary["samples"]), ("mariana_cluster", "done", 0, EPOCHS * ROWS))
        self.assertLessEqual({"gather", "forward", "backward", "apply", "dense", "parse", "evaluate",
                              "save"}, set(summary["stage_seconds"]))
        self.assertGreater(summary["final"]["auc"], 0.65)

    def test_metrics_never_go_back(self):
        rows = read_metrics(self.whole)
        self.assertEqual(sum("valid/auc" in row for row in rows), EPOCHS)
        self.assertTrue(any("train/loss" in row for row in rows))
        for before, row in zip(rows, rows[1:]):
            for key in ("step", "epoch", "samples", "seconds"):
                self.assertLessEqual(before[key], row[key], row)
        self.assertEqual(rows[-1]["epoch"], EPOCHS)


class Modes(ProgramTest):

    def train(self, name, *words):
        run_dir = self.run_dir(name)
        self.expect(0, *words, run_dir=run_dir)
        summary = self.summary(run_dir)
        self.assertEqual(summary["samples"], EPOCHS * ROWS)
        return run_dir, summary["final"]["auc"]

    def test_every_mode_learns_as_well(self):
        modes = {"async": [], "bounded": ["parallel.staleness=2"], "bsp": ["parallel.mode=bsp"],
                 "ssp": ["parallel.mode=ssp", "parallel.staleness=1"],
                 "sample": ["parallel.sparse_access=per_sample"],
                 "alone": ["parallel.workers=1", "parallel.queue_depth=0"],
                 "text": ["data.cache.kind=none"]}
        auc = {name: self.train(name, *words)[1] for name, words in modes.items()}
        for name, value in auc.items():
            self.assertLess(abs(value - auc["alone"]), 0.02, auc)

    def test_one_worker_gives_the_same_bits_in_every_mode(self):
        words = [*DEEP, "parallel.workers=1"]
        first, _ = self.train("async", *words)
        second, _ = self.train("bsp", *words, "parallel.mode=bsp", "parallel.servers=2")
        self.assertTrue(self.exported(first) == self.exported(second))

    def test_deterministic_training_gives_the_same_bits_on_any_processes(self):
        for name, words in (("linear", []), ("deep", DEEP),
                            ("keyed", ["click.rows={form: keyed, admission: 2, max_rows: 65536}"])):
            models = []
            for workers, servers in ((1, 1), (2, 1), (2, 2)):
                run_dir, auc = self.train(
                    "%s.%d%d" % (name, workers, servers), *words, *ORDERED,
                    "parallel.workers=%d" % workers, "parallel.servers=%d" % servers)
                self.assertGreater(auc, 0.6)
                models.append(self.exported(run_dir))
            self.assertTrue(models[0] == models[1], name)
            self.assertTrue(models[0] == models[2], name)

    def test_max_steps_ends_at_that_step(self):
        run_dir = self.run_dir()
        self.expect(0, "train.max_steps=17", run_dir=run_dir)
        self.assertEqual(self.summary(run_dir)["steps"], 17)

    def test_warm_start_takes_what_fits_and_says_so(self):
        first, auc = self.train("first", *DEEP)
        second = self.run_dir("second")
        result = self.expect(0, *DEEP, "train.start_from=" + first, "train.max_steps=1",
                             "net.layers=[{type: linear, name: fc1, units: 16, activation: relu}, "
                             "{type: linear, units: 4}, {type: linear, units: 1}]", run_dir=second)
        self.assertIn("2 of 6 dense parameters; new: ", result.out)
        self.assertGreater(self.summary(second)["final"]["auc"], 0.6)

    def test_new_rows_come_and_old_ones_go(self):
        run_dir = self.run_dir()
        result = self.expect(0, "click.rows={form: keyed, evict_after_epochs: 1, max_rows: 65536}",
                             run_dir=run_dir)
        self.assertNotIn("old rows evicted", result.out)  # all are seen in every epoch


class Mistakes(ProgramTest):

    def test_config_mistakes_are_told_all_at_once(self):
        err = self.expect(64, "train.epcohs=5", "parallel.servers=0", "parallel.mode=ssp").err
        for words in ("did you mean \"train.epochs\"", "parallel.servers", ):
            self.assertIn(words, err)

    def test_malformed_rows_are_named_and_too_many_end_the_run(self):
        lines = read(self.scratch("data", "train.csv")).splitlines()
        lines[4] = lines[4][:-1] + "x"
        bad = self.scratch("bad.csv")
        program.write(bad, "\n".join(lines) + "\n")
        words = ["data.train=" + bad, "data.rows.max_bad_fraction=0.01"]
        result = self.expect(0, *words, run_dir=self.run_dir())
        self.assertIn("bad.csv:5: ", result.err)
        self.assertIn("1 malformed row left out", result.out)
        words[1] = "data.rows.max_bad_fraction=0"
        result = self.expect(65, *words, run_dir=self.run_dir("strict"))
        self.assertIn("bad.csv:5: ", result.err)

    def test_no_such_file(self):
        self.expect(65, "data.train=nowhere.csv", run_dir=self.run_dir())

    def test_divergence_ends_with_76_and_saves_nothing(self):
        run_dir = self.run_dir()
        result = self.expect(76, *DEEP, "train.schedule.learning_rate=1e30",
                             "train.optimizer={type: sgd}", run_dir=run_dir)
        self.assertIn("diverged", result.err.splitlines()[-1])
        self.assertEqual(os.listdir(os.path.join(run_dir, "checkpoints")), [])
        self.assertEqual(self.summary(run_dir)["status"], "diverged")


class Check(ProgramTest):

    def test_check_prints_the_plan_and_trains_nothing(self):
        out = self.expect(0, "--check", *DEEP, run_dir=self.run_dir()).out
        for words in ("about %d rows" % ROWS, "%d rows" % VALID, "hashed", "fc1", "2 workers"):
            self.assertIn(words, out)
        self.assertTrue(out.endswith("ok\n"))
        self.assertFalse(os.path.exists(self.run_dir()))

    def test_check_finds_what_is_wrong(self):
        self.expect(64, "--check", "click.linear.fields=[nothing]")


if __name__ == "__main__":
    program.main()
