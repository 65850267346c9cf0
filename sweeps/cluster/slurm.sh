#!/usr/bin/env bash
# A Ray cluster within one Slurm job, and a sweep on it. From the project's folder:
#
#   sbatch sweeps/cluster/slurm.sh sweeps/cifar10.yaml /shared/runs
#
# Submit it again to go on, after a time limit or a preemption; submit it twice to have two drivers
# share the work. The storage root must be seen by all nodes: a shared folder, or s3://...
#SBATCH --job-name=mrsweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
set -euo pipefail

file=${1:?the sweep file}
storage=${2:?the storage root, seen by all nodes}
venv=${VENV:-$PWD/.venv}
port=${RAY_PORT:-6379}

# One secret for the nodes of this job: who has it not can start nothing here.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 OMP_NUM_THREADS=1

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

srun --nodes=1 --ntasks=1 --nodelist="$head" --export=ALL \
  "$venv/bin/ray" start --head --node-ip-address="$address" --port="$port" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
  --include-dashboard=false --block &
sleep 15
if ((${#nodes[@]} > 1)); then
  others=$(IFS=,; echo "${nodes[*]:1}")
  srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --nodelist="$others" \
    --export=ALL "$venv/bin/ray" start --address="$address:$port" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --block &
  sleep 15
fi

# Slurm's TERM, two minutes before the end, reaches this shell: hand it on. What runs goes on from
# its last epoch when the script is submitted again.
"$venv/bin/mrsweep" run "$file" --storage "$storage" --address "$address:$port" &
driver=$!
trap 'kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
trap - TERM
wait "$driver" || code=$?
exit "$code"
