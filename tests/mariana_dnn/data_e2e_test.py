#!/usr/bin/env -S python3 -B
"""Broken data: named by utterance and file, refused or, where the job allows some, left out."""
import os
import struct

import program
from program import ProgramTest, read, read_bytes, read_json, write


class BrokenData(ProgramTest):
    """Each test breaks one thing of its own copy of the training set."""

    def setUp(self):
        self.copy = self.scratch(self.id().split(".")[-1])
        os.makedirs(self.copy)
        for name in ("feats.scp", "feats.ark", "ali.txt"):
            with open(self.file(name), "wb") as f:
                f.write(read_bytes(self.scratch("data", "train", name)))
        self.words = ["data.train.feats=" + self.file("feats.scp"),
                      "data.train.alignments=" + self.file("ali.txt")]
        self.keys = [line.split()[0] for line in read(self.file("feats.scp")).splitlines()]

    def file(self, name):
        return os.path.join(self.copy, name)

    def lines(self, name, change):
        lines = read(self.file(name)).splitlines()
        write(self.file(name), "".join(line + "\n" for line in change(lines)))

    def refused(self, *said):
        """Exit code 65 naming what is wrong, from training and --check alike."""
        for words in ([], ["--check"]):
            result = self.expect(65, *self.words, *words, run_dir=self.run_dir())
            for word in said:
                self.assertIn(word, result.err)
        return result

    def passes_with(self, fraction, *said):
        """Trains on the rest, with a warning."""
        few = self.expect(65, *self.words, "data.max_bad_fraction=0.01", run_dir=self.run_dir())
        self.assertIn("max_bad_fraction", few.err)
        result = self.expect(0, *self.words, "data.max_bad_fraction=%g" % fraction,
                             run_dir=self.run_dir())
        self.assertIn("warning: data.train: ", result.err)
        for word in said:
            self.assertIn(word, result.err)
        return result

    def test_archive_cut_short(self):
        size = os.path.getsize(self.file("feats.ark"))
        os.truncate(self.file("feats.ark"), size - 1000)
        said = (self.keys[-1], self.file("feats.ark"))
        self.refused(*said)
        result = self.passes_with(0.1, *said)
        self.assertIn("training set: 11 utterances", result.out)

    def test_archive_cut_short_while_it_trains(self):
        # With frame counts beside the scp only the last headers are read at first; a value that is
        # cut in the middle of an archive is found when it is read.
        data = bytearray(read_bytes(self.file("feats.ark")))
        offset = int(read(self.file("feats.scp")).splitlines()[3].rsplit(":", 1)[1])
        data[offset:offset + 5] = b"\0BXX "
        with open(self.file("feats.ark"), "wb") as f:
            f.write(data)
        frames = {line.split()[0]: len(line.split()) - 1
                  for line in read(self.file("ali.txt")).splitlines()}
        write(self.file("utt2num_frames"),
              "".join("%s %d\n" % (key, frames[key]) for key in self.keys))
        result = self.expect(65, *self.words, run_dir=self.run_dir())
        self.assertIn(self.keys[3], result.err)
        self.assertIn(self.file("feats.ark"), result.err)
        self.assertEqual(read_json(os.path.join(self.run_dir(), "summary.json"))["exit_code"], 65)

    def test_label_out_of_range(self):
        self.lines("ali.txt", lambda lines: [lines[0] + " 20", *lines[1:]])
        self.lines("ali.txt", lambda lines: [
            " ".join([word for i, word in enumerate(lines[0].split()) if i != 1]), *lines[1:]])
        said = (self.keys[0], self.file("ali.txt"), "20")
        self.refused(*said)
        self.passes_with(0.1, *said)

    def test_utterance_without_labels(self):
        self.lines("ali.txt", lambda lines: lines[:4] + lines[5:])
        said = (self.keys[4], "has no labels in", self.file("ali.txt"))
        self.refused(*said)
        self.passes_with(0.1, *said)

    def test_labels_without_an_utterance(self):
        self.lines("feats.scp", lambda lines: lines[:4] + lines[5:])
        self.refused(self.keys[4], "has labels but is not in", self.file("feats.scp"))
        self.expect(0, *self.words, "data.allow_extra_alignments=true", run_dir=self.run_dir())

    def test_other_number_of_labels_than_frames(self):
        self.lines("ali.txt", lambda lines: [lines[0] + " 1 1", *lines[1:]])
        self.refused(self.keys[0], self.file("ali.txt"), "labels for")
        self.expect(0, *self.words, "data.frame_tolerance=2", run_dir=self.run_dir())

    def test_wrong_dimension(self):
        with open(self.file("more.ark"), "wb") as f:
            f.write(b"odd \0BFM \4" + struct.pack("<i", 3) + b"\4" + struct.pack("<i", 39) +
                    struct.pack("<117f", *range(117)))
        self.lines("feats.scp", lambda lines: [*lines, "odd more.ark:4"])
        self.lines("ali.txt", lambda lines: [*lines, "odd 1 2 3"])
        said = ("odd", self.file("more.ark"), "dimension 39, expected 40")
        self.refused(*said)
        self.passes_with(0.1, *said)

    def test_utterance_that_comes_twice(self):
        self.lines("feats.scp", lambda lines: [*lines, lines[2]])
        self.refused(self.keys[2], self.file("feats.scp") + ":13", "comes twice")

    def test_missing_archive(self):
        os.remove(self.file("feats.ark"))
        self.refused(self.keys[0], "feats.ark", "No such file")

    def test_not_a_number(self):
        data = bytearray(read_bytes(self.file("feats.ark")))
        data[-4:] = struct.pack("<f", float("nan"))
        with open(self.file("feats.ark"), "wb") as f:
            f.write(data)
        # Global statistics find it; --check, which has 5 seconds, does not read everything.
        result = self.expect(65, *self.words, run_dir=self.run_dir())
        self.assertIn(self.keys[-1], result.err)

    def test_held_out_set_of_another_dimension(self):
        with open(self.file("odd.ark"), "wb") as f:
            f.write(b"odd \0BFM \4" + struct.pack("<i", 3) + b"\4" + struct.pack("<i", 39) +
                    struct.pack("<117f", *range(117)))
        write(self.file("odd.scp"), "odd odd.ark:4\n")
        write(self.file("odd.txt"), "odd 1 2 3\n")
        self.words = ["data.valid.feats=" + self.file("odd.scp"),
                      "data.valid.alignments=" + self.file("odd.txt")]
        self.refused("data.valid: frames of 39 values, those of the training set have 40")

    def test_sets_without_labels_are_refused(self):
        for key in ("data.train.alignments", "data.valid.alignments"):
            for words in ([], ["--check"]):
                result = self.expect(64, key + '=""', *words, run_dir=self.run_dir())
                self.assertIn(key + ": needed", result.err)

    def test_training_without_a_held_out_set(self):
        none = ['data.valid.feats=""', 'data.valid.alignments=""']
        self.expect(0, *none, run_dir=self.run_dir())
        summary = read_json(os.path.join(self.run_dir(), "summary.json"))
        self.assertEqual((summary["status"], summary["best"]), ("done", {}))
        for word in ("train.schedule.type=newbob", "train.patience=1"):
            result = self.expect(64, word, *none, run_dir=self.run_dir("refused"))
            self.assertIn("needs data.valid", result.err)

    def test_small_sets_and_batches_that_do_not_divide(self):
        # One utterance, more workers than some batches have samples.
        self.lines("feats.scp", lambda lines: lines[:1])
        for words in (["train.batch_size=50", "parallel.devices=3"],
                      ["train.batch_size=4096", "parallel.devices=4", "parallel.topology=ring"],
                      ["train.batch_size=2", "parallel.devices=3", "train.max_steps=5"]):
            run_dir = self.run_dir(words[0])
            self.expect(0, *self.words, "data.allow_extra_alignments=true", *words,
                        run_dir=run_dir)
            self.assertEqual(read_json(os.path.join(run_dir, "summary.json"))["status"], "done")


class Speakers(ProgramTest):

    def test_normalisation_by_speaker_with_and_without_stored_statistics(self):
        data = self.scratch("data")
        words = ["data.features.normalise=speaker"]
        for name in ("train", "valid"):
            words.append("data.%s.utt2spk=%s/%s/utt2spk" % (name, data, name))
        stored = ["data.%s.cmvn=%s/%s/cmvn.scp" % (name, data, name)
                  for name in ("train", "valid")]
        arks = []
        for name, more in (("computed", []), ("stored", stored)):
            run_dir, ark = self.run_dir(name), self.scratch(name + ".ark")
            self.expect(0, *words, *more, run_dir=run_dir)
            self.expect(0, "evaluate", *words, *more, run_dir=run_dir)
            self.expect(0, "features", "output.set=train", "output.ark=" + ark, *words, *more,
                        run_dir=run_dir)
            arks.append(program.read_ark(ark))
        for key, (rows, cols, values) in arks[0].items():
            other = arks[1][key][2]
            self.assertLess(max(abs(a - b) for a, b in zip(values, other)), 1e-3)
        self.assertEqual(len(arks[0]), self.utterances)

    def test_speaker_that_is_missing(self):
        utt2spk = self.scratch("utt2spk")
        lines = read(self.scratch("data", "train", "utt2spk")).splitlines(True)
        write(utt2spk, "".join(lines[1:]))
        result = self.expect(65, "data.features.normalise=speaker", "data.train.utt2spk=" + utt2spk,
                             "data.valid.utt2spk=" + self.scratch("data", "valid", "utt2spk"),
                             run_dir=self.run_dir())
        self.assertIn(lines[0].split()[0], result.err)
        self.assertIn(utt2spk, result.err)


if __name__ == "__main__":
    program.main()
