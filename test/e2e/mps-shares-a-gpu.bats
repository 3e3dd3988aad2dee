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
