load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

gpu_of() { tranche status -o json | jq -r --arg w "$1" '.replicas[] | select(.workload == $w) | .gpu_index'; }
drained() { tranche status -o json | jq -c '[.drained[]? | [.gpu_index, (.waiting_for | length)]]'; }

@test "what is on a drained GPU moves, and nothing new is placed there until it is taken back" {
  machine H100-SXM5-80GB:2
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  from=$(gpu_of a)
  to=$((1 - from))
  tranche drain "$from" --yes
  [[ $(gpu_of a) == "$to" && $(gpu_of b) == "$to" ]]
  [[ $(drained) == "[[$from,0]]" ]]
  [[ $(nvml | jq ".gpus[$from].mig_instances | length") == 0 ]]
  # Also for whoever comes later, and for the next daemon.
  stop_daemon
  start_daemon
  [[ $(drained) == "[[$from,0]]" ]]
  run tranche inventory
  [[ $output == *"gpu$from: drained"* ]]
  run tranche plan -f "$DIR/two.yaml"
  [[ $output == *"gpu$from is left out: it is drained"* ]]
  sed -i 's/name: b, /name: b, replicas: 8, /' "$DIR/two.yaml"
  fails_with 3 tranche plan -f "$DIR/two.yaml"
  tranche undrain "$from"
  tranche plan -f "$DIR/two.yaml"
  [[ $(drained) == "[]" ]]
}

@test "workloads that find no room elsewhere are named, and go on" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  pid=$(pid_of a)
  fails_with 3 tranche drain gpu0 --yes --no-wait
  [[ $output == *"a/0, b/0"*"no room elsewhere"* ]]
  [[ $(drained) == "[[0,2]]" && $(pid_of a) == "$pid" ]]
  fails_with 6 tranche drain 0 --yes --timeout 1s
  tranche drain 0 --undo
  [[ $(drained) == "[]" ]]
  fails_with 64 tranche drain 7
}

@test "programs that tranche run started are waited for, and no new ones come" {
  machine L40S
  start_daemon
  tranche run --memory 4GiB -- sleep 1001 3>&- &
  eventually eval '[[ $(tranche status -o json | jq ".leases | length") == 1 ]]'
  tranche drain 0 3>&- >"$DIR/drained" 2>&1 &
  local drain=$!
  eventually grep -q "Waiting: on gpu0 are lease run-1" "$DIR/drained"
  fails_with 125 tranche run --memory 4GiB -- true
  [[ $output == *"is drained"* ]]
  kill "$(tranche status -o json | jq '.leases[0].pid')"
  wait "$drain"
  grep -q "gpu0 is drained and free" "$DIR/drained"
}
