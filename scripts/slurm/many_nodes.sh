#!/usr/bin/env bash
# Several nodes, one process on each with the node's GPUs as its workers:
#
#   sbatch --nodes=4 --gres=gpu:8 scripts/slurm/many_nodes.sh mariana_dnn --config=speech.yaml \
#     --run_dir=/shared/runs/speech
#
# The run directory must be on a file system that all nodes see. srun --mpi=pmix starts the processes;
# `many_nodes.sh --launch=mpirun mariana_dnn ...` takes mpirun instead. `scripts/slurm/transport` says
# which way data takes between nodes. A process for each GPU, next to it:
#   sbatch --nodes=4 --ntasks-per-node=8 --gpus-per-task=1 --gpu-bind=closest ... parallel.devices=1
# Without Slurm, several processes on one machine: scripts/slurm/many_nodes.sh --ranks=4 mariana_dnn ...
#SBATCH --job-name=mariana
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --time=24:00:00
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=%x-%j.log
# Slurm runs a copy of this file: the checkout is where sbatch was called, or $MARIANA_ROOT.
root=${MARIANA_ROOT:-${SLURM_SUBMIT_DIR:-$(dirname "$0")/../..}}
exec "$root/scripts/slurm/job" "$@"
