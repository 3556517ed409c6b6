"""What the scripts here share: Python packages, the program they compare, how they report."""
import contextlib
import importlib.util
import os
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
VENV = ROOT / ".venv-reference"
PROGRAM = ROOT / "bazel-out/k8-opt/bin/mariana_dnn/mariana_dnn"
NAME = Path(sys.argv[0]).name


def say(text):
    print(f"{NAME}: {text}", flush=True)


def die(text, code=1):
    print(f"{NAME}: {text}", file=sys.stderr)
    sys.exit(code)


def use(packages):
    """Goes on in .venv-reference, made and filled by pip, unless this Python has all packages.

    packages: {name to import: name for pip}.
    """
    def missing():
        return [pip for name, pip in packages.items() if importlib.util.find_spec(name) is None]

    if not missing():
        return
    python = VENV / "bin/python3"
    if Path(sys.prefix) != VENV:
        if not python.exists():
            say(f"making {VENV}")
            subprocess.run([sys.executable, "-m", "venv", VENV], check=True)
        os.execv(python, [str(python)] + sys.argv)
    say(f"installing {' '.join(missing())} into {VENV}")
    if subprocess.run([python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check",
                       *missing()]).returncode:
        die("pip failed")
    os.execv(python, [str(python)] + sys.argv)


@contextlib.contextmanager
def work_folder(keep):
    """The folder `keep`, made here and left behind, or without one a temporary folder."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = (keep or Path(scratch)).resolve()
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            die(f"{folder}: is not empty; --keep needs a new folder", 73)
        yield folder


def program(path):
    """The mariana_dnn to compare: `path`, or what `bazel build --config=opt` made."""
    path = Path(path or PROGRAM).resolve()
    if not os.access(path, os.X_OK):
        die(f"{path}: not built; run: bazel build --config=opt //mariana_dnn", 64)
    return str(path)


def built(path, target):
    """The program at `path`, or without one the target, built now."""
    if not path:
        run(["bazel", "build", "--config=opt", target], cwd=ROOT)
        folder, _, name = target[2:].partition(":")
        path = ROOT / "bazel-out/k8-opt/bin" / folder / (name or folder)
    return str(Path(path).resolve())


def run(command, **options):
    """Runs a command; one that fails ends the script with what it said."""
    done = subprocess.run([str(part) for part in command], text=True, capture_output=True, **options)
    if done.returncode:
        die(f"{' '.join(map(str, command))} exited with {done.returncode}:\n"
            f"{done.stdout}{done.stderr}")
    return done.stdout
