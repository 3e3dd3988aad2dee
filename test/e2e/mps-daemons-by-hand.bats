load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

daemons() { tranche mps list -o json | jq -c '[.daemons[] | [.gpu_index, .ours]]'; }

@test "a daemon is started, listed and stopped by hand, and plans leave it alone" {
  machine L40S:2
  start_daemon
  run tranche mps list
  [[ $output == "No MPS daemon runs." ]]
  run tranche mps start 0
  [[ $status == 0 && $output == *"export CUDA_MPS_PIPE_DIRECTORY="* ]]
  [[ $(daemons) == "[[0,false]]" ]]
  fails_with 6 tranche mps start 0
  [[ $output == *"serves gpu0 already"* ]]
  spec mps <<'SPEC'
version: 1
workloads:
  - {name: one, mechanism: mps, memory: 4GiB, command: [sleep, "1001"]}
SPEC
  apply -f "$DIR/mps.yaml"
  [[ $(tranche status -o json | jq '.replicas[0].gpu_index') == 1 ]]
  fails_with 6 tranche mps start 1
  [[ $output == *"deployed on gpu1"* || $output == *"serves gpu1 already"* ]]
  fails_with 6 tranche mps stop 1
  [[ $output == *"serves workloads of Tranche"* ]]
  tranche down --yes
  [[ $(daemons) == "[[0,false]]" ]]
  tranche mps stop 0
  [[ $(daemons) == "[]" ]]
  fails_with 64 tranche mps stop 0
}

@test "one with clients is not stopped, and says how many" {
  machine L40S
  start_daemon
  tranche mps start 0 --pipe-directory "$DIR/pipe"
  on_machine env CUDA_MPS_PIPE_DIRECTORY="$DIR/pipe" "$TENANTS/cuda_work" async 1000 20 3>&- >/dev/null &
  eventually eval '[[ $(tranche mps list -o json | jq ".daemons[0].clients | length") == 1 ]]'
  fails_with 6 tranche mps stop 0
  [[ $output == *"1 programs use the MPS daemon"* ]]
  kill "$(tranche mps list -o json | jq '.daemons[0].clients[0]')"
  eventually tranche mps stop 0
}
