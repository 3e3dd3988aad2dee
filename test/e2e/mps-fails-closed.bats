load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

# By itself, and by NVML's numbers: 0 lets everybody in, 3 one process.
mode() { sim show "$M" -o json | jq -r '.gpus[0].compute_mode'; }
is_mode() { [[ $(mode) == "$1" ]]; }
control() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(dirname "$(ls "$M"/tranche/run/mps/*/control)")" nvidia-cuda-mps-control; }
clients() { control "get_client_list $(control get_server_list)" | wc -l; }
as_root() { (( EUID == 0 )) || skip "compute modes are root's to set"; }

one_tenant() {
  spec one <<SPEC
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
SPEC
}
# The second one is sent to a server that is not there.
one_and_lost() {
  spec lost <<SPEC
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, command: ["$TENANTS/cuda_work", async, "1000", "600"]}
  - {name: lost, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, command: [env, "CUDA_MPS_PIPE_DIRECTORY=$DIR/none", "$TENANTS/cuda_work", async, "1000", "600"]}
SPEC
}

@test "a program that does not find the MPS server is refused by the driver" {
  as_root
  machine H100-SXM5-80GB
  start_daemon
  one_tenant
  run tranche plan -f "$DIR/one.yaml"
  [[ $output == *"gpu0 compute mode exclusive_process"* && $output != *"fails open"* ]]
  is_mode 0
  apply -f "$DIR/one.yaml"
  is_mode 3
  eventually eval '[[ $(clients) == 1 ]]'
  [[ $(tranche status -o json | jq -r '.mps[0].fails_open') == "" ]]
  run tranche status
  [[ $output == *"gpu0 is shared by 1 through MPS, which fails closed"* ]]
  [[ $output == *"each process: at most 10 GiB and 30 % of the SMs by the server"* ]]
  # Neither a program from outside, nor a slice for one, nor a tenant that goes elsewhere.
  fails_with 1 on_machine "$TENANTS/cuda_work" async 1000 1
  run tranche run --memory 1GiB -- true
  [[ $status == 125 && $output == *"workload one is deployed on it"* ]]
  one_and_lost
  run apply -f "$DIR/lost.yaml"
  is_mode 3
  eventually eval '[[ $(clients) == 1 ]]'
  [[ $(sim show "$M" -o json | jq '[.gpus[0].processes[]] | length') == 2 ]]

  # Once MPS goes everybody may come.
  tranche down --yes
  is_mode 0
  on_machine "$TENANTS/cuda_work" async 1000 1
}

@test "another mechanism finds the GPU as it was" {
  as_root
  machine H100-SXM5-80GB
  start_daemon
  one_tenant
  apply -f "$DIR/one.yaml"
  is_mode 3
  for mechanism in fraction mig mps; do
    sed "s/mechanism: mps/mechanism: $mechanism/" "$DIR/one.yaml" >"$DIR/other.yaml"
    apply -f "$DIR/other.yaml"
    eventually is_state one healthy
    if [[ $mechanism == mps ]]; then is_mode 3; else is_mode 0; fi
  done
}

@test "a driver that is loaded anew is told again" {
  as_root
  machine H100-SXM5-80GB
  start_daemon
  one_tenant
  apply -f "$DIR/one.yaml"
  eventually eval '[[ $(clients) == 1 ]]'
  on_machine nvidia-smi -c 0
  eventually is_mode 3
  # A reboot ends all that is on the GPU, the server too.
  sim reboot "$M"
  eventually eval '[[ $(mode) == 3 && $(clients) == 1 ]]' || { tranche status; mode; false; }
  run tranche status
  echo "$output"
  [[ $output == *"its compute mode was default and is exclusive_process again"* ]]
}

@test "a daemon that is killed and a new one know what was set" {
  as_root
  machine H100-SXM5-80GB
  start_daemon
  one_tenant
  apply -f "$DIR/one.yaml"
  stop_daemon -KILL
  start_daemon
  run apply -f "$DIR/one.yaml"
  [[ $output == *"othing"* ]]
  is_mode 3
  tranche down --yes
  is_mode 0
}

@test "where the driver does not let the mode be set MPS runs and fails open, and says so" {
  machine H100-SXM5-80GB
  sim fault "$M" --missing-symbol nvmlDeviceSetComputeMode
  start_daemon
  one_and_lost
  apply -f "$DIR/lost.yaml"
  is_mode 0
  eventually eval '[[ $(tranche status -o json | jq "[.replicas[] | select(.state == \"healthy\")] | length") == 2 ]]'
  [[ $(tranche status -o json | jq -r '.mps[0].fails_open') == "the compute mode of its GPU is default" ]]
  run tranche status
  echo "$output"
  [[ $output == *"through MPS, which fails open"* ]]
  if (( EUID == 0 )); then eventually eval '[[ $(tranche status) == *"MPS on gpu0 fails open: its compute mode is default, and"* ]]'; fi
}

@test "nobody who is there is locked out" {
  as_root
  machine H100-SXM5-80GB
  start_daemon
  one_tenant
  # It came after the plan was made.
  tranche plan -f "$DIR/one.yaml" --out "$DIR/plan.json"
  local pid
  pid=$(sim attach "$M" --gpu 0 --memory 1GiB)
  fails_with 6 tranche apply "$DIR/plan.json" "${ROOT[@]}"
  [[ $output == *"$pid"* ]]
  is_mode 0
  run tranche plan -f "$DIR/one.yaml"
  [[ $output == *"MPS on gpu0 fails open"*"pid $pid"*"would be locked out"* ]]
  apply -f "$DIR/one.yaml"
  is_mode 0
  eventually eval '[[ $(clients) == 1 ]]'
  kill "$pid"
}
