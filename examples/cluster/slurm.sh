#!/bin/bash
# Run one command of make on several nodes of a Slurm cluster, which share its stages. Typed in the checkout:
#
#   sbatch --array=0-3 examples/cluster/slurm.sh pipeline DEVICE=cpu SCHEDULER=10.0.0.5:8082 REMOTE=file:///shared/results
#
# What stands behind the script goes to make; only ARGS= is taken. A luigid must answer at SCHEDULER, and every node must
# see the checkout, set up, and the remote. docs/how-to/clusters.md explains all of it.

#SBATCH --job-name=faster
#SBATCH --output=%x-%A_%a.log
#SBATCH --cpus-per-task=4
#SBATCH --mem=4G
#SBATCH --time=04:00:00
# For ENGINE=triton DEVICE=cuda remove one # here:
##SBATCH --gpus=1

set -euo pipefail
cd "$SLURM_SUBMIT_DIR"

# Each task has folders of its own on the node's disk. They stay: a task that Slurm starts again resumes its training.
folder=${TMPDIR:-/tmp}/faster-$SLURM_JOB_USER-$SLURM_ARRAY_TASK_ID
mkdir -p -m 700 "$folder"
if ! [ -O "$folder" ]; then
    echo "$folder belongs to another user. Name another disk: sbatch --export=ALL,TMPDIR=/scratch ..." >&2
    exit 1
fi

exec make "$@" ARGS="--data-dir=$folder/data --outputs-dir=$folder/outputs"
