load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

two_tenants() {
  spec two <<SPEC
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
  - {name: two, kind: batch, mechanism: mps, memory: 20GiB, compute: 60%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
SPEC
}
daemons() { pgrep -f "nvidia-cuda-mps-control -d" | while read -r pid; do
  tr '\0' '\n' <"/proc/$pid/environ" 2>/dev/null | grep -qx "TRANCHE_SIM_DIR=$M" && echo "$pid"; done; true; }
control() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(dirname "$(ls "$M"/tranche/run/mps/*/control)")" nvidia-cuda-mps-control; }
clients() { control "get_client_list $(control get_server_list)" | wc -l; }

@test "workloads run at once through an MPS daemon that Tranche starts, and ends" {
  machine H100-SXM5-80GB
  start_daemon
  two_tenants
  tranche plan -f "$DIR/two.yaml"
  tranche plan -f "$DIR/two.yaml" --explain one
  run tranche plan -f "$DIR/two.yaml" -o json
  [[ $(jq -r '[.placements[].mechanism] | unique | join(" ")' <<<"$output") == mps ]]
  [[ $(daemons) == "" ]]
  tranche apply -f "$DIR/two.yaml" --yes "${ROOT[@]}"
  [[ $(daemons | wc -l) == 1 ]]
  eventually eval '[[ $(clients) == 2 ]]'
  # Ours is ours, and nobody's hindrance.
  [[ $(tranche inventory -o json | jq -r '.gpus[0].mps_daemons[0].ours') == true ]]
  run tranche apply -f "$DIR/two.yaml" --yes "${ROOT[@]}"
  [[ $output == *"othing"* ]]
  tranche status
  tranche down --yes
  [[ $(daemons) == "" ]]
}

@test "the server lets no process have more than the largest slice, whatever its environment says" {
  machine H100-SXM5-80GB
  start_daemon
  two_tenants
  limits() {
    local server
    server=$(control get_server_list)
    echo "$(control "get_active_thread_percentage $server") $(control "get_device_pinned_mem_limit $server 0")"
    echo "$(control get_default_active_thread_percentage) $(control "get_default_device_pinned_mem_limit 0")"
  }
  # Begins before the larger one comes.
  sed '/name: two/d' "$DIR/two.yaml" >"$DIR/one.yaml"
  tranche apply -f "$DIR/one.yaml" --yes "${ROOT[@]}"
  eventually eval '[[ $(clients) == 1 && $(limits) == "30.0 10G"* ]]' || { limits; false; }
  tranche apply -f "$DIR/two.yaml" --yes "${ROOT[@]}"
  eventually eval '[[ $(clients) == 2 && $(limits) == "60.0 20G"*"60.0 20480M" ]]' || { limits; false; }
  [[ $(tranche status -o json | jq -c '.mps[0].held') == *'each process: at most 20 GiB and 60 % of the SMs by the server'* ]]
  # A program of the smaller slice that forgets its own limit, and goes past its limiter.
  tranche down --yes
  spec rogue <<SPEC
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, on_unenforced: warn, command: [env, -u, CUDA_MPS_PINNED_DEVICE_MEM_LIMIT, -u, LD_PRELOAD, "LD_LIBRARY_PATH=$TRANCHE_BIN/../lib/sim", "$TENANTS/cuda_fill", dlopen, linear, "1024", "40"]}
SPEC
  tranche apply -f "$DIR/rogue.yaml" --yes "${ROOT[@]}" || true
  eventually eval 'tranche logs one | grep -q " 2 "' || { tranche logs one; false; }
  # So many of 1 GiB went in, the context beside them.
  [[ $(tranche logs one | awk '$2 == 2 { print $1 }' | tail -n 1) == 9 ]]
}

@test "a daemon that dies is started again, with what it served" {
  machine H100-SXM5-80GB
  start_daemon
  two_tenants
  tranche apply -f "$DIR/two.yaml" --yes "${ROOT[@]}"
  eventually eval '[[ $(clients) == 2 ]]'
  local before
  before=$(daemons)
  kill -9 "$before"
  eventually eval '[[ -n $(daemons) && $(daemons) != "'"$before"'" ]]'
  eventually eval '[[ $(clients) == 2 ]]'
  tranche status
  tranche down --yes
  [[ $(daemons) == "" ]]
}

@test "an MPS daemon that is not ours is left alone, and said" {
  machine H100-SXM5-80GB
  CUDA_MPS_PIPE_DIRECTORY=$DIR/pipe CUDA_MPS_LOG_DIRECTORY=$DIR/log sim exec "$M" -- nvidia-cuda-mps-control -d
  local foreign
  foreign=$(daemons)
  start_daemon
  two_tenants
  fails_with 3 tranche plan -f "$DIR/two.yaml"
  [[ $output == *"an MPS daemon that is not Tranche's serves it (pid $foreign, $DIR/pipe)"* ]]
  [[ $(daemons) == "$foreign" ]]
  kill "$foreign"
  # What it was planned without makes a plan stale.
  tranche plan -f "$DIR/two.yaml" --out "$DIR/plan.json"
  CUDA_MPS_PIPE_DIRECTORY=$DIR/pipe CUDA_MPS_LOG_DIRECTORY=$DIR/log sim exec "$M" -- nvidia-cuda-mps-control -d
  fails_with 4 tranche apply "$DIR/plan.json" "${ROOT[@]}"
  [[ $output == *"an MPS daemon of $DIR/pipe is new"* ]]
  kill "$(daemons)"
}

# Each prints what it got of the GPU's time; the sum is the slice's. What the machine preloads, so
# that time is its own, no workload inherits.
slice_of_two() {
  cat <<SPEC
  - {name: $1, kind: batch, mechanism: mps, memory: $2, compute: $3, command: [bash, -c, 'for i in 1 2; do "\$0" async 500 8 & done; wait', "$TENANTS/cuda_work"], env: {LD_PRELOAD: "$(on_machine printenv LD_PRELOAD)"}}
SPEC
}
share_of() { tranche logs "$1" | awk '/^[0-9.]+$/ { sum += $1 } END { print sum }'; }
near() { awk -v share="$1" -v wanted="$2" 'BEGIN { exit !(share >= wanted - 0.03 && share <= wanted + 0.03) }'; }
has_ended() { [[ $(tranche status -o json | jq '[.replicas[] | select(.state == "ended")] | length') == "$1" ]]; }

@test "three unequal slices of two processes each hold their time as slices" {
  virtual_machine H100-SXM5-80GB
  start_daemon
  sim clock "$M" --wait-for 6
  spec three <<SPEC
version: 1
workloads:
$(slice_of_two half 30GiB 50%)
$(slice_of_two third 20GiB 30%)
$(slice_of_two fifth 10GiB 20%)
SPEC
  tranche apply -f "$DIR/three.yaml" --yes "${ROOT[@]}"
  eventually has_ended 3
  echo "$(share_of half) $(share_of third) $(share_of fifth)"
  near "$(share_of half)" 0.5
  near "$(share_of third)" 0.3
  near "$(share_of fifth)" 0.2
  tranche down --yes
}

@test "three unequal slices of two processes each hold their memory as slices" {
  machine H100-SXM5-80GB
  start_daemon
  spec three <<SPEC
version: 1
workloads:
  - {name: half, kind: batch, mechanism: mps, memory: 30GiB, command: [bash, -c, 'for i in 1 2; do "\$0" dlopen linear 64 2000 hold < <(sleep 600) & done; wait', "$TENANTS/cuda_fill"]}
  - {name: third, kind: batch, mechanism: mps, memory: 20GiB, command: [bash, -c, 'for i in 1 2; do "\$0" dlopen linear 64 2000 hold < <(sleep 600) & done; wait', "$TENANTS/cuda_fill"]}
  - {name: fifth, kind: batch, mechanism: mps, memory: 10GiB, command: [bash, -c, 'for i in 1 2; do "\$0" dlopen linear 64 2000 hold < <(sleep 600) & done; wait', "$TENANTS/cuda_fill"]}
SPEC
  tranche apply -f "$DIR/three.yaml" --yes "${ROOT[@]}"
  used() { tranche status -o json | jq -c '[.replicas[] | [.workload, (.memory_used_bytes / 1073741824 | ceil)]] | sort'; }
  eventually eval '[[ $(clients) == 6 && $(used) == '"'"'[["fifth",10],["half",30],["third",20]]'"'"' ]]' || { used; false; }
  tranche down --yes
}

@test "a server that is killed is told as the cause, and all three come back" {
  machine H100-SXM5-80GB
  start_daemon
  spec three <<SPEC
version: 1
workloads:
  - {name: half, kind: batch, mechanism: mps, memory: 30GiB, compute: 50%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
  - {name: third, kind: batch, mechanism: mps, memory: 20GiB, compute: 30%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
  - {name: fifth, kind: batch, mechanism: mps, memory: 10GiB, compute: 20%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
SPEC
  tranche apply -f "$DIR/three.yaml" --yes "${ROOT[@]}"
  eventually eval '[[ $(clients) == 3 ]]'
  # Seen once before.
  sleep 2
  local server
  server=$(control get_server_list)
  kill -9 "$server"
  restarted() { [[ $(tranche status -o json | jq '[.replicas[] | select(.restarts > 0 and .state == "healthy")] | length') == 3 ]]; }
  eventually restarted
  eventually eval '[[ $(clients) == 3 ]]'
  [[ $(control get_server_list) != "$server" ]]
  run tranche status
  echo "$output"
  [[ $output == *"half/0: the MPS server (pid $server) died, and with it what its clients had on the GPU"* ]]
  tranche down --yes
}

@test "a fault of one client ends the work of all, which is told, and all come back" {
  machine H100-SXM5-80GB
  start_daemon
  two_tenants
  tranche apply -f "$DIR/two.yaml" --yes "${ROOT[@]}"
  eventually eval '[[ $(clients) == 2 ]]'
  # Seen once before.
  sleep 2
  sim fault "$M" --gpu 0 --xid 31 --pid "$(pid_of one)"
  restarted() { [[ $(tranche status -o json | jq '[.replicas[] | select(.restarts > 0 and .state == "healthy")] | length') == 2 ]]; }
  eventually restarted
  eventually eval '[[ $(clients) == 2 ]]'
  run tranche status
  echo "$output"
  [[ $output == *"Lately"*"XID 31"* ]]
  tranche down --yes
}

@test "a process of a slice that is no client of the server is named" {
  machine H100-SXM5-80GB
  # Without the compute mode, under which the driver would refuse it.
  sim fault "$M" --missing-symbol nvmlDeviceSetComputeMode
  start_daemon
  spec lost <<SPEC
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
  - {name: lost, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, command: [env, "CUDA_MPS_PIPE_DIRECTORY=$DIR/none", "$TENANTS/cuda_work", async, "1000", "600"]}
SPEC
  tranche apply -f "$DIR/lost.yaml" --yes "${ROOT[@]}"
  detail_of() { tranche status -o json | jq -r --arg w "$1" '.replicas[] | select(.workload == $w) | .detail'; }
  is_named() { [[ $(detail_of lost) == "its process $(pid_of lost) is no client of the MPS server, so that all on the GPU take turns" ]]; }
  eventually is_named || { tranche status; false; }
  [[ $(detail_of one) == "" ]]
  tranche down --yes
}

@test "clients that do not notice a fault of another are started again, and the cause is named" {
  machine H100-SXM5-80GB
  start_daemon
  spec idle <<SPEC
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, command: [bash, -c, 'exec "\$0" dlopen linear 64 10 hold < <(sleep 600)', "$TENANTS/cuda_fill"]}
  - {name: two, kind: batch, mechanism: mps, memory: 10GiB, command: [bash, -c, 'exec "\$0" dlopen linear 64 10 hold < <(sleep 600)', "$TENANTS/cuda_fill"]}
SPEC
  tranche apply -f "$DIR/idle.yaml" --yes "${ROOT[@]}"
  eventually eval '[[ $(clients) == 2 ]]'
  # Seen once before.
  sleep 2
  local one two
  one=$(pid_of one) two=$(pid_of two)
  sim fault "$M" --gpu 0 --xid 31 --pid "$one"
  restarted() { [[ $(tranche status -o json | jq '[.replicas[] | select(.restarts > 0 and .state == "healthy")] | length') == 2 ]]; }
  eventually restarted || { tranche status; control "get_server_status $(control get_server_list)"; false; }
  [[ $(pid_of one) != "$one" && $(pid_of two) != "$two" ]]
  run tranche status
  echo "$output"
  [[ $output == *"two/0: a fault of one client ended what all clients of the MPS server"* ]]
  tranche down --yes
}
