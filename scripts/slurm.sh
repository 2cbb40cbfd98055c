#!/bin/bash
# Train one stage of the transformer on several machines, under Slurm:
#
#     sbatch --nodes 4 scripts/slurm.sh mine.toml pretrain
#
# The stages before it (tokenizers, documents) run first, on one machine and without torchrun.
# RUNS is a folder that all machines share. A job that is stopped or fails is queued again, and
# goes on from its newest checkpoint, on as many machines as it then has.
#SBATCH --job-name=quintet
#SBATCH --ntasks-per-node=1
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-gpu=8
#SBATCH --time=24:00:00
#SBATCH --requeue
set -euo pipefail

recipe=$1
stage=$2
first=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
export OMP_NUM_THREADS=8

# One torchrun a machine; each starts one process a GPU, and all meet at the first machine.
srun --kill-on-bad-exit=1 .venv/bin/torchrun \
    --nnodes="$SLURM_JOB_NUM_NODES" --nproc-per-node=gpu \
    --rdzv-backend=c10d --rdzv-id="$SLURM_JOB_ID" --rdzv-endpoint="$first:29500" \
    -m quintet train "$recipe" --stage "$stage" --out "${RUNS:-runs}"
