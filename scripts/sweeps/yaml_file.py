"""YAML with places: what sweep.yaml and job.yaml are read with.

Read as Mariana's own programs do: 1e-3 is a number, only true and false are booleans, duplicate
keys are refused. Every node keeps its line and column, for the messages."""
import re

import yaml

FLOAT = re.compile(r"^[-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?$")


class Mistakes:
    """One line each, `FILE:line:column: path: what`; all of them are shown at once."""

    def __init__(self):
        self.lines = []

    def add(self, node, path, what):
        where = getattr(node, "place", "")
        self.lines.append(": ".join(part for part in (where, path, what) if part))


class Loader(yaml.SafeLoader):
    """SafeLoader without YAML 1.1's surprises (yes, 010, 1e-3 as text, dates, 1:30)."""
    yaml_implicit_resolvers = {}


Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(~|null|)$"),
                             ["~", "n", ""])
Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(true|false)$"), "tf")
Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?(0|[1-9]\d*)$"),
                             "-+0123456789")
Loader.add_implicit_resolver("tag:yaml.org,2002:float", FLOAT, "-+.0123456789")
Loader.add_implicit_resolver("tag:yaml.org,2002:merge", re.compile(r"^<<$"), "<")


def compose(path, mistakes):
    """The root node of a file; None, and a mistake, where it is no YAML."""
    try:
        with open(path, encoding="utf-8") as f:
            loader = Loader(f.read())
        root = loader.get_single_node()
        if root is not None:
            _place(root, path, mistakes, loader, set())
        return root
    except (OSError, UnicodeDecodeError) as e:
        mistakes.lines.append("%s: %s" % (path, getattr(e, "strerror", None) or e))
    except yaml.MarkedYAMLError as e:
        mark = e.problem_mark or e.context_mark
        mistakes.lines.append("%s:%d:%d: %s" % (path, mark.line + 1, mark.column + 1, e.problem))
    except yaml.YAMLError as e:
        mistakes.lines.append("%s: %s" % (path, str(e).splitlines()[0]))
    return None


def _place(node, path, mistakes, loader, seen):
    if id(node) in seen:
        return
    seen.add(id(node))
    node.place = "%s:%d:%d" % (path, node.start_mark.line + 1, node.start_mark.column + 1)
    if isinstance(node, yaml.SequenceNode):
        for child in node.value:
            _place(child, path, mistakes, loader, seen)
    elif isinstance(node, yaml.MappingNode):
        keys = set()
        for key, value in node.value:
            _place(key, path, mistakes, loader, seen)
            _place(value, path, mistakes, loader, seen)
            if not isinstance(key, yaml.ScalarNode):
                mistakes.add(key, "", "a key must be a word")
            elif key.value in keys and key.value != "<<":
                mistakes.add(key, key.value, "given twice")
            else:
                keys.add(key.value)
        loader.flatten_mapping(node)


def value_of(node):
    """The plain Python value of a node."""
    loader = Loader("")
    return loader.construct_document(node)


def load(text):
    """The value of a YAML text of our own making (job.yaml, --print_config)."""
    return yaml.load(text, Loader=Loader)


def flow(value):
    """A value on one line, as an override takes it: {type: adam, units: [1, 2]}."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return "%.12g" % value
    if isinstance(value, int):
        return str(value)
    if isinstance(value, dict):
        return "{%s}" % ", ".join("%s: %s" % (key, flow(v)) for key, v in value.items())
    if isinstance(value, list):
        return "[%s]" % ", ".join(flow(v) for v in value)
    if value is None:
        return '""'
    plain = re.fullmatch(r"[A-Za-z_./$][\w ./+$(){}-]*", value) and not re.search(
        r"[{}\[\],#:]|\s$", value) and value not in ("true", "false", "null")
    return value if plain else '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"')
