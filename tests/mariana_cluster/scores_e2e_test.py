#!/usr/bin/env -S python3 -B
"""What the verbs of mariana_cluster besides train say of a model, computed again here."""
import json
import math
import os
import subprocess

import program
from program import ProgramTest, read, write


def area_under_curve(scores, labels):
    """The share of pairs in order, ties half."""
    clicks = [s for s, y in zip(scores, labels) if y]
    others = [s for s, y in zip(scores, labels) if not y]
    right = sum((c > o) + 0.5 * (c == o) for c in clicks for o in others)
    return right / (len(clicks) * len(others))


class Verbs(ProgramTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trained = cls.scratch("run.trained")
        result = program.run("--config", cls.scratch.job, "--run_dir", cls.trained,
                             "evaluate.importance=500", cwd=cls.scratch.path)
        assert result.code == 0, result
        cls.labels = [int(line[-1]) for line in cls.scratch.valid]

    def predict(self, *words):
        out = self.expect(0, "predict", *words, run_dir=self.trained).out
        return [float(line) for line in out.splitlines()]

    def evaluate(self, *words):
        out = self.expect(0, "evaluate", "--progress=json", *words, run_dir=self.trained).out
        return json.loads(out)

    def test_evaluate_agrees_with_predictions_and_with_training(self):
        said, p = self.evaluate(), self.predict()
        self.assertEqual((said["rows"], len(p)), (1500, 1500))
        self.assertAlmostEqual(said["auc"], area_under_curve(p, self.labels), delta=1e-6)
        loss = -sum(math.log(q if y else 1 - q) for q, y in zip(p, self.labels)) / len(p)
        self.assertAlmostEqual(said["loss"], loss, delta=1e-6)
        self.assertAlmostEqual(said["calibration"], sum(p) / sum(self.labels), delta=1e-5)
        self.assertGreater(said["auc"], 0.75)
        areas = weights = 0
        for user in {line.split(",")[0] for line in self.scratch.valid}:
            mine = [i for i, line in enumerate(self.scratch.valid) if line.startswith(user + ",")]
            labels = [self.labels[i] for i in mine]
            if 0 < sum(labels) < len(labels):
                areas += len(mine) * area_under_curve([p[i] for i in mine], labels)
                weights += len(mine)
        self.assertAlmostEqual(said["gauc"], areas / weights, delta=1e-6)
        best = program.read_json(os.path.join(self.trained, "summary.json"))["best"]
        for name in ("auc", "loss", "gauc"):
            self.assertAlmostEqual(best[name], said[name], delta=1e-9)

    def test_deciles_are_tenths_of_the_rows(self):
        said, p = self.evaluate(), sorted(self.predict())
        self.assertEqual(sum(d["rows"] for d in said["deciles"]), len(p))
        at = 0
        for d in said["deciles"]:
            part = p[at:at + d["rows"]]
            at += d["rows"]
            self.assertAlmostEqual(d["prediction"], sum(part) / len(part), delta=1e-6)
            self.assertLess(abs(d["rows"] - 150), 20)

    def test_shuffling_what_matters_costs_most(self):
        importance = self.evaluate("evaluate.importance=1500")["importance"]
        loss = {f["field"]: f["loss"] for f in importance}
        self.assertEqual(set(loss), {"user", "kind", "noise", "price"})
        self.assertGreater(min(loss["user"], loss["kind"]), 0.05)
        self.assertLess(abs(loss["noise"]), 0.03)
        self.assertEqual([f["loss"] for f in importance], sorted(loss.values(), reverse=True))

    def test_a_line_for_each_row_malformed_ones_too(self):
        p = self.predict()
        lines = ["user,kind,price,noise,click"] + self.scratch.valid[:40]
        lines[3] = "u1,k1"
        lines[20] = "u1,k1,dear,n1,0"
        lines.insert(30, "")  # no row
        path = self.scratch("odd.csv")
        write(path, "\n".join(lines) + "\n")
        result = self.expect(0, "predict", path, run_dir=self.trained)
        said = [float(line) for line in result.out.splitlines()]
        self.assertEqual(len(said), 40)
        for i, (a, b) in enumerate(zip(said, p)):
            if i in (2, 19):
                self.assertTrue(math.isnan(a))
            else:
                self.assertEqual(a, b)
        self.assertIn("odd.csv:4: ", result.err)
        self.assertIn("2 of 40 rows are malformed", result.err)
        write(path, "user,kind,price,noise,click\nu1\nu2\n")
        self.assertIn("all of 2 rows", self.expect(65, "predict", path, run_dir=self.trained).err)

    def test_predictions_of_a_stream_without_labels_in_any_number_of_threads(self):
        lines = ["price,kind,user,noise"]
        for line in self.scratch.valid:
            user, kind, price, noise, _ = line.split(",")
            lines.append(",".join((price, kind, user, noise)))
        path = self.scratch("predictions.txt")
        for words in (["parallel.workers=1"], ["parallel.workers=3", "output.path=" + path]):
            done = subprocess.run(
                [program.program(), "predict", "-", "--config", self.scratch.job, "--run_dir",
                 self.trained, *words], input="\n".join(lines).encode() + b"\n",
                stdout=subprocess.PIPE, check=True, timeout=program.TIMEOUT)
            out = done.stdout.decode() or read(path)
            self.assertEqual([float(line) for line in out.splitlines()], self.predict())

    def test_the_same_rows_in_another_format(self):
        path = self.scratch("valid.svm")
        with open(path, "w") as f:
            for line in self.scratch.valid:
                user, kind, price, noise, click = line.split(",")
                f.write("%s user=%s:1 kind=%s:1 price:%s noise=%s:1\n" %
                        (click, user, kind, price, noise))
        self.assertEqual(self.predict(path, "data.rows.format=libsvm"), self.predict())

    def test_inspect_and_export(self):
        out = self.expect_plain(0, "inspect", self.trained).out
        self.assertRegex(out, r"table linear_embedding4: hashed, \d+ rows of 2\^14")
        self.assertRegex(out, r"linear weight of bias +-?\d")
        self.assertRegex(out, r"linear weight of price < 0")
        model, text = self.scratch("model.safetensors"), self.scratch("model.tsv")
        self.expect(0, "export", "output.path=" + model, run_dir=self.trained)
        self.assertEqual(self.predict("model=" + model), self.predict())
        self.expect(0, "export", "output.path=" + text, run_dir=self.trained)
        rows = [line.split("\t") for line in read(text).splitlines()]
        metadata, tensors = program.read_safetensors(model)
        _, shape, data = tensors["linear_embedding4.value"]
        self.assertEqual(len(rows) - 1, shape[0])
        values = [float(v) for row in rows[1:] for v in row[3:]]
        for a, b in zip(values, program.floats(data)):
            self.assertAlmostEqual(a, b, delta=1e-7)
        self.assertEqual(sum(row[2] == "bias" for row in rows), 1)

    def test_the_report_shows_curves_calibration_importance_and_tables(self):
        page = read(os.path.join(self.trained, "report.html"))
        for said in ("Area under the ROC curve", "progressive", "Calibration", "Importance of fields",
                     "Sparse tables", "linear_embedding4", "the limit: ", "2 workers, 1 server"):
            self.assertIn(said, page)
        rows = program.read_metrics(self.trained)
        curve = [row["train/auc"] for row in rows if "train/auc" in row]
        self.assertGreater(len(curve), 5)
        self.assertGreater(curve[-1], max(0.7, curve[0]))

    def test_what_cannot_be_scored_is_told(self):
        for code, words, said in (
                (64, ["predict", "data.valid="], "predict needs files"),
                (65, ["predict", "nothing.csv"], "nothing.csv"),
                (64, ["export"], "output.path"),
                (65, ["evaluate", "model=" + self.scratch.job], "job.yaml")):
            self.assertIn(said, self.expect(code, *words, run_dir=self.trained).err)


class OtherModels(ProgramTest):

    def test_a_net_and_thinned_negatives(self):
        run_dir = self.run_dir()
        job = ["click.terms=[linear, net]", "data.rows.negatives={keep: 0.3, correct: bias}"]
        self.expect(0, *job, run_dir=run_dir)
        said = json.loads(self.expect(0, "evaluate", "--progress=json", *job, run_dir=run_dir).out)
        best = program.read_json(os.path.join(run_dir, "summary.json"))["best"]
        for name in ("auc", "loss", "calibration"):
            self.assertAlmostEqual(best[name], said[name], delta=1e-5)
        self.assertLess(abs(math.log(said["calibration"])), 0.3)  # without correction: over 2
        self.assertIn("fc1.weight", self.expect_plain(0, "inspect", run_dir).out)

    def test_held_out_rows_of_the_training_files(self):
        run_dir = self.run_dir()
        job = ["data.valid=", "data.rows.held_out={kind: random, fraction: 0.2}", "train.epochs=1"]
        self.expect(0, *job, run_dir=run_dir)
        said = json.loads(self.expect(0, "evaluate", "--progress=json", *job, run_dir=run_dir).out)
        self.assertLess(abs(said["rows"] - 1200), 150)
        best = program.read_json(os.path.join(run_dir, "summary.json"))["best"]
        self.assertAlmostEqual(best["auc"], said["auc"], delta=1e-9)


if __name__ == "__main__":
    program.main()
