#!/usr/bin/env bash
# Processes that share a GPU on a machine with a clock of its own: as the hardware is taken to divide its time, in
# milliseconds of ours.
#   virtual_time_test.sh TRANCHE_SIM GPU_SHARER
set -euo pipefail
sim=$1 sharer=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0 number=0

# machine ARGUMENTS...: a new one, which is $m from then on.
machine() {
  number=$((number + 1))
  m=$scratch/$number
  "$sim" create "$m" --gpu H100-SXM5-80GB --clock virtual "$@" >/dev/null
}
# together "ENVIRONMENT ARGUMENTS"...: a process for each, which start at one instant; what each says in ${said[i]}.
together() {
  local i=0 line pids=()
  "$sim" clock "$m" --wait-for $# >/dev/null
  for line in "$@"; do
    # shellcheck disable=SC2086
    timeout 60 env ${line%% -- *} "$sim" exec "$m" -- "$sharer" ${line##* -- } >"$scratch/out.$i" 2>&1 &
    pids+=($!) i=$((i + 1))
  done
  for i in "${!pids[@]}"; do
    wait "${pids[$i]}" || { echo "FAILED: $1 ended with $?: $(cat "$scratch/out.$i")"; failed=1; }
    said[i]=$(cat "$scratch/out.$i")
  done
}
# is WHAT VALUE LEAST MOST
is() { [[ $2 -ge $3 && $2 -le $4 ]] || { echo "FAILED: $1: $2 is not $3 to $4"; failed=1; }; }
declare -a said

# One alone has the GPU but for what its own waiting costs: 1 ms of kernel, 3 us to launch, 4 us until the GPU sees
# it, 5 us until it goes on.
machine
together "A= -- sync 1000 132 1000"
is "alone, waiting" "${said[0]}" 980 992
machine
together "A= -- spin 1000 132 200"
is "alone, asking" "${said[0]}" 190 200
machine
together "A= -- threads 1000 132 500"
is "two threads of one process" "${said[0]}" 490 501

# Time slices of 2 ms, 75 us from one to the next.
machine
together "A= -- deep 1000 132 1000" "A= -- deep 1000 132 1000"
is "two that queue" "${said[0]}" 476 490
is "two that queue" "${said[1]}" 476 490
first="${said[*]}"
machine
together "A= -- deep 1000 132 1000" "A= -- sync 1000 132 1000"
is "one that queues beside one that waits" "${said[0]}" 635 655
is "one that waits beside one that queues" "${said[1]}" 315 330

# MPS: at the same time, as far as there are SMs.
pipe=$scratch/pipe
machine
"$sim" mps "$m" --pipe "$pipe" >/dev/null
together "CUDA_MPS_PIPE_DIRECTORY=$pipe -- deep 1000 66 500" "CUDA_MPS_PIPE_DIRECTORY=$pipe -- deep 1000 66 500"
is "half a GPU each, at once" "${said[0]}" 430 500
is "half a GPU each, at once" "${said[1]}" 430 500
machine
"$sim" mps "$m" --pipe "$pipe" >/dev/null
together "CUDA_MPS_PIPE_DIRECTORY=$pipe CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=25 -- sync 1000 132 400"
is "a quarter of the SMs" "${said[0]}" 92 101
# A static partition, whose clients share it; and one below normal priority, which gets what the other leaves.
machine
partitions=$("$sim" mps "$m" --pipe "$pipe" --sm-partition 4 12)
first=$(awk 'NR == 1 { print $1 }' <<<"$partitions") last=$(awk 'NR == 2 { print $1 }' <<<"$partitions")
together "CUDA_MPS_PIPE_DIRECTORY=$pipe CUDA_MPS_SM_PARTITION=$first -- deep 1000 132 800" \
  "CUDA_MPS_PIPE_DIRECTORY=$pipe CUDA_MPS_SM_PARTITION=$first -- deep 1000 132 800" \
  "CUDA_MPS_PIPE_DIRECTORY=$pipe CUDA_MPS_SM_PARTITION=$last -- deep 1000 132 800"
is "a partition of 32 SMs for two" "$((said[0] + said[1]))" 50 194
is "a partition of 96 SMs and the 4 that are left over for one" "${said[2]}" 520 612
machine
"$sim" mps "$m" --pipe "$pipe" >/dev/null
together "CUDA_MPS_PIPE_DIRECTORY=$pipe CUDA_MPS_CLIENT_PRIORITY=1 -- sync 1000 132 400" \
  "CUDA_MPS_PIPE_DIRECTORY=$pipe -- deep 1000 66 400"
is "below normal, half is left" "${said[0]}" 190 202
# As a namespace says of those who do not say it themselves.
machine --driver 615
export CUDA_MPS_LOG_DIRECTORY=$m/mps
(
  export CUDA_MPS_PIPE_DIRECTORY=$m/mps
  control() { "$sim" exec "$m" -- nvidia-cuda-mps-control "$@"; }
  control -d -p 3
  control server create one
  control namespace create low --server=one
  control namespace set low --server=one --client-priority=1
)
together "CUDA_MPS_PIPE_DIRECTORY=$m/mps/one/low -- sync 1000 132 400" \
  "CUDA_MPS_PIPE_DIRECTORY=$m/mps/one -- deep 1000 66 400"
is "a namespace below normal, half is left" "${said[0]}" 190 202
CUDA_MPS_PIPE_DIRECTORY=$m/mps "$sim" exec "$m" -- nvidia-cuda-mps-control -q
# Beside one that does not use it, the clients together are one of two.
machine
"$sim" mps "$m" --pipe "$pipe" >/dev/null
together "CUDA_MPS_PIPE_DIRECTORY=$pipe -- deep 1000 66 600" "CUDA_MPS_PIPE_DIRECTORY=$pipe -- deep 1000 66 600" \
  "A= -- deep 1000 132 600"
is "a client beside another program" "${said[0]}" 270 310
is "another program beside clients" "${said[2]}" 270 310

# One that is killed holds nobody up, and leaves nothing on the GPU.
machine
"$sim" clock "$m" --wait-for 2 >/dev/null
"$sim" exec "$m" -- "$sharer" deep 1000 132 60000 >/dev/null 2>&1 &
killed=$!
"$sim" exec "$m" -- "$sharer" deep 1000 132 4000 >"$scratch/left" 2>&1 &
left=$!
for _ in $(seq 500); do
  [[ $("$sim" clock "$m") == *"2 processes"* ]] && break
  sleep 0.01
done
kill -9 "$killed"
timeout 60 tail --pid="$left" -f /dev/null
wait "$killed" 2>/dev/null || true
wait "$left" || { echo "FAILED: the other one ended with $?"; failed=1; }
is "after the other was killed" "$(cat "$scratch/left")" 1950 4000
exit "$failed"
