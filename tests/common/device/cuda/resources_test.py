#!/usr/bin/env python3
"""resources_test.py [--write] REPORT...

Compares what nvcc reports of the kernels (bazel build //common/device/cuda:resources: registers,
spills, shared memory, by architecture) with tests/golden/cuda_resources.txt. --write renews that
file instead: read the difference before you commit it.
"""
import os
import re
import sys
import unittest

GOLDEN = "tests/golden/cuda_resources.txt"
ENTRY = re.compile(r"Compiling entry function '\S+' for '(sm_\w+)'")
SPILLS = re.compile(r"(\d+) bytes spill stores, (\d+) bytes spill loads")
USED = re.compile(r"Used (\d+) registers")
SHARED = re.compile(r"(\d+) bytes smem")


def summarize(path):
    """{architecture: [kernels, most registers, bytes spilled, most shared bytes]}"""
    found, arch = {}, None
    with open(path, encoding="utf-8") as report:
        for line in report:
            if entry := ENTRY.search(line):
                arch = found.setdefault(entry.group(1), [0, 0, 0, 0])
                arch[0] += 1
            if arch is None:
                continue
            if spills := SPILLS.search(line):
                arch[2] += int(spills.group(1)) + int(spills.group(2))
            if used := USED.search(line):
                arch[1] = max(arch[1], int(used.group(1)))
                shared = SHARED.search(line)
                arch[3] = max(arch[3], int(shared.group(1)) if shared else 0)
    return found


def report(paths):
    lines = []
    for path in sorted(paths, key=os.path.basename):
        name = os.path.basename(path).removesuffix(".resources")
        for arch, (kernels, registers, spilled, shared) in sorted(summarize(path).items()):
            lines.append(f"{name} {arch}: {kernels} kernels, at most {registers} registers, "
                         f"{spilled} bytes spilled, at most {shared} bytes of shared memory\n")
    return lines


class Resources(unittest.TestCase):
    paths = []

    def test_kernels_take_what_the_golden_file_says(self):
        with open(GOLDEN, encoding="utf-8") as golden:
            self.assertEqual("".join(golden), "".join(report(self.paths)))

    def test_no_kernel_spills(self):
        for path in self.paths:
            for arch, (_, _, spilled, _) in summarize(path).items():
                self.assertEqual(spilled, 0, f"{path} {arch}")


if __name__ == "__main__":
    arguments = sys.argv[1:]
    if arguments[:1] == ["--write"]:
        with open(GOLDEN, "w", encoding="utf-8") as golden:
            golden.writelines(report(arguments[1:]))
    else:
        Resources.paths = arguments
        unittest.main(argv=sys.argv[:1])
