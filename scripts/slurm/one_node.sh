#!/usr/bin/env bash
# One node, its GPUs as the workers of one process:
#
#   sbatch scripts/slurm/one_node.sh mariana_dnn --config=speech.yaml --run_dir=runs/speech
#
# Options of sbatch go before the script: sbatch --account=speech --gres=gpu:8 --time=12:00:00 ...
# Without Slurm: scripts/slurm/one_node.sh mariana_dnn ...
#SBATCH --job-name=mariana
#SBATCH --nodes=1
#SBATCH --ntasks=1
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# Slurm runs a copy of this file: the checkout is where sbatch was called, or $MARIANA_ROOT.
root=${MARIANA_ROOT:-${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}}
exec "$root/scripts/slurm/job" "$@"
