#!/usr/bin/env -S python3 -B
"""The command line of mariana_cnn, and what its verbs write, computed again here."""
import json
import os
import struct

import program
from program import ProgramTest, floats, read, read_bytes, write


class CommandLine(ProgramTest):

    def test_help_and_version(self):
        text = self.expect_plain(0, "--help").out
        for word in ("train", "evaluate", "predict", "features", "export", "pack", "inspect",
                     "document", "--config", "--resume", "--check"):
            self.assertIn(word, text)
        self.assertLessEqual(max(map(len, text.splitlines())), 100)
        self.assertRegex(self.expect_plain(0, "--version").out, r"^mariana_cnn \d+\.\d+\.\d+\n$")

    def test_mistakes_exit_64(self):
        for words, said in (
                (["--config", "job.yaml", "train.epoch=3"], 'did you mean "train.epochs"?'),
                (["--config", "job.yaml", "net.loss=logistic"], "goes with images"),
                (["--config", "job.yaml", "net.layers.0.channels=0"], "channels"),
                (["features", "--config", "job.yaml"], "features.layer"),
                (["features", "--config", "job.yaml", "features.layer=fc", "features.path=x.txt"],
                 ".safetensors or .npy"),
                (["export", "--config", "job.yaml"], "export_path"),
                (["export", "--config", "job.yaml", "export_path=model.pt"], ".onnx"),
                (["inspect"], "give one PATH"),
                (["document", "html"], "markdown")):
            self.assertIn(said, self.expect_plain(64, *words).err)

    def test_check_prints_the_layer_table_and_starts_nothing(self):
        run_dir = self.run_dir()
        out = self.expect(0, "--check", run_dir=run_dir).out
        self.assertFalse(os.path.exists(run_dir))
        self.assertIn("data.train: 300 images of 4 classes\n", out)
        self.assertRegex(out, r"conv1 +conv +\[12, 12, 8\] +72 ")
        self.assertRegex(out, r"fc +linear +\[4\] +1156 ")  # 6 x 6 x 8 x 4 + 4
        self.assertRegex(out, r"worker 0 -> 1: \S+ \wB collect")
        self.assertTrue(out.endswith("ok\n"))

    def test_document_describes_every_key(self):
        schema = json.loads(self.expect_plain(0, "document", "schema").out)
        self.assertIn("train_transform", json.dumps(schema))
        markdown = self.expect_plain(0, "document", "markdown").out
        for key in ("`batch_size`", "`max_bad_fraction`", "`cpu_threads`", "`label_smoothing`"):
            self.assertIn(key, markdown)


class Verbs(ProgramTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.trained = cls.scratch("run.trained")
        result = program.run("--config", cls.scratch.job, "--run_dir", cls.trained,
                             cwd=cls.scratch.path)
        assert result.code == 0, result
        cls.labels = cls.scratch.valid_labels

    def predictions(self, *words):
        """[(id, {class: probability})]"""
        out = self.expect(0, "predict", "predict.format=json", *words, run_dir=self.trained).out
        lines = [json.loads(line) for line in out.splitlines()]
        return [(line["image"], {c["class"]: c["probability"] for c in line["classes"]})
                for line in lines]

    def test_evaluate_agrees_with_predict(self):
        said = self.expect(0, "evaluate", "--progress=json", run_dir=self.trained).out
        said = json.loads(said)
        predictions = self.predictions()
        self.assertEqual(len(predictions), len(self.labels))
        right = [max(p, key=p.get) == program.NAMES[label]
                 for (_, p), label in zip(predictions, self.labels)]
        self.assertAlmostEqual(said["accuracy"], sum(right) / len(right))
        self.assertEqual(said["images"], len(right))
        for k, row in enumerate(said["classes"]):
            mine = [r for r, label in zip(right, self.labels) if label == k]
            self.assertEqual((row["class"], row["images"]), (program.NAMES[k], len(mine)))
            self.assertAlmostEqual(row["recall"], sum(mine) / len(mine))
        for _, p in predictions:
            self.assertAlmostEqual(sum(p.values()), 1, delta=1e-4)
        best = program.read_json(os.path.join(self.trained, "summary.json"))["best"]
        self.assertAlmostEqual(best["accuracy"], said["accuracy"])

    def test_evaluate_writes_a_confusion_matrix_and_a_table_for_people(self):
        path = self.scratch("confusion.tsv")
        out = self.expect(0, "evaluate", "evaluate.confusion=" + path, run_dir=self.trained).out
        self.assertRegex(out, r"top-1 accuracy +[01]\.\d+\n")
        self.assertRegex(out, r"left +15 +\d\.\d+ +\d\.\d+ +\d\.\d+\n")
        rows = [line.split("\t") for line in read(path).splitlines()]
        self.assertEqual(rows[0], ["truth", *program.NAMES])
        self.assertEqual([sum(map(int, row[1:])) for row in rows[1:]],
                         [self.labels.count(k) for k in range(4)])

    def test_predict_writes_tables_with_the_likeliest_classes_first(self):
        path = self.scratch("predictions.tsv")
        self.expect(0, "predict", "predict.top=2", "predict.path=" + path, run_dir=self.trained)
        rows = [line.split("\t") for line in read(path).splitlines()]
        self.assertEqual(rows[0], ["image", "class1", "probability1", "class2", "probability2"])
        for row, (image, p) in zip(rows[1:], self.predictions()):
            best = sorted(p, key=p.get, reverse=True)
            self.assertEqual((row[0], row[1], row[3]), (image, best[0], best[1]))
            self.assertAlmostEqual(float(row[2]), p[best[0]], delta=1e-6)

    def test_averaging_over_flips_changes_little(self):
        for (_, p), (_, q) in zip(self.predictions(), self.predictions("evaluate.flip=true")):
            self.assertEqual(set(p), set(q))
            self.assertAlmostEqual(sum(q.values()), 1, delta=1e-4)

    def test_features_are_the_same_in_both_formats_and_give_the_predictions(self):
        npy, tensors = self.scratch("fc.npy"), self.scratch("fc.safetensors")
        for path in (npy, tensors):
            self.expect(0, "features", "features.layer=fc", "features.path=" + path,
                        run_dir=self.trained)
        data = read_bytes(npy)
        self.assertEqual(data[:8], b"\x93NUMPY\x01\x00")
        size = struct.unpack("<H", data[8:10])[0]
        self.assertEqual((10 + size) % 64, 0)
        self.assertEqual(eval(data[10:10 + size].decode()),
                         {"descr": "<f4", "fortran_order": False, "shape": (60, 4)})
        metadata, stored = program.read_safetensors(tensors)
        self.assertEqual(stored["fc"][:2], ("F32", [60, 4]))
        self.assertEqual(stored["fc"][2], data[10 + size:])
        ids = [image for image, _ in self.predictions()]
        self.assertEqual(json.loads(metadata["images"]), ids)
        self.assertEqual(read(self.scratch("fc.txt")).splitlines(), ids)
        logits = floats(stored["fc"][2])
        for i, (_, p) in enumerate(self.predictions()):
            row = logits[4 * i:4 * i + 4]
            self.assertEqual(max(p, key=p.get), program.NAMES[row.index(max(row))])

    def test_features_of_an_inner_layer_have_its_shape(self):
        path = self.scratch("conv1.safetensors")
        out = self.expect(0, "features", "features.layer=conv1", "features.path=" + path,
                          run_dir=self.trained).out
        self.assertIn("[60, 12, 12, 8]", out)
        wrong = self.expect(64, "features", "features.layer=conv9", "features.path=" + path,
                            run_dir=self.trained)
        self.assertIn("no layer or block is named conv9", wrong.err)

    def test_export_writes_safetensors_and_onnx(self):
        path, onnx = self.scratch("model.safetensors"), self.scratch("model.onnx")
        self.expect(0, "export", "export_path=" + path, run_dir=self.trained)
        metadata, tensors = program.read_safetensors(path)
        self.assertEqual({name: shape for name, (_, shape, _) in tensors.items()}, {
            "conv1.weight": [8, 1, 3, 3], "bn1.weight": [8], "bn1.bias": [8],
            "bn1.running_mean": [8], "bn1.running_var": [8], "fc.weight": [4, 288],
            "fc.bias": [4]})
        self.assertIn("classes: [left, right, top, bottom]", metadata["mariana.model"])
        same = self.predictions("model=" + path)
        self.assertEqual(same, self.predictions())
        self.expect(0, "export", "export_path=" + onnx, run_dir=self.trained)
        data = read_bytes(onnx)
        for said in (b"conv1.weight", b"input.scale", b"logits", b'"left"'):
            self.assertIn(said, data)

    def test_a_new_run_starts_from_a_model_or_from_parts_of_it(self):
        path = self.scratch("import.safetensors")
        self.expect(0, "export", "export_path=" + path, run_dir=self.trained)
        first = self.run_dir("start_from")
        self.expect(0, "train.start_from=" + path, "train.epochs=1", run_dir=first)
        rows = program.read_metrics(first)
        self.assertLess(rows[0]["train/loss"], 1)
        run_dir = self.run_dir("import")
        imported = self.expect(0, "train.import.file=" + path, "train.import.new_head=true",
                               "train.epochs=1", run_dir=run_dir)
        self.assertIn("fc.weight", imported.out)
        wrong = self.expect(65, "train.import.file=" + path, "net.layers.0.channels=9",
                            run_dir=self.run_dir("wrong"))
        self.assertIn("conv1.weight", wrong.err)

    def test_inspect_tells_what_a_path_holds(self):
        self.assertIn("conv1.weight", self.expect_plain(0, "inspect", self.trained).out)
        self.expect_plain(65, "inspect", self.scratch("nothing"))

    def test_a_model_of_other_classes_is_refused(self):
        write(self.scratch("other.txt"), "left\nright\ntop\nmiddle\n")
        result = self.expect(65, "evaluate", "data.valid.classes=" + self.scratch("other.txt"),
                             run_dir=self.trained)
        self.assertIn("middle", result.err)
        unknown = self.expect(64, "evaluate", "set=test", run_dir=self.trained)
        self.assertIn("data.test: needs `path`", unknown.err)
        missing = self.expect(65, "evaluate", run_dir=self.scratch("nothing"))
        self.assertIn("no such model", missing.err)


if __name__ == "__main__":
    program.main()
