load common

# Imports FILE and plans what comes out, on the machine.
plans() {
  tranche import "$@" -q >"$DIR/imported.yaml"
  tranche plan -f "$DIR/imported.yaml" -o json -q >"$DIR/plan.json"
}

time_slicing() {
  cat >"$DIR/time-slicing.yaml" <<'YAML'
apiVersion: v1
kind: ConfigMap
metadata:
  name: time-slicing-config
  namespace: gpu-operator
data:
  any: |-
    version: v1
    sharing:
      timeSlicing:
        replicas: 3
YAML
}

layouts() {
  cat >"$DIR/layouts.yaml" <<'YAML'
version: v1
mig-configs:
  all-1g.10gb:
    - devices: all
      mig-enabled: true
      mig-devices: {"1g.10gb": 7}
  mixed:
    - device-filter: ["0x233010DE"]
      devices: all
      mig-enabled: true
      mig-devices: {"3g.40gb": 1, "2g.20gb": 1, "1g.10gb": 2}
YAML
}

@test "a layout of mig-parted is imported, planned and made: the same slices" {
  machine H100-SXM5-80GB
  layouts
  tranche inventory -o json >"$DIR/machine.json"
  plans "$DIR/layouts.yaml" --config mixed --machine "$DIR/machine.json"
  jq -e '[.placements[].profile] | sort == ["1g.10gb", "1g.10gb", "2g.20gb", "3g.40gb"]' "$DIR/plan.json"
  plans "$DIR/layouts.yaml" --gpu H100-SXM5-80GB
  jq -e '.feasible and ([.placements[].profile] == ["1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb"])' "$DIR/plan.json"
  start_daemon
  tranche import "$DIR/layouts.yaml" --config mixed --hold -q >"$DIR/held.yaml"
  apply -f "$DIR/held.yaml"
  nvml | jq -e '[.gpus[0].mig_instances[].profile] | sort == ["1g.10gb", "1g.10gb", "2g.20gb", "3g.40gb"]'
}

@test "what a spec does not say is told on stderr, and in the JSON" {
  time_slicing
  run bash -c '"$0" import "$1" 2>&1 >/dev/null' "$TRANCHE_BIN/tranche" "$DIR/time-slicing.yaml"
  [[ $status -eq 0 && $output == *"time-slicing.yaml:11: sharing.timeSlicing.replicas: the plugin refuses this for want of resources:"* ]]
  "$TRANCHE_BIN/tranche" import "$DIR/time-slicing.yaml" -o json 2>/dev/null |
    jq -e '.format_version == "1.0" and .formats == ["device-plugin"] and (.spec | contains("mechanism: time-slicing")) and
           any(.ignored[]; .what == "sharing.timeSlicing.replicas" and .line == 11 and .why != "")'
  # -o spec is the text that is printed anyway.
  cmp <("$TRANCHE_BIN/tranche" import "$DIR/time-slicing.yaml" -o spec -q) <("$TRANCHE_BIN/tranche" import "$DIR/time-slicing.yaml" -q)
}

@test "pods, with HAMi's resources and without" {
  machine L40S L40S
  cat >"$DIR/pods.yaml" <<'YAML'
apiVersion: v1
kind: Pod
metadata: {name: part}
spec:
  containers:
    - {name: main, image: "example/a:1", resources: {limits: {nvidia.com/gpu: 1, nvidia.com/gpumem: 8000, nvidia.com/gpucores: 30}}}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: whole}
spec:
  template:
    spec:
      containers:
        - {name: main, image: "example/b:1", resources: {limits: {nvidia.com/gpu: 1}}}
YAML
  plans "$DIR/pods.yaml"
  jq -e '[.placements[] | [.workload, .mechanism]] | sort == [["part", "fraction"], ["whole", "exclusive"]]' "$DIR/plan.json"
}

@test "every mistake at once, with its line, and nothing on stdout" {
  cat >"$DIR/bad.yaml" <<'YAML'
version: v2
sharing:
  timeSlicing:
    resources:
      - {name: nvidia.com/gpu, replicas: 1}
      - {replicas: 4, devices: none}
YAML
  run bash -c '"$0" import "$1" 2>/dev/null' "$TRANCHE_BIN/tranche" "$DIR/bad.yaml"
  [[ $status -eq 64 && -z $output ]]
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/bad.yaml"
  [[ $output == *"bad.yaml:1:10: unknown version: 'v2'"* && $output == *"bad.yaml:5:"*"must be >= 2"* &&
     $output == *"bad.yaml:6:"*"has no name"* && $output == *"4 mistakes in"* ]]
  run bash -c '"$0" import "$1" -o json 2>/dev/null' "$TRANCHE_BIN/tranche" "$DIR/bad.yaml"
  jq -e '.error.code == "invalid"' <<<"$output"
}

@test "what cannot be imported is refused with what to do" {
  layouts
  fails_with 64 "$TRANCHE_BIN/tranche" import
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/none.yaml"
  [[ $output == *"No such file"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/layouts.yaml" --config mixd
  [[ $output == *"did you mean 'mixed'?"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/layouts.yaml" --format mig-partd
  [[ $output == *"did you mean 'mig-parted'?"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/layouts.yaml" --gpu H100-SXM5-80GB:none
  fails_with 64 "$TRANCHE_BIN/tranche" import "$TRANCHE_SOURCE/examples/three-models.yaml"
  [[ $output == *"a Tranche spec already"* ]]
  head -c 100000 /dev/urandom >"$DIR/garbage"
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/garbage"
  head -c 20000000 /dev/zero >"$DIR/huge"
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/huge"
  [[ $output == *"larger than"* ]]
  run bash -c '"$0" import - <"$1" -q' "$TRANCHE_BIN/tranche" "$DIR/layouts.yaml"
  [[ $status -eq 0 && $output == *"From <stdin>"* ]]
}

@test "MPS v3 TOML" {
  cat >"$DIR/mps.toml" <<'TOML'
schema_version = "1.0"
[servers.main]
pinned_memory_limit = "20G"
[servers.main.namespaces.fast]
pinned_memory_limit = "10G"
active_thread_percentage = "50"
TOML
  run "$TRANCHE_BIN/tranche" import "$DIR/mps.toml" -q
  [[ $status -eq 0 && $output == *"name: main-fast"*"memory: 10GiB"*"compute: 50%"* ]]
  cat >>"$DIR/mps.toml" <<'TOML'
[[servers.main.devices]]
uuid = "GPU-8a1c"
[[servers.main.devices.sm_partitions]]
name = "fast"
chunks = 4
TOML
  run "$TRANCHE_BIN/tranche" import "$DIR/mps.toml"
  [[ $status -eq 0 && $output == *"compute: 50%"* && $output == *"--gpu MODEL says which it is"* ]]
  # 32 of 132 SMs, which are its own.
  run "$TRANCHE_BIN/tranche" import "$DIR/mps.toml" -q --gpu H100-SXM5-80GB
  [[ $status -eq 0 && $output == *"isolation: {memory: cooperative, compute: driver}"*"compute: 24.2%"* ]]
  echo 'colour = 3' >>"$DIR/mps.toml"
  fails_with 64 "$TRANCHE_BIN/tranche" import "$DIR/mps.toml"
  [[ $output == *"mps.toml:12"*"unknown key 'colour'"* ]]
}

@test "a layout that only grows keeps every slice that was there" {
  machine H100-SXM5-80GB
  start_daemon
  uuids() { nvml | jq -c '[.gpus[0].mig_instances[] | select(.profile == "1g.10gb") | .compute_instances[0].uuid] | sort'; }
  for layout in '{"1g.10gb": 2}' '{"1g.10gb": 2, "3g.40gb": 1}'; do
    printf 'version: v1\nmig-configs:\n  it:\n    - {devices: all, mig-enabled: true, mig-devices: %s}\n' "$layout" >"$DIR/layout.yaml"
    tranche import "$DIR/layout.yaml" --hold -q >"$DIR/held.yaml"
    apply -f "$DIR/held.yaml"
    if [[ -z ${before:-} ]]; then before=$(uuids); fi
  done
  [[ $(jq length <<<"$before") -eq 2 && $(uuids) == "$before" ]]
  nvml | jq -e '[.gpus[0].mig_instances[].profile] | sort == ["1g.10gb", "1g.10gb", "3g.40gb"]'
}
