# Sourced by the scripts here: where the repository is, and how they speak.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by those that source this
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
NAME=$(basename "$0")
# What `bazel build --config=opt` makes; unlike bazel-bin it stays where it is when something is
# built with other flags.
OPT_BIN=$ROOT/bazel-out/k8-opt/bin

say() { echo "$NAME: $*"; }

# die MESSAGE [EXIT_CODE]
die() {
  echo "$NAME: $1" >&2
  exit "${2:-1}"
}

# The comment that a script opens with is its --help.
usage() {
  sed -n '2,/^[^#]/{/^#/s/^# \{0,1\}//p}' "$0"
}
