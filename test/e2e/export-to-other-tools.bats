load common

# Skips when a tool is not installed: what is exported is checked by the tools that read it.
needs() { command -v "$1" >/dev/null || skip "$1 is not installed (Debian package $2)"; }

a_spec() {
  spec export <<'SPEC'
version: 1
workloads:
  - {name: phi, isolation: hardware, mechanism: mig, memory: 18GiB, image: "vllm/vllm-openai:latest",
     args: ["--model", "microsoft/phi-4", "--port", "${PORT}"], route: /phi, replicas: 2}
  - {name: web, isolation: hardware, mechanism: mig, memory: 9GiB, route: /web, port: 9100,
     command: [python3, -m, http.server, "${PORT}"], env: {GREETING: "it's \"100%\" $HOME"}}
  - {name: copies, isolation: hardware, mechanism: mig, memory: 9GiB, image: "nvcr.io/nvidia/tritonserver:25.01-py3", port: 9200}
  - {name: vm, isolation: hardware, mechanism: exclusive, memory: 40GiB, gpu: L40S, command: [sleep, "1"]}
SPEC
}

exported() { tranche export "$1" -f "$DIR/export.yaml" --out "$DIR/out" -q; }

@test "the shell script is one that shellcheck accepts, with the driver's own profile ids" {
  machine H100-SXM5-80GB L40S
  a_spec
  exported shell
  id=$(tranche inventory -o json | jq '.gpus[0].mig_profiles[] | select(.name == "1g.20gb") | .id')
  grep -q "make_slice GPU-[0-9a-f-]* $id " "$DIR/out/gpus.sh"
  [[ -x $DIR/out/gpus.sh ]]
  bash -n "$DIR/out/gpus.sh"
  needs shellcheck shellcheck
  shellcheck "$DIR/out/gpus.sh"
}

@test "the routes are a configuration that nginx accepts" {
  machine H100-SXM5-80GB L40S
  a_spec
  exported nginx
  PATH=$PATH:/usr/sbin
  needs nginx nginx-light
  nginx -t -q -c "$DIR/out/nginx.conf" -g "pid $DIR/nginx.pid; error_log stderr;"
}

@test "systemd accepts the units" {
  machine H100-SXM5-80GB L40S
  a_spec
  exported systemd
  bash -n "$DIR/out/slices.sh"
  needs systemd-analyze systemd
  run systemd-analyze verify --man=no "$DIR"/out/*.service
  # It also looks at units of the machine it runs on; only what it says of ours counts.
  ! grep -F "$DIR/out" <<<"$output"
  if command -v shellcheck >/dev/null; then shellcheck "$DIR/out/slices.sh"; fi
}

@test "MPS: a server for each GPU, its limits, and shares of vLLM that fit together" {
  machine L40S
  spec export <<'SPEC'
version: 1
workloads:
  - {name: a, mechanism: mps, memory: 22GiB, compute: 50%, image: "vllm/vllm-openai:latest", args: ["--model", "x/a", "--gpu-memory-utilization", "0.5"]}
  - {name: b, mechanism: mps, memory: 22GiB, compute: 50%, image: "vllm/vllm-openai:latest", args: ["--model", "x/b", "--gpu-memory-utilization", "0.5"]}
SPEC
  for format in shell systemd kubernetes; do exported "$format"; done
  grep -q "^mps -d$" "$DIR/out/gpus.sh"
  [[ $(grep -o -- "--gpu-memory-utilization 0.44" "$DIR/out/gpus.sh" | wc -l) -eq 2 ]]
  grep -q "CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=50" "$DIR/out/gpus.sh"
  grep -q "replicas: 2" "$DIR/out/device-plugin.yaml"
  needs systemd-analyze systemd
  run systemd-analyze verify --man=no "$DIR"/out/*.service
  ! grep -F "$DIR/out" <<<"$output"
  needs shellcheck shellcheck
  shellcheck "$DIR/out/gpus.sh"
}

@test "MPS within MIG: the commands make the instance, its server, and clients of it" {
  (( EUID == 0 )) || skip "only root makes instances"
  machine H100-SXM5-80GB
  local tenants=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
  spec export <<SPEC
version: 1
workloads:
  - {name: bank, isolation: hardware, memory: 39GiB, command: ["$tenants/cuda_work", async, "1000", "20"]}
  - {name: note, mechanism: mps, profile: 3g.40gb, memory: 9GiB, compute: 20%, replicas: 2, command: ["$tenants/cuda_work", async, "1000", "20"]}
SPEC
  exported shell
  grep -q 'Within MIG nothing keeps a program out' "$DIR/out/gpus.sh"
  ! grep -q EXCLUSIVE_PROCESS "$DIR/out/gpus.sh"
  # A fifth of the GPU's SMs is more of its instance's.
  grep -q 'CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=4[0-9]' "$DIR/out/gpus.sh"
  if command -v shellcheck >/dev/null; then shellcheck "$DIR/out/gpus.sh"; fi
  # Folders of this test's own.
  sed -i "s|/run/nvidia-mps|$DIR/mps|g" "$DIR/out/gpus.sh"
  on_machine bash "$DIR/out/gpus.sh" 3>&- >"$DIR/ran" 2>&1 &
  control() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(dirname "$(ls "$DIR"/mps/*/pipe/control)")" nvidia-cuda-mps-control; }
  eventually eval '[[ $(control "get_client_list $(control get_server_list)" | wc -l) == 2 ]]' || { cat "$DIR/ran"; false; }
  [[ $(nvml | jq '[.gpus[0].mig_instances[]] | length') == 2 ]]
  [[ $(control "get_default_device_pinned_mem_limit 0") == 9216M ]]
}

@test "MPS within MIG: units and containers say the instance, its server and its clients" {
  machine H100-SXM5-80GB
  spec export <<'SPEC'
version: 1
workloads:
  - {name: bank, isolation: hardware, memory: 39GiB, image: "example/bank:1"}
  - {name: note, mechanism: mps, profile: 3g.40gb, memory: 9GiB, compute: 20%, replicas: 2, image: "vllm/vllm-openai:latest", args: ["--model", "x/a"]}
SPEC
  for format in systemd compose vllm triton cdi; do
    tranche export "$format" -f "$DIR/export.yaml" --out "$DIR/$format" -q || [[ $format == triton || $format == cdi ]]
  done
  local server
  server=$(basename "$DIR"/systemd/tranche-mps-gpu0-at-*.service)
  grep -q '^BindsTo='"$server"'$' "$DIR/systemd/tranche-note-1.service"
  bash -n "$DIR/systemd/slices.sh"
  # An instance for both of them, said once, and the other's.
  [[ $(grep -c 'echo "[A-Z0-9_]*=\$' "$DIR/systemd/slices.sh") == 2 ]]
  [[ $(grep -c 'device_ids: \["${GPU0_AT_' "$DIR/compose/compose.yaml") == 2 ]]
  [[ $(grep -c '/run/nvidia-mps/gpu0-at-[0-9]/pipe:/run' "$DIR/compose/compose.yaml") == 2 ]]
  bash -n "$DIR/vllm/vllm.sh"
  [[ $(grep -c 'CUDA_VISIBLE_DEVICES="$GPU0_AT_' "$DIR/vllm/vllm.sh") == 2 ]]
  fails_with 1 tranche export kubernetes -f "$DIR/export.yaml"
  [[ $output == *"note/0 shares a 3g.40gb of gpu0 by MPS, and NVIDIA's device plugin stops with an error"* ]]
  if command -v shellcheck >/dev/null; then shellcheck "$DIR/systemd/slices.sh" "$DIR/vllm/vllm.sh"; fi
  if (( EUID == 0 )); then
    # What the first unit runs makes both, and says their names to the others.
    sed "s|/etc/tranche-export|$DIR|g" "$DIR/systemd/slices.sh" | on_machine bash
    [[ $(grep -cE '^(GPU0_AT_[0-9]|BANK_0)=MIG-[0-9a-f-]+$' "$DIR/slices.env") == 2 ]]
  fi
  needs systemd-analyze systemd
  run systemd-analyze verify --man=no "$DIR"/systemd/*.service
  ! grep -F "$DIR/systemd" <<<"$output"
}

control() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$DIR/mps/gpu0/pipe" nvidia-cuda-mps-control; }
clients() { control "get_client_list $(control get_server_list)"; }
# Chunks of each partition.
partitions() { control lspart | awk '$1 ~ /^GPU-/ && $2 != "-" { print $4 }' | sort -n | xargs; }
compute_mode() { sim show "$M" -o json | jq -r '.gpus[0].compute_mode'; }
# The scripts, with folders of this test's own.
scripts() {
  exported shell
  exported systemd
  local script
  for script in "$DIR"/out/*.sh; do
    bash -n "$script"
    if command -v shellcheck >/dev/null; then shellcheck "$script"; fi
  done
  if command -v systemd-analyze >/dev/null; then
    run systemd-analyze verify --man=no "$DIR"/out/*.service
    ! grep -F "$DIR/out" <<<"$output"
  fi
  sed -i "s|/run/nvidia-mps|$DIR/mps|g" "$DIR/out/gpus.sh"
  sed -i "s|/run/tranche-export|$DIR/run|g" "$DIR/out/mps.sh"
}

@test "static partitions: the commands divide the SMs, and each program is in its own" {
  (( EUID == 0 )) || skip "compute modes are root's to set"
  sim create "$M" --gpu H100-SXM5-80GB --driver 615
  local tenants=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
  spec export <<SPEC
version: 1
workloads:
  - {name: half, kind: batch, mechanism: mps, isolation: {compute: driver}, memory: 10GiB, compute: 48%, command: ["$tenants/cuda_work", async, "1000", "30"]}
  - {name: fifth, kind: batch, mechanism: mps, isolation: {compute: driver}, memory: 10GiB, compute: 18%, command: ["$tenants/cuda_work", async, "1000", "30"]}
SPEC
  scripts
  on_machine bash "$DIR/out/gpus.sh" 3>&- >"$DIR/ran" 2>&1 &
  eventually eval '[[ $(clients | wc -l) == 2 ]]' || { cat "$DIR/ran"; false; }
  # 64 and 24 of the SMs.
  [[ $(partitions) == "3 8" ]]
  [[ $(compute_mode) == 3 ]]
  for pid in $(clients); do tr '\0' '\n' <"/proc/$pid/environ" | grep '^CUDA_MPS_SM_PARTITION=GPU-'; done | sort -u >"$DIR/used"
  [[ $(wc -l <"$DIR/used") == 2 ]]

  # What the units run divides in the same way.
  local uuid
  uuid=$(tranche inventory -o json | jq -r '.gpus[0].uuid')
  divide() { on_machine env CUDA_MPS_PIPE_DIRECTORY="$DIR/mps/gpu0/pipe" bash "$DIR/out/mps.sh" divide "$uuid" "$@"; }
  divide "$DIR/made/gpu0.env" A_SMS=8 B_SMS=9
  [[ $(grep -c '^[AB]_SMS=GPU-[^ ]*/[^ ]*$' "$DIR/made/gpu0.env") == 2 ]]
  [[ $(partitions) == "1 2 3 8" ]]
  # There are two chunks left.
  run divide "$DIR/made/more.env" C_SMS=24
  echo "$output"
  [[ $status -ne 0 && $output == *"no partition of 3 chunks on GPU-"* && ! -e $DIR/made/more.env ]]
}

@test "a GPU on which others compute is not taken for MPS, and --undo gives it back" {
  (( EUID == 0 )) || skip "compute modes are root's to set"
  machine L40S
  local tenants=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants} pid uuid
  spec export <<SPEC
version: 1
workloads:
  - {name: a, mechanism: mps, memory: 9GiB, compute: 50%, command: ["$tenants/cuda_work", async, "1000", "2"]}
SPEC
  scripts
  uuid=$(tranche inventory -o json | jq -r '.gpus[0].uuid')
  unit() { on_machine bash "$DIR/out/mps.sh" "$1" "$uuid"; }
  pid=$(sim attach "$M" --gpu 0 --memory 1GiB)
  fails_with 1 on_machine bash "$DIR/out/gpus.sh"
  echo "$output"
  [[ $output == *"Nothing was changed. These programs compute on $uuid, "*$'\n'"$pid, "* ]]
  [[ $(compute_mode) == 0 && ! -e $DIR/mps ]]
  fails_with 1 unit take
  [[ $output == *"Nothing was changed."* ]]
  # What was not taken is not given back: somebody may have set it for their own program.
  on_machine nvidia-smi -c EXCLUSIVE_PROCESS
  unit give_back
  [[ $(compute_mode) == 3 ]]
  on_machine nvidia-smi -c DEFAULT
  kill "$pid"
  eventually unit take
  [[ $(compute_mode) == 3 ]]
  unit give_back
  [[ $(compute_mode) == 0 ]]
  on_machine bash "$DIR/out/gpus.sh" 3>&-
  [[ $(compute_mode) == 3 ]]
  # Its own server is nobody else.
  unit take
  on_machine bash "$DIR/out/gpus.sh" --undo
  [[ $(compute_mode) == 0 ]]
  eventually eval '[[ ! -e $DIR/mps/gpu0/pipe/control ]]'
  on_machine bash "$DIR/out/gpus.sh" --undo
}

@test "MPS v3: a namespace for each replica, in TOML that comes back as it was" {
  sim create "$M" --gpu H100-SXM5-80GB --driver 615
  spec export <<'SPEC'
version: 1
workloads:
  - {name: chat, mechanism: mps, memory: 20GiB, compute: 33.3%, replicas: 2, image: "example/a:1"}
  - {name: batch-jobs, mechanism: mps, memory: 9GiB, preemptible: true, image: "example/b:1"}
SPEC
  exported mps
  "$TRANCHE_BIN/tranche" import "$DIR/out/mps.toml" --machine <(tranche inventory -o json) -q >"$DIR/back.yaml"
  tranche plan -f "$DIR/back.yaml" -o json -q |
    jq -e '[.placements[] | [.workload, .mechanism]] | sort == [["batch-jobs", "mps"], ["chat-0", "mps"], ["chat-1", "mps"]]'
  [[ $(grep -c "compute: 34%" "$DIR/back.yaml") == 2 ]]
  python3 - "$DIR/out/mps.toml" <<'PYTHON' || [[ $? -eq 77 ]]
import sys
try:
    import tomllib
except ImportError:
    sys.exit(77)
file = tomllib.load(open(sys.argv[1], "rb"))
assert file["schema_version"] == "1.0", file
server = file["servers"]["gpu0"]
assert server["allowed_devices"].startswith("GPU-"), server
names = server["namespaces"]
assert set(names) == {"default", "chat_0", "chat_1", "batch_jobs"}, names
assert names["chat_1"] == {"pinned_memory_limit": "20G", "active_thread_percentage": "34", "client_priority": "0"}, names
assert names["batch_jobs"] == {"pinned_memory_limit": "9G", "client_priority": "1"}, names
assert names["default"] == {"pinned_memory_limit": "1M", "active_thread_percentage": "1", "client_priority": "1"}, names
PYTHON
  # The control program takes it as it stands.
  control() { on_machine env CUDA_MPS_PIPE_DIRECTORY="$DIR/pipe" CUDA_MPS_LOG_DIRECTORY="$DIR/pipe/log" nvidia-cuda-mps-control "$@"; }
  ends() { control -q && eventually eval '[[ $(tranche mps list -o json | jq ".daemons | length") == 0 ]]'; }
  control -d -p 3 -a "$DIR/out/mps.toml"
  control namespace list --server=gpu0 --format=csv,noheader | tee "$DIR/has"
  [[ $(cut -d, -f1,4,5,6 "$DIR/has" | sort | xargs) == "batch_jobs,9G,-,1 chat_0,20G,34.00,0 chat_1,20G,34.00,0 default,1M,1.00,1" ]]
  ends
  # SMs of their own as well.
  cp "$DIR/export.yaml" "$DIR/plain.yaml"
  sed -i 's/mechanism: mps/&, isolation: {memory: cooperative, compute: driver}, compute: 20%/; s/, compute: 33.3%//' "$DIR/export.yaml"
  exported mps
  control -d -p 3 -a "$DIR/out/mps.toml"
  control sm-partition list --server=gpu0 --format=csv,noheader | tee "$DIR/has"
  [[ $(cut -d, -f3,4,5,7 "$DIR/has" | sort | xargs) == "batch_jobs,4,32,created chat_0,4,32,created chat_1,4,32,created" ]]
  ends
  # On a driver that does not read it yet, that is said.
  rm -rf "$M"
  sim create "$M" --gpu H100-SXM5-80GB --driver 580
  run tranche export mps -f "$DIR/plain.yaml"
  [[ $status -eq 0 && $output == *"from driver 615 (CUDA 13.4) on; this machine has 580"* ]]
}

@test "libvirt's schema accepts the virtual machine" {
  machine H100-SXM5-80GB L40S
  a_spec
  exported libvirt
  grep -q "<hostdev mode='subsystem' type='pci' managed='yes'>" "$DIR/out/vm-0.xml"
  needs virt-xml-validate libvirt-clients
  needs xmllint libxml2-utils
  virt-xml-validate "$DIR/out/vm-0.xml" domain
}

@test "manifests for Kubernetes come back as the layout that they say" {
  machine H100-SXM5-80GB L40S
  a_spec
  exported kubernetes
  "$TRANCHE_BIN/tranche" import "$DIR/out/mig-parted.yaml" --machine <(tranche inventory -o json) -q >"$DIR/back.yaml"
  tranche plan -f "$DIR/back.yaml" -o json -q |
    jq -e '[.placements[].profile] | sort == ["1g.10gb", "1g.10gb", "1g.20gb", "1g.20gb"]'
  "$TRANCHE_BIN/tranche" import "$DIR/out/pods.yaml" -q | grep -q 'image: "vllm/vllm-openai:latest"'
}

@test "compose, triton, vllm, traefik and cdi are written, and say what they cannot" {
  machine H100-SXM5-80GB L40S
  a_spec
  for format in compose triton vllm traefik cdi; do
    tranche export "$format" -f "$DIR/export.yaml" >"$DIR/$format" 2>"$DIR/$format.err"
    [[ -s $DIR/$format ]]
  done
  grep -q "count: 1" "$DIR/triton"
  jq -e '.kind == "tranche.dev/slice" and all(.devices[]; .containerEdits.env[0] == "NVIDIA_VISIBLE_DEVICES=void")' "$DIR/cdi"
  grep -q "phi-0: its slice is not made yet" "$DIR/cdi.err"
  grep -q "web-0 names no image" "$DIR/compose.err"
  grep -q -- "--gpu-memory-utilization 0.90" "$DIR/vllm"
}

# What docker-compose makes of a file, with these variables in its .env: it refuses what it does not know.
composed() {
  local file=$1
  shift
  mkdir -p "$DIR/composed"
  cp "$file" "$DIR/composed/docker-compose.yml"
  printf '%s\n' "$@" >"$DIR/composed/.env"
  (cd "$DIR/composed" && docker-compose config)
}

@test "docker-compose reads what is written for it" {
  command -v docker-compose >/dev/null || skip "docker-compose is not installed"
  machine H100-SXM5-80GB L40S
  a_spec
  tranche export compose -f "$DIR/export.yaml" --out "$DIR/compose" -q
  # What the slices are is not said yet, and without that nothing starts.
  ! composed "$DIR/compose/compose.yaml"
  composed "$DIR/compose/compose.yaml" PHI_0=MIG-1 PHI_1=MIG-2 COPIES_0=MIG-3 >"$DIR/known"
  cat "$DIR/known"
  [[ $(grep -c "image:" "$DIR/known") == 3 && $(grep -c "driver: nvidia" "$DIR/known") == 3 ]]
  grep -q "MIG-2" "$DIR/known"
}

@test "slices that were applied are named by their UUIDs" {
  machine H100-SXM5-80GB
  two_sleepers
  start_daemon
  apply -f "$DIR/two.yaml"
  tranche plan -f "$DIR/two.yaml" --out "$DIR/plan.json" -q
  run tranche export shell --plan "$DIR/plan.json"
  [[ $status -eq 0 && $output == *"A_0=MIG-"* && $output != *"make_slice GPU"* ]]
}

@test "wrong input is refused with what to do" {
  machine L40S
  a_spec
  fails_with 64 "$TRANCHE_BIN/tranche" export
  fails_with 64 "$TRANCHE_BIN/tranche" export shell
  [[ $output == *"a spec or a plan"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" export shel -f "$DIR/export.yaml"
  [[ $output == *"did you mean 'shell'?"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" export shell --plan "$DIR/none.json"
  # What does not fit is not exported.
  fails_with 3 tranche export shell -f "$DIR/export.yaml"
  [[ $output == *"phi/0 has no place in the plan"* ]]
  run bash -c '"$0" export shel -f "$1" -o json 2>/dev/null' "$TRANCHE_BIN/tranche" "$DIR/export.yaml"
  jq -e '.error.code == "invalid"' <<<"$output"
}
