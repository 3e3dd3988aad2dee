load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

pipe() { echo "$M"/tranche/run/mps/GPU-*; }
control() { sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(pipe)" nvidia-cuda-mps-control "$@"; }
server() { echo "uid_$EUID"; }
clients() { control client list --server="$(server)" --format=csv,noheader; }
# Name, memory and percentage of each namespace.
namespaces() { control namespace list --server="$(server)" --format=csv,noheader | cut -d, -f1,4,5 | sort; }
memory_of() { namespaces | grep "^tr_$1" | cut -d, -f2; }
percentage_of() { namespaces | grep "^tr_$1" | cut -d, -f3; }
tenant() {
  echo "  - {name: $1, kind: batch, mechanism: mps, memory: $2, compute: $3, command: [bash, -c, 'for i in 1 2; do \"\$0\" async 1000 600 & done; wait -n; exit 1', \"$TENANTS/cuda_work\"]}"
}
on_new_driver() {
  machine H100-SXM5-80GB
  rm -rf "$M" && sim create "$M" --gpu H100-SXM5-80GB --driver 615
  start_daemon
}
three() {
  spec three <<SPEC
version: 1
workloads:
$(tenant half 30GiB 50%)
$(tenant third 15GiB 30%)
$(tenant fifth 10GiB 20%)
SPEC
}

@test "each slice has a namespace of its own, whose limits no program lifts" {
  on_new_driver
  three
  apply -f "$DIR/three.yaml"
  eventually eval '[[ $(clients | wc -l) == 6 ]]' || { tranche status; control server list; false; }
  namespaces
  [[ $(memory_of half) == 30* && $(percentage_of half) == 50* ]]
  [[ $(memory_of third) == 15* && $(percentage_of third) == 30* ]]
  [[ $(memory_of fifth) == 10* && $(percentage_of fifth) == 20* ]]
  # Two programs of each slice are in its namespace.
  [[ $(clients | cut -d, -f4 | sort | uniq -c | awk '{ print $1 }' | xargs) == "2 2 2" ]]
  # The environment is told nothing that it could take away.
  run grep -z CUDA_MPS "/proc/$(pid_of half)/environ"
  [[ $output == *"CUDA_MPS_PIPE_DIRECTORY="*"/$(server)/tr_half"* ]]
  [[ $output != *ACTIVE_THREAD* && $output != *MEM_LIMIT* ]]
  run tranche status
  echo "$output"
  [[ $output == *"in a namespace of its slice's own"* ]]
  # Who finds the server and no namespace gets next to nothing.
  [[ $(namespaces | grep ^default) == default,1M,1.00 ]]
  run on_machine env CUDA_MPS_PIPE_DIRECTORY="$(pipe)" "$TENANTS/cuda_work" async 1000 1
  echo "$output"
  [[ $status != 0 ]]
  run tranche mps list -o json
  [[ $(jq '.daemons[0].protocol, (.daemons[0].servers[0].namespaces | length)' <<<"$output" | xargs) == "3 4" ]]
  tranche down --yes
  [[ ! -e $(pipe)/nvidia-cuda-mps-control.pid ]]
}

@test "limits follow the slices as they come, change and go" {
  on_new_driver
  three
  apply -f "$DIR/three.yaml"
  eventually eval '[[ $(clients | wc -l) == 6 ]]'
  local before
  before=$(pid_of half)
  sed -i -e '/fifth/d' -e 's/15GiB, compute: 30%/20GiB, compute: 40%/' "$DIR/three.yaml"
  apply -f "$DIR/three.yaml"
  eventually eval '[[ $(clients | wc -l) == 4 ]]'
  [[ $(pid_of half) == "$before" ]]
  [[ $(memory_of third) == 20* && $(percentage_of third) == 40* ]]
  # That of the slice that is gone goes once its programs have.
  eventually eval '[[ -z $(memory_of fifth) ]]' || { namespaces; false; }
  # A new daemon finds everything as it was.
  stop_daemon -KILL
  start_daemon
  eventually is_state half healthy
  [[ $(pid_of half) == "$before" && $(memory_of third) == 20* ]]
  tranche down --yes
}

@test "the MPS server dies, and all come back under the same limits" {
  on_new_driver
  three
  apply -f "$DIR/three.yaml"
  eventually eval '[[ $(clients | wc -l) == 6 ]]'
  local killed
  killed=$(control server get "$(server)" pid)
  kill -KILL "$killed"
  eventually eval '[[ $(clients | wc -l) == 6 && $(control server get "$(server)" pid) != "'"$killed"'" ]]' || { tranche status; false; }
  [[ $(percentage_of half) == 50* && $(memory_of fifth) == 10* ]]
  run tranche status
  echo "$output"
  [[ $output == *"the MPS server (pid $killed) died"* ]]
}

@test "ceilings of a server without namespaces fall when the largest slice goes" {
  machine H100-SXM5-80GB
  start_daemon
  three
  apply -f "$DIR/three.yaml"
  text() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(pipe)" nvidia-cuda-mps-control; }
  percentage() { text "get_active_thread_percentage $(text get_server_list)"; }
  eventually eval '[[ $(percentage) == 50.0 ]]'
  sed -i '/half/d' "$DIR/three.yaml"
  apply -f "$DIR/three.yaml"
  eventually eval '[[ $(percentage) == 30.0 ]]'
  [[ $(text "get_device_pinned_mem_limit $(text get_server_list) 0") == 15G ]]
  run tranche status
  [[ $output == *"at most 15 GiB and 30 % of the SMs by the server"* ]]
}
