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

@test "libvirt's schema accepts the virtual machine" {
  machine H100-SXM5-80GB L40S
  a_spec
  exported libvirt
  grep -q "<hostdev mode='subsystem' type='pci' managed='yes'>" "$DIR/out/vm-0.xml"
  needs virt-xml-validate libvirt-clients
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
  python3 - "$DIR/compose" <<'PYTHON' || skip "python3 has no yaml to read it with"
import sys
try:
    import yaml
except ImportError:
    sys.exit(1)
services = yaml.safe_load(open(sys.argv[1]))["services"]
assert set(services) == {"phi-0", "phi-1", "copies-0"}, services
PYTHON
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
