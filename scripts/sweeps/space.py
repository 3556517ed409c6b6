"""The axes of a sweep: which keys of the config vary, and over what.

  KEY: [value, value, ...]                 choices: any YAML values, whole sections too
  KEY: {choices: {name: value, ...}}       choices with names for the report
  KEY: {low: 1, high: 8}                   whole numbers, or numbers where one has a decimal point
  KEY: {low: 1e-3, high: 1, log: true, steps: 4}     evenly in the logarithm; a grid takes 4 values
"""
import dataclasses
import math

import yaml

import yaml_file

RANGE_KEYS = ("low", "high", "log", "steps")


@dataclasses.dataclass
class Axis:
    key: str
    node: object = None
    names: list = None   # choices: names beside values
    values: list = None
    low: float = 0
    high: float = 0
    log: bool = False
    whole: bool = False
    steps: int = 0

    @property
    def is_range(self):
        return self.values is None

    def value(self, point):
        """What the key is set to; a point of choices is the name of one."""
        return point if self.is_range else self.values[self.names.index(point)]

    def override(self, point):
        return "%s=%s" % (self.key, yaml_file.flow(self.value(point)))

    def grid(self):
        """The points a grid takes; None for a range without steps."""
        if not self.is_range:
            return list(self.names)
        n = self.steps or (int(self.high - self.low) + 1 if self.whole and not self.log else 0)
        if n == 0:
            return None
        return list(dict.fromkeys(self._at(i / max(1, n - 1)) for i in range(n)))

    def ends(self):
        """Points that show whether the program takes this axis: all choices, both ends."""
        return [self.low, self.high] if self.is_range else list(self.names)

    def share(self, point):
        """Where a point lies on the axis, 0 to 1, for drawing."""
        if not self.is_range:
            return self.names.index(point) / max(1, len(self.names) - 1)
        if self.high == self.low:
            return 0.5
        if self.log:
            return math.log(point / self.low) / math.log(self.high / self.low)
        return (point - self.low) / (self.high - self.low)

    def _at(self, share):
        if self.log:
            v = math.exp(math.log(self.low) + share * math.log(self.high / self.low))
        else:
            v = self.low + share * (self.high - self.low)
        return round(v) if self.whole else float("%.6g" % v)

    def describe(self):
        """What two sweeps must agree in to share a journal."""
        if self.is_range:
            return [self.key, self.low, self.high, self.log, self.whole]
        return [self.key, self.names, self.values]


def read_overrides(node, path, mistakes):
    """`key.path: value` pairs, the same in every trial."""
    if not isinstance(node, yaml.MappingNode):
        mistakes.add(node, path, "must be `key.path: value` pairs")
        return []
    return ["%s=%s" % (key.value, yaml_file.flow(yaml_file.value_of(value)))
            for key, value in node.value]


def read_axes(node, mistakes):
    if not isinstance(node, yaml.MappingNode):
        mistakes.add(node, "space", "must be a section: `key.path: values`")
        return []
    axes = [_read_axis(key.value, value, mistakes) for key, value in node.value]
    return [axis for axis in axes if axis]


def _read_axis(key, node, mistakes):
    path = "space." + key
    value = yaml_file.value_of(node)
    axis = Axis(key, node)
    if isinstance(value, list):
        axis.values, axis.names = value, [yaml_file.flow(v) for v in value]
    elif isinstance(value, dict) and set(value) == {"choices"} and isinstance(
            value["choices"], dict):
        axis.values, axis.names = list(value["choices"].values()), list(value["choices"])
    elif isinstance(value, dict) and "low" in value and "high" in value:
        return _read_range(axis, value, path, mistakes)
    else:
        mistakes.add(node, path, "must be a list of values, {choices: {name: value}} or "
                     "{low: .., high: .., log: .., steps: ..}")
        return None
    if not axis.values:
        mistakes.add(node, path, "has no values")
        return None
    if len(set(axis.names)) < len(axis.names):
        mistakes.add(node, path, "holds a value twice")
        return None
    return axis


def _read_range(axis, value, path, mistakes):
    def wrong(what):
        mistakes.add(axis.node, path, what)
    for key in value:
        if key not in RANGE_KEYS:
            wrong("%s: unknown key; a range has %s" % (key, ", ".join(RANGE_KEYS)))
            return None
    numbers = [value["low"], value["high"]]
    if not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in numbers):
        wrong("low and high must be numbers")
        return None
    axis.low, axis.high = numbers
    axis.log, axis.steps = value.get("log", False), value.get("steps", 0)
    axis.whole = all(isinstance(v, int) for v in numbers)
    if not isinstance(axis.log, bool):
        wrong("log is %s; must be true or false" % axis.log)
    elif not isinstance(axis.steps, int) or isinstance(axis.steps, bool) or axis.steps < 0:
        wrong("steps is %s; must be a whole number" % axis.steps)
    elif axis.low > axis.high:
        wrong("low is %s, above high, %s" % (axis.low, axis.high))
    elif axis.log and axis.low <= 0:
        wrong("low is %s; must be above 0 where log is true" % axis.low)
    else:
        return axis
    return None
