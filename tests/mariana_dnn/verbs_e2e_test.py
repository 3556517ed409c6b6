#!/usr/bin/env -S python3 -B
"""The command line of mariana_dnn, and what its verbs write, checked by reading and computing it
again here."""
import json
import math
import os
import re

import program
from program import ProgramTest, floats, read, read_ark, read_safetensors, write

STATES = 20


class CommandLine(ProgramTest):

    def test_help_and_version(self):
        text = self.expect_plain(0, "--help").out
        for word in ("train", "evaluate", "forward", "features", "export", "plan", "inspect", "document",
                     "--config", "--run_dir", "--device", "--resume", "--check", "--print_config",
                     "--progress", "--version", "73", "75"):
            self.assertIn(word, text)
        self.assertLessEqual(max(map(len, text.splitlines())), 100)
        self.assertRegex(self.expect_plain(0, "--version").out, r"^mariana_dnn \d+\.\d+\.\d+\n$")

    def test_mistakes_on_the_command_line_exit_64_with_a_suggestion(self):
        for words, said in (
                (["--confg", "job.yaml"], "unknown flag --confg; did you mean --config?"),
                (["evalute", "--config", "job.yaml"], "'evalute'; did you mean evaluate?"),
                ([], "train needs --config"),
                (["--config"], "--config needs a value"),
                (["--config", "missing.yaml"], "missing.yaml: No such file"),
                (["--config", "job.yaml", "train.epoch=3"], 'did you mean "train.epochs"?'),
                (["--config", "job.yaml", "model.safetensors"], "model.safetensors"),
                (["--config", "job.yaml", "--progress=fast"], "bar, plain, json or none"),
                (["--config", "job.yaml", "--device=cuda"], "--device=cuda: "),
                (["--config", "job.yaml", "--device=emulated:box.yaml"], "box.yaml: No such file"),
                (["evaluate", "--config", "job.yaml", "--device=emulated:box.yaml"], "for train"),
                (["plan", "--config", "job.yaml"], "plan needs --machine=FILE"),
                (["--config", "job.yaml", "--device=gpu"], "auto, cpu, cuda or emulated:FILE"),
                (["--config", "job.yaml", "net.loss=logistic"], "softmax_cross_entropy"),
                (["inspect"], "give one PATH"),
                (["document", "html"], "markdown"),
                (["forward", "--config", "job.yaml"], "output.ark"),
                (["export", "--config", "job.yaml"], "export_path")):
            result = self.expect_plain(64, *words)
            self.assertIn(said, result.err)
        self.assertFalse(os.path.exists(self.scratch("runs", "e2e", "job.yaml")))

    def test_every_mistake_of_a_config_is_reported_with_its_place(self):
        text = read(self.scratch.job)
        for right, wrong in (("seed: 7", "sed: 7"), ("num_labels: 20", "num_labels: -1"),
                             ("type: dropout", "type: droput"), ("epochs: 2", "epochs: many"),
                             ("valid/ali.txt", "valid/none.txt")):
            self.assertEqual(text.count(right), 1)
            text = text.replace(right, wrong)
        write(self.scratch("wrong.yaml"), text)
        result = self.expect_plain(64, "--config", "wrong.yaml")
        said = re.findall(r"wrong\.yaml:(\d+):(\d+): ([\w.]+): (.*)", result.err)
        self.assertEqual([(int(line), key) for line, _, key, _ in said], [
            (2, "sed"), (5, "data.valid.alignments"), (6, "data.num_labels"),
            (11, "net.layers.1.type"), (14, "train.epochs")])
        self.assertTrue(all(int(column) >= 1 for _, column, _, _ in said))
        self.assertIn('did you mean "seed"?', said[0][3])
        self.assertIn('did you mean "dropout"?', said[3][3])

    def test_check_prints_the_layer_table_and_starts_nothing(self):
        run_dir = self.run_dir()
        out = self.expect(0, "--check", run_dir=run_dir).out
        self.assertFalse(os.path.exists(run_dir))
        # 5 frames of 40 values in: 200 x 32 + 32, 32 x 20 + 20.
        self.assertRegex(out, r"linear1 +linear +\[32\] +6432 ")
        self.assertRegex(out, r"linear2 +linear +\[20\] +660 ")
        self.assertRegex(out, r"total +7092 ")
        self.assertRegex(out, r"worker 0 -> 1: \S+ \wB collect")
        self.assertTrue(out.endswith("ok\n"))

    def test_document_describes_every_key(self):
        schema = json.loads(self.expect_plain(0, "document", "schema").out)
        self.assertIn("train", schema["properties"])
        markdown = self.expect_plain(0, "document", "markdown").out
        for key in ("`batch_size`", "`max_bad_fraction`", "`topology`"):
            self.assertIn(key, markdown)


class Verbs(ProgramTest):

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        # Three states a phone, the last ones silence.
        write(cls.scratch("states.txt"), "".join(
            "%d %s %d\n" % (i, "SIL" if i >= 18 else "P%d" % (i // 3), i % 3)
            for i in range(STATES)))
        cls.trained = cls.scratch("run.trained")
        cls.words = ["data.states=" + cls.scratch("states.txt"), "data.num_labels=0",
                     "data.silence_phones=[SIL]"]
        result = program.run("--config", cls.scratch.job, "--run_dir", cls.trained, *cls.words,
                             cwd=cls.scratch.path)
        assert result.code == 0, result
        cls.labels = {}
        for line in read(cls.scratch("data", "valid", "ali.txt")).splitlines():
            key, *states = line.split()
            cls.labels[key] = [int(s) for s in states]

    def forward(self, kind):
        ark = self.scratch(kind + ".ark")
        self.expect(0, "forward", "output.ark=" + ark, "output.kind=" + kind, *self.words,
                    run_dir=self.trained)
        return read_ark(ark)

    def evaluate(self, *words):
        out = self.expect(0, "evaluate", "--progress=json", *self.words, *words,
                          run_dir=self.trained).out
        return json.loads(out)

    def test_forward_writes_a_row_a_frame_that_gives_the_scores_of_evaluate(self):
        posteriors, logs = self.forward("posteriors"), self.forward("log_posteriors")
        self.assertEqual({key: rows for key, (rows, _, _) in logs.items()},
                         {key: len(states) for key, states in self.labels.items()})
        loss = right = phones = speech = frames = 0
        phone = lambda state: min(state // 3, 6)
        for key, (rows, cols, values) in logs.items():
            self.assertEqual(cols, STATES)
            for t in range(rows):
                row = values[t * cols:(t + 1) * cols]
                shares = posteriors[key][2][t * cols:(t + 1) * cols]
                self.assertAlmostEqual(sum(shares), 1, delta=1e-5)
                self.assertAlmostEqual(math.exp(row[3]), shares[3], delta=1e-5)
                state, guess = self.labels[key][t], row.index(max(row))
                loss -= row[state]
                right += guess == state
                phones += phone(guess) == phone(state)
                speech += state < 18
                frames += 1
        said = self.evaluate()
        self.assertEqual(said["frames"], frames)
        self.assertAlmostEqual(said["loss"], loss / frames, delta=1e-4)
        self.assertAlmostEqual(said["accuracy"], right / frames, delta=1e-9)
        self.assertAlmostEqual(said["phone_accuracy"], phones / frames, delta=1e-9)
        self.assertLess(speech, frames)
        self.assertIn("phone_accuracy_no_silence", said)
        self.assertGreater(said["accuracy"], 0.5)
        best = program.read_json(os.path.join(self.trained, "summary.json"))["best"]
        self.assertAlmostEqual(best["loss"], said["loss"], delta=1e-5)

    def test_log_likelihoods_are_log_posteriors_less_the_log_prior(self):
        counts = [0] * STATES
        for line in read(self.scratch("data", "train", "ali.txt")).splitlines():
            for state in line.split()[1:]:
                counts[int(state)] += 1
        log_prior = [math.log(max(n / sum(counts), 5e-7)) for n in counts]
        likelihoods, logs = self.forward("log_likelihoods"), self.forward("log_posteriors")
        for key, (rows, cols, values) in likelihoods.items():
            for i in range(rows * cols):
                self.assertAlmostEqual(values[i], logs[key][2][i] - log_prior[i % cols],
                                       delta=1e-4)

    def test_exported_model_computes_the_same_here(self):
        path, ark = self.scratch("model.safetensors"), self.scratch("features.ark")
        self.expect(0, "export", "export_path=" + path, *self.words, run_dir=self.trained)
        metadata, tensors = read_safetensors(path)
        self.assertIn("units: 32", metadata["mariana.model"])
        self.assertEqual({name: shape for name, (_, shape, _) in tensors.items()}, {
            "linear1.weight": [32, 200], "linear1.bias": [32], "linear2.weight": [20, 32],
            "linear2.bias": [20], "input.mean": [40], "input.scale": [40], "output.prior": [20]})
        self.assertEqual({dtype for dtype, _, _ in tensors.values()}, {"F32"})
        w1, b1, w2, b2, mean, scale = (floats(tensors[name][2]) for name in (
            "linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias", "input.mean",
            "input.scale"))
        self.expect(0, "features", "output.ark=" + ark, *self.words, run_dir=self.trained)
        raw = read_ark(self.scratch("data", "valid", "feats.ark"))
        key, (rows, cols, frames) = sorted(read_ark(ark).items())[0]
        for i in range(200):
            self.assertAlmostEqual(frames[i], (raw[key][2][i] - mean[i % 40]) * scale[i % 40],
                                   delta=1e-4)
        frames = [frames[t * cols:(t + 1) * cols] for t in range(rows)]
        logs = self.forward("log_posteriors")[key][2]
        for t in (0, 1, 50, rows - 1):
            x = [v for d in range(-2, 3) for v in frames[min(max(t + d, 0), rows - 1)]]
            h = [1 / (1 + math.exp(-b1[j] - sum(
                w * v for w, v in zip(w1[j * 200:(j + 1) * 200], x)))) for j in range(32)]
            y = [b2[k] + sum(w * v for w, v in zip(w2[k * 32:(k + 1) * 32], h))
                 for k in range(STATES)]
            norm = math.log(sum(math.exp(v) for v in y))
            for k in range(STATES):
                self.assertAlmostEqual(logs[t * STATES + k], y[k] - norm, delta=1e-3)

    def test_verbs_take_a_run_a_checkpoint_or_a_model_file(self):
        path = self.scratch("other.safetensors")
        self.expect(0, "export", "export_path=" + path, *self.words, run_dir=self.trained)
        expected = self.evaluate()["loss"]
        for model in (self.trained, os.path.join(self.trained, "best"), path):
            self.assertEqual(self.evaluate("model=" + model)["loss"], expected)
        missing = self.expect(65, "evaluate", *self.words, run_dir=self.scratch("nothing"))
        self.assertIn("no such model", missing.err)
        other = self.expect(65, "evaluate", "data.num_labels=30", run_dir=self.trained)
        self.assertIn("the model has 20 labels", other.err)

    def test_evaluate_prints_a_table_for_people(self):
        out = self.expect(0, "evaluate", *self.words, run_dir=self.trained).out
        self.assertRegex(out, r"cross-entropy +\d\.\d+\n +state accuracy +0\.\d+\n")

    def test_inspect_tells_what_a_path_holds(self):
        for path, said in ((self.trained, "linear1.weight"),
                           (os.path.join(self.trained, "latest"), "linear1.weight"),
                           (self.scratch("data", "valid", "feats.scp"), "4 matrices"),
                           (self.scratch("data", "valid", "feats.ark"), "4 matrices")):
            self.assertIn(said, self.expect_plain(0, "inspect", path).out)
        self.expect_plain(65, "inspect", self.scratch("nothing"))


MACHINE = """\
name: box
device_price: 1000
devices: 3
device: {name: card, memory: 4MB, memory_gb_per_second: 100, fp32: {tflops: 1}, launch_us: 2}
host_memory: [host]
links: [{name: slot, between: [gpu0-2, host], gb_per_second: 5, latency_us: 3}]
"""


class EmulatedMachines(ProgramTest):

    def setUp(self):
        self.machine = self.scratch("box.yaml")
        write(self.machine, MACHINE)

    def emulate(self, name, *words):
        run = self.scratch(name)
        result = self.expect(0, "--device=emulated:" + self.machine, *words, run_dir=run)
        return result.out, run

    def test_training_on_a_machine_that_is_not_there(self):
        out, run = self.emulate("emulated", "parallel.devices=3")
        self.assertRegex(out, r"3 x card, 128 frames a step\nthroughput +\d+ frames a second")
        self.assertRegex(out, r"speed-up +\d\.\d\d over one device")
        figures = json.loads(read(os.path.join(run, "emulation.json")))
        self.assertLess(figures["exposed_seconds"], figures["step_seconds"])
        self.assertLessEqual(figures["speedup"], figures["bound_speedup"])
        events = json.loads(read(os.path.join(run, "trace.json")))["traceEvents"]
        rows = {e["args"]["name"] for e in events if e["ph"] == "M"}
        self.assertTrue({"gpu0", "gpu2", "compute", "exchange", "slot gpu0 > host"} <= rows)
        self.assertEqual(os.listdir(os.path.join(run, "checkpoints")), [])
        self.assertFalse(os.path.exists(os.path.join(run, "metrics.jsonl")))
        again, other = self.emulate("again", "parallel.devices=3")
        self.assertEqual(read(os.path.join(run, "trace.json")),
                         read(os.path.join(other, "trace.json")))

    def test_what_a_machine_lacks_is_said(self):
        for code, word, said in ((64, "parallel.devices=4", "box has 3 devices"),
                                 (64, "train.precision=bf16", "card has no bf16"),
                                 (74, "train.batch_size=9999", "card: out of memory")):
            result = self.expect(code, "--device=emulated:" + self.machine, word,
                                 run_dir=self.scratch(word))
            self.assertIn(said, result.err)

    def test_plan_prints_a_table_and_the_best_choice(self):
        table = self.scratch("plan.json")
        out = self.expect(0, "plan", "--machine", self.machine, "--json", table,
                          "plan.batch_sizes=[128, 9999]", "data.train={}", "data.valid={}",
                          "plan.input=[200]", "plan.outputs=20").out
        self.assertIn("does not fit: card: out of memory", out)
        plan = json.loads(read(table))
        self.assertEqual([r["devices"] for r in plan["rows"] if r["fits"]],
                         [1, 2, 2, 3, 3, 3, 3])
        best = plan["rows"][plan["fastest"]]
        self.assertEqual(best["samples_per_second"],
                         max(r.get("samples_per_second", 0) for r in plan["rows"]))
        self.assertIn("best, the fastest: parallel.devices=%d" % best["devices"], out)


if __name__ == "__main__":
    program.main()
