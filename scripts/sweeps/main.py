"""scripts/sweep: see its comment, and docs/guides/sweeps.md."""
import argparse
import os
import shlex
import sys

import report
import screen
import spec as specs
from journal import JournalError
from local import Local
from points import Points
from program import Program
from runner import Runner, Stop
from slurm import Slurm


def fail(lines, code):
    for line in lines:
        print("sweep: error: " + line, file=sys.stderr)
    return code


def read(words):
    """The sweep of a file, or the grid of `PROGRAM --config=FILE key.path=value,value ...`."""
    path, folder = words[0], None
    if len(words) > 1 or path in specs.PROGRAMS:
        path, folder = specs.grid_file(words), "."
    spec = specs.read_spec(path, folder)
    program = Program(spec)
    if program.path is None:
        raise specs.SpecError(["%s: program: no %s on the PATH; scripts/setup puts it there, "
                               "`bazel build --config=opt //%s` builds it" %
                               (path, spec.program, spec.program)])
    lines = program.check()
    if lines:
        raise specs.SpecError(lines)
    return spec, program


def sweep(options):
    spec, program = read(options.words)
    folder = os.path.abspath(options.run_dir or os.path.join("runs", "sweep-" + spec.name))
    points = Points(spec.axes, spec.search, spec.goal == "minimise")
    if options.check:
        budgets = "" if spec.prune.type == "none" else ", up to %d %s each" % (
            spec.prune.max, spec.prune.unit)
        print("sweep: %s: %d trials%s, in %s" % (spec.path, points.count(), budgets, folder))
        return 0
    make = {"local": Local, "slurm": lambda b: Slurm(b, folder)}[spec.back_end.type]
    show = screen.make()
    runner = Runner(spec, program, points, make(spec.back_end), folder, show)
    stopped = None
    if not options.report:
        try:
            runner.run()
        except Stop as stop:
            stopped = stop
        show.close(runner)
    path = report.write(runner)
    best = runner.state.best()
    if best:
        show.say("best: trial %d (%s), %s %s" % (best.number, best.id, spec.metric,
                                                 screen.number(best.value)))
        show.say("again: (cd %s && %s)" % (shlex.quote(spec.folder),
                                           shlex.join(report.repeat_command(runner, best))))
    show.say("report: " + path)
    if stopped:
        return fail([str(stopped)], stopped.code)
    if best is None and not options.report:
        return fail(["no trial came to a value; see %s" % path], 70)
    return 0


def main():
    parser = argparse.ArgumentParser(prog="scripts/sweep", add_help=False)
    parser.add_argument("--run_dir", default="")
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.error = lambda message: sys.exit(fail([message + "; see scripts/sweep --help"], 64))
    options, options.words = parser.parse_known_args()
    if not options.words:
        parser.error("SWEEP.yaml is missing")
    try:
        return sweep(options)
    except specs.SpecError as e:
        return fail(e.lines, 64)
    except JournalError as e:
        return fail([str(e)], 73)
    except Stop as e:
        return fail([str(e)], e.code)


if __name__ == "__main__":
    sys.exit(main())
