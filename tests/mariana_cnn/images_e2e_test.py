#!/usr/bin/env -S python3 -B
"""Images as they come: folders by class, broken files, sets that do not fit."""
import os
import shutil

import program
from program import ProgramTest, read, read_bytes, read_json, write


class Folders(ProgramTest):

    def setUp(self):
        self.folder = self.scratch(self.id().split(".")[-1] + ".images")
        program.make_folder(os.path.join(self.folder, "train"), 16, 11)
        program.make_folder(os.path.join(self.folder, "valid"), 6, 12)
        self.words = ["data.train={type: folder, path: %s/train}" % self.folder,
                      "data.valid={type: folder, path: %s/valid}" % self.folder,
                      "data.input.channels=3"]

    def file(self, *names):
        return os.path.join(self.folder, *names)

    def cut(self, *names):
        os.truncate(self.file(*names), 200)

    def test_folders_are_learned(self):
        run_dir = self.run_dir()
        self.expect(0, *self.words, "train.epochs=4", run_dir=run_dir)
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertGreater(summary["best"]["accuracy"], 0.5)
        metadata, _ = program.read_safetensors(
            os.path.join(run_dir, "latest", "model.safetensors"))
        self.assertIn("classes: [bottom, left, right, top]",
                      metadata["mariana.model"].replace("\n    - ", ", ").replace('"', ""))

    def test_a_broken_image_is_named_and_ends_the_run(self):
        self.cut("train", "top", "003.bmp")
        result = self.expect(65, *self.words, run_dir=self.run_dir())
        self.assertIn(self.file("train", "top", "003.bmp"), result.err)

    def test_some_broken_images_are_allowed_where_the_config_says_so(self):
        self.cut("train", "top", "003.bmp")
        self.cut("valid", "left", "001.bmp")
        words = [*self.words, "data.train.max_bad_fraction=0.05",
                 "data.valid.max_bad_fraction=0.1"]
        run_dir, again = self.run_dir(), self.run_dir("again")
        result = self.expect(0, *words, run_dir=run_dir)
        for name in (("train", "top", "003.bmp"), ("valid", "left", "001.bmp")):
            self.assertEqual(result.err.count(self.file(*name)), 1, result.err)
        self.assertIn("Broken images", read(os.path.join(run_dir, "report.html")))
        self.assertRegex(result.out, r"broken images, left out +1\n")
        self.expect(0, *words, "data.cpu_threads=4", run_dir=again)
        self.assertTrue(program.model_of(run_dir) == program.model_of(again))
        lines = self.expect(0, "predict", *words, run_dir=run_dir).out.splitlines()
        self.assertEqual(len(lines), 1 + 23)

    def test_images_of_no_class_can_be_predicted_not_evaluated(self):
        run_dir = self.run_dir()
        self.expect(0, *self.words, "train.epochs=1", run_dir=run_dir)
        os.makedirs(self.file("new"))
        shutil.copytree(self.file("valid", "top"), self.file("new", "holiday"))
        words = [*self.words, "data.test={type: folder, path: %s}" % self.file("new"), "set=test"]
        lines = self.expect(0, "predict", *words, run_dir=run_dir).out.splitlines()
        self.assertEqual(len(lines), 1 + 6)
        self.assertTrue(lines[1].startswith("holiday/000.bmp\t"), lines[1])
        self.assertIn("holiday", self.expect(65, "evaluate", *words, run_dir=run_dir).err)

    def test_too_many_broken_images_end_the_run(self):
        for name in ("001.bmp", "002.bmp", "003.bmp", "004.bmp"):
            self.cut("train", "top", name)
        result = self.expect(65, *self.words, "data.train.max_bad_fraction=0.05",
                             run_dir=self.run_dir())
        self.assertIn("max_bad_fraction", result.err)

    def test_a_held_out_class_that_training_lacks_is_a_mistake(self):
        shutil.copytree(self.file("valid", "top"), self.file("valid", "middle"))
        for words in ([], ["--check"]):
            result = self.expect(65, *self.words, *words, run_dir=self.run_dir())
            self.assertIn("middle", result.err)

    def test_a_folder_without_images_is_a_mistake(self):
        shutil.rmtree(self.file("train"))
        os.makedirs(self.file("train", "empty"))
        result = self.expect(65, *self.words, run_dir=self.run_dir())
        self.assertIn(self.file("train"), result.err)

    def test_training_without_a_held_out_set(self):
        run_dir = self.run_dir()
        self.expect(0, self.words[0], self.words[2], "data.valid={}", "train.epochs=1",
                    run_dir=run_dir)
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertEqual((summary["status"], summary["best"]), ("done", {}))
        result = self.expect(64, self.words[0], self.words[2], "data.valid={}",
                             "train.patience=2", run_dir=self.run_dir("refused"))
        self.assertIn("needs data.valid", result.err)

    def test_shards_hold_the_images_of_the_folder(self):
        shards = self.scratch("shards")
        run_dir = self.run_dir()
        self.expect(0, "pack", *self.words, "set=train", "pack.folder=" + shards,
                    "pack.shard_bytes=20kB", run_dir=run_dir)
        self.assertGreater(len([n for n in os.listdir(shards) if n.endswith(".tar")]), 1)
        tar = "data.train={type: tar, path: '%s/*.tar'}" % shards
        self.expect(0, tar, *self.words[1:], "train.epochs=1", run_dir=run_dir)
        summary = read_json(os.path.join(run_dir, "summary.json"))
        self.assertEqual(summary["samples"], 64)


if __name__ == "__main__":
    program.main()
