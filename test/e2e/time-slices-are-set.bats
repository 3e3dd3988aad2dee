load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

# The class as nvidia-smi itself shows it.
time_slice() { on_machine nvidia-smi compute-policy -i "${1:-0}" -l | sed -n 's/.*Timeslice *\([A-Za-z]*\).*/\1/p'; }
is_slice() { [[ $(time_slice "${2:-0}") == "$1" ]]; }

sharers() {
  spec sharers <<SPEC
version: 1
workloads:
  - {name: a, mechanism: time-slicing, isolation: none, time_slice: $1, memory: 8GiB, replicas: 2, command: [sleep, "1001"]}
SPEC
}

@test "the example is planned, applied, read back, changed while it runs, and taken down" {
  machine H100-SXM5-80GB
  start_daemon
  run tranche plan -f "$TRANCHE_SOURCE/examples/time-slicing.yaml"
  [[ $output == *"gpu0 time slice short"* ]]
  [[ $output == *"gpu0 is time-sliced among 3"* ]]
  is_slice Default
  apply -f "$TRANCHE_SOURCE/examples/time-slicing.yaml"
  is_slice Short
  run tranche plan -f "$TRANCHE_SOURCE/examples/time-slicing.yaml" --detailed-exitcode
  [[ $status == 0 ]]
  run tranche status -o json
  [[ $(jq -r '.time_sliced[0] | "\(.tenants) \(.time_slice)"' <<<"$output") == "3 short" ]]
  [[ $(jq -r '.replicas[0].guarantee.memory' <<<"$output") == cooperative ]]

  sed 's/time_slice: short/time_slice: long/' "$TRANCHE_SOURCE/examples/time-slicing.yaml" >"$DIR/long.yaml"
  run tranche plan -f "$DIR/long.yaml"
  [[ $output == *"gpu0 time slice long"* ]]
  apply -f "$DIR/long.yaml"
  is_slice Long

  tranche down --yes
  is_slice Default
}

@test "what an administrator had set is put back" {
  machine H100-SXM5-80GB
  on_machine nvidia-smi compute-policy -i 0 --set-timeslice=2
  start_daemon
  sharers short
  apply -f "$DIR/sharers.yaml"
  is_slice Short
  # Without a time slice in the spec it is none of ours any more.
  sed -i 's/time_slice: short, //' "$DIR/sharers.yaml"
  apply -f "$DIR/sharers.yaml"
  is_slice Medium
  tranche down --yes
  is_slice Medium
}

@test "after the driver was loaded anew it is set again" {
  machine H100-SXM5-80GB
  start_daemon
  sharers short
  apply -f "$DIR/sharers.yaml"
  stop_daemon
  for pid in $(sim show "$M" -o json | jq -r '.. | .pid? // empty'); do kill -9 "$pid"; done
  eventually sim reload "$M"
  is_slice Default
  start_daemon
  eventually is_slice Short
  # And while the daemon runs.
  on_machine nvidia-smi compute-policy -i 0 --set-timeslice=3
  eventually is_slice Short
}

@test "workloads of two classes share no GPU" {
  machine L40S:2
  start_daemon
  spec two <<'SPEC'
version: 1
workloads:
  - {name: a, mechanism: time-slicing, isolation: none, time_slice: short, memory: 8GiB, replicas: 2, command: [sleep, "1001"]}
  - {name: b, mechanism: time-slicing, isolation: none, time_slice: long, memory: 8GiB, replicas: 2, command: [sleep, "1001"]}
SPEC
  apply -f "$DIR/two.yaml"
  [[ $(tranche status -o json | jq -c '[.replicas[] | [.workload, .gpu_index]] | group_by(.[0]) | map(map(.[1]) | unique | length)') == "[1,1]" ]]
  [[ $(for gpu in 0 1; do time_slice "$gpu"; done | sort | tr '\n' ' ') == "Long Short " ]]
}

@test "where it cannot be set nothing is changed, and it is said" {
  machine H100-SXM5-80GB
  mkdir "$DIR/bin"
  printf '#!/bin/sh\necho "Setting the timeslice is not supported for GPU 0"\nexit 3\n' >"$DIR/bin/nvidia-smi"
  chmod +x "$DIR/bin/nvidia-smi"
  # Without a daemon, so that it is this PATH that counts.
  sharers short
  cat >"$DIR/local" <<SCRIPT
#!/bin/sh
PATH=$DIR/bin:\$PATH exec timeout 60 "$TRANCHE_BIN/tranche" "\$@"
SCRIPT
  chmod +x "$DIR/local"
  fails_with 1 on_machine "$DIR/local" apply -f "$DIR/sharers.yaml" --local --yes "${ROOT[@]}"
  [[ $output == *"not supported"* ]]
  [[ $output == *"leave \`time_slice\` out of the spec"* ]]
  is_slice Default
}

@test "memory_cap keeps a tenant to its memory" {
  machine H100-SXM5-80GB
  start_daemon
  spec capped <<SPEC
version: 1
workloads:
  - {name: greedy, kind: batch, mechanism: time-slicing, isolation: {memory: cooperative}, memory_cap: true, memory: 3GiB,
     command: [sh, -c, "$TENANTS/cuda_fill dlopen linear 64; exec sleep 1001"]}
SPEC
  apply -f "$DIR/capped.yaml"
  [[ $(tranche status -o json | jq -r '.replicas[0].guarantee.memory') == cooperative ]]
  # COUNT CODE USED TOTAL: a GPU of 3 GiB, and no chunk of 64 MiB that a context leaves no room for.
  eventually eval '[[ -n $(tranche logs greedy) ]]'
  local count code used total
  read -r count code used total <<<"$(tranche logs greedy)"
  echo "$count $code $used $total"
  [[ $count -gt 30 && $count -lt 48 && $code -eq 2 && $total -eq 3221225472 ]]
}

@test "capped tenants are held to their memory only: their time is the driver's to give" {
  machine H100-SXM5-80GB
  start_daemon
  spec two <<SPEC
version: 1
workloads:
  - {name: w, kind: batch, mechanism: time-slicing, isolation: {memory: cooperative}, memory_cap: true, memory: 8GiB, replicas: 2,
     command: ["$TENANTS/cuda_work", async, "500", "2"]}
SPEC
  apply -f "$DIR/two.yaml"
  ended() { [[ $(tranche status -o json | jq '[.replicas[] | select(.state == "ended")] | length') == 2 ]]; }
  eventually ended
  # Nothing was metered, and nothing is wrong with that.
  [[ $(tranche status -o json | jq -c '[.replicas[] | .compute_used_ns // 0] | unique') == "[0]" ]]
  [[ $(tranche status) != *"takes no turns"* ]]
}
