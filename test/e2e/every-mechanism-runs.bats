load common

# What is in examples/, one mechanism each: planned, applied, read back, changed while it runs, taken down.
example() { cp "$TRANCHE_SOURCE/examples/$1.yaml" "$DIR/$1.yaml"; }
change() { sed -i "$2" "$DIR/$1.yaml"; }
all_healthy() { [[ $(tranche status -o json | jq '[.replicas[] | select(.state == "healthy")] | length') == "$1" ]]; }
mechanisms() { tranche status -o json | jq -r '[.replicas[].slice.mechanism] | unique | join(" ")'; }

# run_example NAME REPLICAS CHANGE CHANGED KEPT: CHANGE (for sed) starts the workload CHANGED anew, and not KEPT.
run_example() {
  local name=$1 replicas=$2 before kept
  example "$name"
  before=$(layout)
  tranche plan -f "$DIR/$name.yaml"
  apply -f "$DIR/$name.yaml"
  eventually all_healthy "$replicas"
  fails_with 0 tranche plan -f "$DIR/$name.yaml" --detailed-exitcode
  local changed
  changed=$(pid_of "$4") kept=$([[ -z $5 ]] || pid_of "$5")
  change "$name" "$3"
  apply -f "$DIR/$name.yaml"
  eventually all_healthy "$replicas"
  [[ $(pid_of "$4") != "$changed" ]]
  [[ -z $5 || $(pid_of "$5") == "$kept" ]]
}
taken_down() {
  tranche down --yes
  [[ $(layout) == "$1" ]]
  [[ $(nvml | jq '[.gpus[].processes[], .gpus[].mps_daemons[]] | length') == 0 ]]
}

@test "exclusive" {
  machine H100-SXM5-80GB
  start_daemon
  local empty
  empty=$(layout)
  run_example exclusive 1 's/memory: 60GiB/memory: 70GiB/' trainer ""
  [[ $(mechanisms) == exclusive ]]
  taken_down "$empty"
}

@test "mig" {
  machine H100-SXM5-80GB
  start_daemon
  local empty
  empty=$(layout)
  run_example three-models 3 '0,/concurrency: 8/s//concurrency: 7/' mistral phi
  [[ $(mechanisms) == mig ]]
  [[ $(nvml | jq '.gpus[0].mig_instances | length') == 3 ]]
  taken_down "$empty"
}

@test "fraction" {
  machine L40S
  start_daemon
  local empty
  empty=$(layout)
  run_example fraction 2 's/memory: 20GiB/memory: 22GiB/' chat notebook
  [[ $(mechanisms) == fraction ]]
  [[ $(tranche status -o json | jq '.replicas[] | select(.workload == "chat") | .slice.memory_bytes') == $((22 << 30)) ]]
  taken_down "$empty"
}

@test "mps" {
  machine L40S
  start_daemon
  local empty
  empty=$(layout)
  sed 's/30GiB/16GiB/; s/20GiB/14GiB/' "$TRANCHE_SOURCE/examples/mps.yaml" >"$DIR/mps.yaml"
  example() { :; }
  run_example mps 3 's/memory: 12GiB/memory: 13GiB/' fifth half
  [[ $(mechanisms) == mps ]]
  taken_down "$empty"
}

@test "from mps to mig and back" {
  machine H100-SXM5-80GB
  start_daemon
  example mps
  example three-models
  apply -f "$DIR/mps.yaml"
  eventually all_healthy 3
  apply -f "$DIR/three-models.yaml"
  eventually all_healthy 3
  [[ $(mechanisms) == mig && $(nvml | jq '.gpus[0].mps_daemons | length') == 0 ]]
  apply -f "$DIR/mps.yaml"
  eventually all_healthy 3
  [[ $(mechanisms) == mps && $(nvml | jq '.gpus[0].mig_instances | length') == 0 ]]
  tranche down --yes
}

@test "mig and mps on one node" {
  machine H100-SXM5-80GB
  start_daemon
  local empty
  empty=$(layout)
  run_example mig-and-mps 3 's/memory: 9GiB/memory: 8GiB/' embed ranker
  [[ $(mechanisms) == "mig mps" ]]
  # One daemon, of the instance that the two share.
  local shared
  shared=$(tranche status -o json | jq -r '.replicas[] | select(.workload == "embed" and .replica == 0) | .device_uuid')
  [[ $shared == MIG-* ]]
  [[ $(tranche status -o json | jq -r '[.replicas[] | select(.workload == "embed") | .device_uuid] | unique | length') == 1 ]]
  [[ $(nvml | jq -r '.gpus[0].mps_daemons | length') == 1 ]]
  [[ $(nvml | jq -r '.gpus[0].mps_daemons[0].pipe_directory') == *"${shared:0:12}" ]]
  taken_down "$empty"
}

@test "tenants of one MIG instance hold their memory within it" {
  machine H100-SXM5-80GB
  start_daemon
  local tenants=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
  spec shared <<SPEC
version: 1
workloads:
  - {name: hard, kind: batch, isolation: hardware, memory: 30GiB, command: [sleep, "600"]}
  - {name: one, kind: batch, mechanism: mps, trusted: true, memory: 6GiB, compute: 8%, command: [bash, -c, '"\$0" dlopen linear 64 2000 hold < <(sleep 600)', "$tenants/cuda_fill"]}
  - {name: two, kind: batch, mechanism: mps, trusted: true, memory: 8GiB, compute: 10%, command: [bash, -c, '"\$0" dlopen linear 64 2000 hold < <(sleep 600)', "$tenants/cuda_fill"]}
SPEC
  apply -f "$DIR/shared.yaml"
  used() { tranche status -o json | jq -c '[.replicas[] | select(.workload != "hard") | [.workload, (.memory_used_bytes / 1073741824 | ceil)]] | sort'; }
  eventually eval '[[ $(used) == '"'"'[["one",6],["two",8]]'"'"' ]]' || { used; tranche status; false; }
  [[ $(tranche status -o json | jq -r '[.replicas[].slice | select(.mechanism == "mps") | .profile] | unique | length') == 1 ]]
  tranche status -o wide
  tranche down --yes
}
