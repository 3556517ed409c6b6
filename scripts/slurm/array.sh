#!/usr/bin/env bash
# Many jobs of one kind: task number N runs line N of a file of commands, each as a job of its own
# that is preempted, requeued and resumed for itself:
#
#   sbatch --array=1-20%4 scripts/slurm/array.sh commands.txt
#
# A line: mariana_dnn --config=speech.yaml --run_dir=runs/a seed=1 ("quoted" as in a shell).
# `%4`: at most four at a time. scripts/sweep (back_end: {type: slurm}) sends its trials so.
# Without Slurm: scripts/slurm/array.sh commands.txt runs one line after the other.
#SBATCH --job-name=mariana
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%A_%a.log
# Slurm runs a copy of this file: the checkout is where sbatch was called, or $MARIANA_ROOT.
root=${MARIANA_ROOT:-${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}}
commands=$1
if [[ -n ${SLURM_ARRAY_TASK_ID:-} ]]; then
  line=$(sed -n "${SLURM_ARRAY_TASK_ID}p" "$commands")
  [[ -n $line ]] || { echo "array: $commands has no line $SLURM_ARRAY_TASK_ID" >&2; exit 64; }
  eval "set -- $line"
  exec "$root/scripts/slurm/job" "$@"
fi
worst=0
while IFS= read -r line <&3; do
  eval "set -- $line"
  "$root/scripts/slurm/job" "$@" || worst=$?
  if ((worst == 75)); then break; fi
done 3< "$commands"
exit "$worst"
