#!/usr/bin/env bash
# A Ray cluster within one Slurm job, and a sweep on it. From the project's folder:
#
#   sbatch sweeps/cluster/slurm.sh sweeps/cifar10.yaml /shared/runs
#
# Slurm puts it back in the queue after a preemption, and the script does so before its time is over:
# it goes on by itself. Submit it twice to have two drivers share the work. The storage root must be
# seen by all nodes: a shared folder, or s3://...
#SBATCH --job-name=mrsweep
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
#SBATCH --gpus-per-node=4
#SBATCH --time=24:00:00
#SBATCH --signal=B:TERM@120
#SBATCH --requeue
#SBATCH --open-mode=append
set -euo pipefail

file=${1:?the sweep file}
storage=${2:?the storage root, seen by all nodes}
venv=${VENV:-$PWD/.venv}
# One secret for the nodes of this job: who has it not can start nothing here.
RAY_AUTH_TOKEN=$(od -An -N32 -tx1 /dev/urandom | tr -d ' \n')
export RAY_AUTH_TOKEN RAY_AUTH_MODE=token RAY_USAGE_STATS_ENABLED=0
export RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO=1 OMP_NUM_THREADS=1

mapfile -t nodes < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
head=${nodes[0]}
address=$(srun --nodes=1 --ntasks=1 --nodelist="$head" hostname --ip-address | awk '{print $1}')

# A port that is free on the head now; another job of this machine has its own.
port=${RAY_PORT:-$(srun --nodes=1 --ntasks=1 --nodelist="$head" "$venv/bin/python" -c \
  'import socket; s = socket.socket(); s.bind(("", 0)); print(s.getsockname()[1])')}

srun --nodes=1 --ntasks=1 --nodelist="$head" --export=ALL \
  "$venv/bin/ray" start --head --node-ip-address="$address" --port="$port" \
  --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" \
  --include-dashboard=false --block &
ray=$!
waited=0
until timeout 20 "$venv/bin/ray" status --address "$address:$port" > /dev/null 2>&1; do
  kill -0 "$ray" 2> /dev/null || { echo "the head of the Ray cluster ended" >&2; exit 1; }
  ((++waited < 120)) || { echo "the head of the Ray cluster does not answer" >&2; exit 1; }
  sleep 1
done
if ((${#nodes[@]} > 1)); then
  others=$(IFS=,; echo "${nodes[*]:1}")
  srun --nodes=$((${#nodes[@]} - 1)) --ntasks=$((${#nodes[@]} - 1)) --nodelist="$others" \
    --export=ALL "$venv/bin/ray" start --address="$address:$port" \
    --num-cpus="$SLURM_CPUS_PER_TASK" --num-gpus="${SLURM_GPUS_ON_NODE:-0}" --block &
fi

# Nodes that join later are used as they come. Slurm's TERM, two minutes before the time is over,
# reaches this shell: hand it on, and queue the job again if the sweep is not done. What runs goes
# on from its last checkpoint. A preemption queues it again by itself, and then this changes nothing.
"$venv/bin/mrsweep" run "$file" --storage "$storage" --address "$address:$port" &
driver=$!
ended=
trap 'ended=yes; kill -TERM "$driver"' TERM
code=0
wait "$driver" || code=$?
trap - TERM
if [[ -n $ended ]]; then
  wait "$driver" || code=$?
  scontrol requeue "$SLURM_JOB_ID" || true
fi
exit "$code"
