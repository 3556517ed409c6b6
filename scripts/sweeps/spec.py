"""sweep.yaml -> Spec. Every mistake is one line with its place, and all come at once (read_spec
raises SpecError). docs/guides/sweeps.md has the keys."""
import dataclasses
import difflib
import os
import re
import shutil

import yaml

import space
import yaml_file

PROGRAMS = ("mariana_dnn", "mariana_cnn", "mariana_cluster")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))


class SpecError(Exception):
    """lines: one for each mistake."""

    def __init__(self, lines):
        super().__init__("\n".join(lines))
        self.lines = lines


@dataclasses.dataclass
class Search:
    type: str = "tpe"
    trials: int = 20  # grid: the first so many points; 0: all
    seed: int = 1


@dataclasses.dataclass
class Prune:
    type: str = "none"
    unit: str = "epochs"  # or steps: what budgets are counted in
    min: int = 1
    max: int = 0  # 0: what the config says
    factor: int = 3


@dataclasses.dataclass
class BackEnd:
    type: str = "local"
    slots: int = 1
    gpus: list = dataclasses.field(default_factory=list)
    options: list = dataclasses.field(default_factory=list)  # slurm: of sbatch


@dataclasses.dataclass
class Retry:
    preempted: int = 10
    lost: int = 3
    killed: int = 1
    out_of_memory: int = 0


@dataclasses.dataclass
class Spec:
    path: str = ""
    folder: str = ""  # of sweep.yaml: where programs run, so that its relative paths hold
    name: str = ""
    program: str = ""
    config: str = ""
    metric: str = "valid/loss"
    goal: str = "minimise"
    overrides: list = dataclasses.field(default_factory=list)
    axes: list = dataclasses.field(default_factory=list)
    search: Search = dataclasses.field(default_factory=Search)
    prune: Prune = dataclasses.field(default_factory=Prune)
    back_end: BackEnd = dataclasses.field(default_factory=BackEnd)
    retry: Retry = dataclasses.field(default_factory=Retry)


def executable(program):
    """The path of one of our programs: in $MARIANA_BIN, as built here, or on the PATH; None where
    there is none."""
    if os.environ.get("MARIANA_BIN"):
        return shutil.which(program, path=os.path.abspath(os.environ["MARIANA_BIN"]))
    built = os.path.join(ROOT, "bazel-out/k8-opt/bin", program, program)
    return built if os.access(built, os.X_OK) else shutil.which(program)


class Reader:
    """Takes the keys of a mapping one after the other; those left are unknown."""

    def __init__(self, node, path, mistakes):
        self.path, self.mistakes, self.asked, self.nodes, self.node = path, mistakes, [], {}, node
        if isinstance(node, yaml.MappingNode):
            self.nodes = {key.value: (key, value) for key, value in node.value}
        elif node is not None:
            mistakes.add(node, path, "must be a section of keys")

    def at(self, key):
        return "%s.%s" % (self.path, key) if self.path else key

    def has(self, key):
        self.asked.append(key)
        return key in self.nodes

    def wrong(self, key, what):
        node = self.nodes[key][1] if key in self.nodes else self.node
        self.mistakes.add(node, self.at(key), what)

    def section(self, key):
        return Reader(self.nodes[key][1] if self.has(key) else None, self.at(key), self.mistakes)

    def value(self, key, default, kinds, wanted):
        if not self.has(key):
            return default
        value = yaml_file.value_of(self.nodes[key][1])
        if isinstance(value, bool) or not isinstance(value, kinds):
            self.wrong(key, "is %s; must be %s" % (yaml_file.flow(value), wanted))
            return default
        return value

    def text(self, key, default=""):
        return self.value(key, default, str, "a text")

    def number(self, key, default, low, high=10**9):
        value = self.value(key, default, int, "a whole number")
        if not low <= value <= high:
            self.wrong(key, "is %d; must be at least %d and at most %d" % (value, low, high))
            return default
        return value

    def word(self, key, default, words):
        value = self.text(key, default)
        if value not in words:
            self.wrong(key, "is %s; must be one of %s%s" % (
                value, ", ".join(words), guess(value, words)))
            return default
        return value

    def texts(self, key):
        value = self.value(key, [], (list, str, int), "a list")
        return [str(v) for v in (value if isinstance(value, list) else [value])]

    def end(self):
        for key, (node, _) in self.nodes.items():
            if key not in self.asked:
                self.mistakes.add(node, self.at(key), "unknown key" + guess(key, self.asked))


def guess(word, words):
    close = difflib.get_close_matches(word, words, 1)
    return '; did you mean "%s"?' % close[0] if close else ""


def grid_file(words):
    """Writes runs/sweep-NAME/sweep.yaml for `PROGRAM --config=FILE key.path=value,value ...`; its
    path."""
    keys, axes, overrides, program = {}, [], [], None
    words = iter(words)
    for word in words:
        if word.startswith("-"):
            name, equals, value = word.lstrip("-").partition("=")
            if name not in ("config", "name", "metric"):
                raise SpecError(["%s: a grid takes --config, --name and --metric; for more write a "
                                 "sweep.yaml" % word])
            keys[name] = value if equals else next(words, "")
        elif "=" in word:
            key, _, value = word.partition("=")
            values = yaml_file.load("[%s]" % value)
            (axes if len(values) > 1 else overrides).append((key, values))
        else:
            program = word
    keys.setdefault("name", os.path.splitext(os.path.basename(keys.get("config", "")))[0])
    text = "program: %s\n" % program + "".join("%s: %s\n" % item for item in keys.items())
    text += "overrides:\n" + "".join("  %s: %s\n" % (k, yaml_file.flow(v[0]) if v else '""')
                                     for k, v in overrides) if overrides else ""
    text += "space:\n" + "".join("  %s: %s\n" % (k, yaml_file.flow(v)) for k, v in axes)
    folder = os.path.join("runs", "sweep-" + keys["name"])
    os.makedirs(folder, exist_ok=True)
    path = os.path.join(folder, "sweep.yaml")
    with open(path, "w", encoding="utf-8") as f:
        f.write(text + "search: {type: grid}\n")
    return path


def read_spec(path, folder=None):
    """folder: what relative paths are relative to; default: that of the file."""
    mistakes = yaml_file.Mistakes()
    root = yaml_file.compose(path, mistakes)
    spec = Spec(path=os.path.abspath(path),
                folder=os.path.abspath(folder or os.path.dirname(path)))
    if root is None:
        raise SpecError(mistakes.lines or ["%s: is empty" % path])
    top = Reader(root, "", mistakes)
    spec.program = top.word("program", PROGRAMS[0], PROGRAMS) if top.has("program") else ""
    if not spec.program:
        top.wrong("program", "is missing; one of " + ", ".join(PROGRAMS))
    config = top.text("config")
    spec.config = os.path.normpath(os.path.join(spec.folder, config))
    if not config:
        top.wrong("config", "is missing: the config that trials vary")
    elif not os.path.isfile(spec.config):
        top.wrong("config", "no file " + spec.config)
    spec.name = top.text("name", os.path.splitext(os.path.basename(path))[0])
    if not re.fullmatch(r"[\w.+-]+", spec.name):
        top.wrong("name", "is %s; must be letters, digits, - _ . +" % spec.name)
    spec.metric = top.text("metric", spec.metric)
    spec.goal = top.word("goal", spec.goal, ("minimise", "maximise"))
    if top.has("overrides"):
        spec.overrides = space.read_overrides(*top.nodes["overrides"][1:], "overrides", mistakes)
    _read_choices(spec, top)
    if top.has("space"):
        spec.axes = space.read_axes(top.nodes["space"][1], mistakes)
    if not spec.axes and not mistakes.lines:
        top.wrong("space", "is missing or empty: the keys to vary")
    _check_grid(spec, top)
    top.end()
    if mistakes.lines:
        raise SpecError(mistakes.lines)
    return spec


def _read_choices(spec, top):
    r = top.section("search")
    spec.search.type = r.word("type", "tpe", ("grid", "random", "tpe"))
    spec.search.trials = r.number("trials", 0 if spec.search.type == "grid" else 20, 0)
    if spec.search.type != "grid" and spec.search.trials == 0:
        r.wrong("trials", "must be at least 1")
    spec.search.seed = r.number("seed", 1, 0)
    r.end()
    r = top.section("prune")
    p = spec.prune
    p.type = r.word("type", "none", ("none", "asha", "hyperband"))
    p.unit = r.word("unit", p.unit, ("epochs", "steps"))
    p.min, p.max = r.number("min", p.min, 1), r.number("max", p.max, 0)
    p.factor = r.number("factor", p.factor, 2, 100)
    if p.max and p.min > p.max:
        r.wrong("min", "is %d; must be at most max, %d" % (p.min, p.max))
    r.end()
    r = top.section("back_end")
    b = spec.back_end
    b.type = r.word("type", "local", ("local", "slurm"))
    b.slots = r.number("slots", b.slots, 1, 10000)
    b.gpus = r.texts("gpus")
    if len(b.gpus) % b.slots:
        r.wrong("gpus", "%d of them cannot be dealt out evenly to %d slots" % (
            len(b.gpus), b.slots))
    b.options = r.texts("options")
    for key, owner in (("gpus", "local"), ("options", "slurm")):
        if r.nodes.get(key) and b.type != owner:
            r.wrong(key, "is for back_end.type: %s" % owner)
    r.end()
    r = top.section("retry")
    for field in dataclasses.fields(Retry):
        setattr(spec.retry, field.name, r.number(field.name, field.default, 0, 1000))
    r.end()


def _check_grid(spec, top):
    if spec.search.type != "grid":
        return
    for axis in spec.axes:
        if axis.grid() is None:
            top.mistakes.add(axis.node, "space." + axis.key,
                             "a grid needs a list of values here, or `steps: N` in the range")
