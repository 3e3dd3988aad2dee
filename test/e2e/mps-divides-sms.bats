load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

control() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(dirname "$(ls "$M"/tranche/run/mps/*/control)")" nvidia-cuda-mps-control; }
clients() { tranche mps list -o json | jq '[.daemons[].clients[]] | length'; }
protocol() { tranche mps list -o json | jq '.daemons[0].protocol'; }
# Chunks of each partition.
partitions() { control lspart | awk '$1 ~ /^GPU-/ && $2 != "-" { print $4 }' | sort -n | xargs; }
tenant() {
  echo "  - {name: $1, kind: batch, mechanism: mps, isolation: {compute: driver}, memory: 10GiB, compute: $2, command: [bash, -c, 'for i in 1 2; do \"\$0\" async 1000 600 & done; wait', \"$TENANTS/cuda_work\"]}"
}
three() {
  spec three <<SPEC
version: 1
workloads:
$(tenant half 48%)
$(tenant third 30%)
$(tenant fifth 18%)
SPEC
}

@test "three unequal slices of two processes each have SMs of their own" {
  machine H100-SXM5-80GB
  # The driver that has partitions.
  rm -rf "$M" && sim create "$M" --gpu H100-SXM5-80GB --driver 615
  start_daemon
  three
  run tranche plan -f "$DIR/three.yaml" --explain half
  echo "$output"
  [[ $output == *"a static partition of MPS in chunks of 8"* ]]
  [[ $(tranche plan -f "$DIR/three.yaml" -o json | jq -c '[.placements[].guarantee.compute] | unique') == '["driver"]' ]]
  apply -f "$DIR/three.yaml"
  eventually eval '[[ $(clients) == 6 ]]' || { tranche status; false; }
  [[ $(partitions) == "3 5 8" ]]
  run tranche status
  echo "$output"
  [[ $output == *"SMs by its static partition"* ]]
  # Both processes of a slice are in its partition, and the three differ.
  local name pid
  for name in half third fifth; do
    pid=$(pid_of "$name")
    for child in $(pgrep -P "$pid"); do tr '\0' '\n' <"/proc/$child/environ" | grep '^CUDA_MPS_SM_PARTITION='; done | sort | uniq -c
  done | tee "$DIR/used"
  [[ $(wc -l <"$DIR/used") == 3 && $(awk '{ print $1 }' "$DIR/used" | sort -u) == 2 ]]

  # A process that dies is started again in a partition of the same size; the others keep theirs.
  local before
  before=$(pid_of third)
  tranche restart third
  eventually eval '[[ $(pid_of third) != "'"$before"'" && $(clients) == 6 ]]'
  [[ $(partitions) == "3 5 8" ]]
  # A new daemon takes nobody's partition away.
  stop_daemon -KILL
  start_daemon
  before=$(pid_of fifth)
  tranche restart fifth
  eventually eval '[[ $(pid_of fifth) != "'"$before"'" && $(clients) == 6 ]]'
  [[ $(partitions) == "3 5 8" ]]
  tranche down --yes
}

@test "what does not fit in whole chunks, or has none, is refused with the reason" {
  machine H100-SXM5-80GB
  rm -rf "$M" && sim create "$M" --gpu H100-SXM5-80GB --driver 615
  start_daemon
  spec much <<SPEC
version: 1
workloads:
$(tenant half 50%)
$(tenant third 30%)
$(tenant fifth 20%)
SPEC
  # 9, 5 and 4 chunks, of which there are 16.
  fails_with 3 tranche plan -f "$DIR/much.yaml"
  stop_daemon
  # Without MIG, in an instance of which it could be.
  rm -rf "$M" && sim create "$M" --gpu L40S --driver 615
  start_daemon
  three
  echo "  - {name: plain, mechanism: mps, memory: 1GiB, command: [sleep, '1001']}" >>"$DIR/three.yaml"
  fails_with 3 tranche plan -f "$DIR/three.yaml"
  [[ $output == *"gives to all its clients or to none"* ]]
}

@test "a driver without partitions says so" {
  machine H100-SXM5-80GB
  start_daemon
  three
  fails_with 3 tranche plan -f "$DIR/three.yaml"
  [[ $output == *"has no static partitions (they come with CUDA 13.1"* ]]
}

@test "the daemon changes its kind with the plan" {
  machine H100-SXM5-80GB
  rm -rf "$M" && sim create "$M" --gpu H100-SXM5-80GB --driver 615
  start_daemon
  three
  sed 's/isolation: {compute: driver}, //' "$DIR/three.yaml" >"$DIR/plain.yaml"
  apply -f "$DIR/plain.yaml"
  eventually eval '[[ $(clients) == 6 ]]'
  [[ $(protocol) == 3 ]]
  apply -f "$DIR/three.yaml"
  eventually eval '[[ $(clients) == 6 && $(partitions) == "3 5 8" ]]'
  [[ $(protocol) == 2 ]]
  apply -f "$DIR/plain.yaml"
  eventually eval '[[ $(clients) == 6 ]]'
  [[ $(protocol) == 3 ]]
  tranche down --yes
}
