#!/bin/bash
#SBATCH --job-name=segpipe
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=8
#SBATCH --time=12:00:00
#
# Starts Ray on the hosts that Slurm gives, runs a command on the first of them, and ends Ray:
#   sbatch examples/slurm.sh segpipe sweep experiments/sweep.yaml
#   sbatch examples/slurm.sh dvc exp run -S train.hosts=2
# The first host needs the checkout, and all need the same Python environment. With GPUs, add --gpus-per-node.
set -euo pipefail

on=(srun --nodes=1 --ntasks=1 --overlap)   # --nodelist=HOST COMMAND...: run a command on one host

addresses=()
mapfile -t hosts < <(scontrol show hostnames "$SLURM_JOB_NODELIST")
for host in "${hosts[@]}"; do
  addresses+=("$("${on[@]}" --nodelist="$host" hostname --ip-address | awk '{print $1}')")
done
export RAY_ADDRESS="${addresses[0]}:$((20000 + SLURM_JOB_ID % 20000))"   # another port for each job
export RAY_USAGE_STATS_ENABLED=0

ray_on() {   # NUMBER ARGUMENTS...: start Ray on a host; it runs until this script ends
  "${on[@]}" --nodelist="${hosts[$1]}" ray start --block --node-ip-address="${addresses[$1]}" \
    --num-cpus="${SLURM_CPUS_PER_TASK:-1}" ${SLURM_GPUS_ON_NODE:+--num-gpus="$SLURM_GPUS_ON_NODE"} "${@:2}" &
}

wait_for() {   # NUMBER: wait until so many hosts have joined, two minutes at most
  local found=0
  for _ in {1..60}; do
    found=$(python -c 'import ray; ray.init(log_to_driver=False); print(len(ray.nodes()))' 2>/dev/null || echo 0)
    [ "$found" -lt "$1" ] || return 0
    sleep 2
  done
  echo "error: $found of ${#hosts[@]} hosts have joined Ray at $RAY_ADDRESS; see above what ray start says" >&2
  exit 1
}

trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
ray_on 0 --head --port="${RAY_ADDRESS##*:}" --include-dashboard=false
wait_for 1   # a host that asks before the first one is ready gives up
for number in "${!hosts[@]}"; do
  [ "$number" = 0 ] || ray_on "$number" --address="$RAY_ADDRESS"
done
wait_for "${#hosts[@]}"
"$@"
