load common
load containers

@test "a workload with an image runs in a container that has its slice and no other" {
  machine H100-SXM5-80GB
  containers
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - name: one
    kind: batch
    isolation: hardware
    mechanism: mig
    memory: 9GiB
    image: localhost/tenant:1
    command: [sh, -c, "ls /dev /dev/nvidia-caps; echo $NVIDIA_VISIBLE_DEVICES; exec /app/cuda_work async 1000 600"]
SPEC
  apply -f "$DIR/s.yaml"
  eventually log_has one void
  # Of the GPU's nodes its own: the GPU, its instance and that one's compute instance.
  local caps instance
  caps=$(tranche logs one | grep -c '^nvidia-cap[0-9]')
  [[ $caps == 2 ]]
  eventually eval 'nvml | jq -e ".gpus[0].mig_instances | length == 1"'
  eventually eval '[[ $(sim show "$M" -o json | jq "[.gpus[].gpu_instances[].compute_instances[].processes[]] | length") == 1 ]]'
  instance=$(tranche status -o json | jq -r '.replicas[0].guarantee.access // .replicas[0].access')
  echo "access: $instance"
  ls /var/run/cdi/tranche.dev-slice-one-0.*.json
  jq -e '.cdiVersion == "0.3.0" and .kind == "tranche.dev/slice"' /var/run/cdi/tranche.dev-slice-one-0.*.json

  # Its process dies: it is started again, in a new container.
  local before
  before=$(pid_of one)
  pkill -9 -f '^/app/cuda_work async 1000 600'
  eventually eval '[[ $(pid_of one) != "$before" && $(state_of one) == healthy ]]'

  # The daemon dies: it outlives that, and the next daemon knows it again.
  before=$(pid_of one)
  stop_daemon -KILL
  [[ -n $(podman ps -q) ]]
  start_daemon_with_nodes
  eventually is_state one healthy
  [[ $(pid_of one) == "$before" ]]
  tranche down --yes
  eventually eval '[[ -z $(podman ps -aq) ]]'
  ! compgen -G "/var/run/cdi/tranche.dev-slice-one-0.*.json"
}

@test "a fraction of a GPU holds in a container, too" {
  machine L40S
  containers
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - {name: part, kind: batch, mechanism: fraction, memory: 2GiB, image: "localhost/tenant:1", command: [sh, -c, "sleep 600 | /app/cuda_fill dlopen linear 100 1000 hold"]}
SPEC
  apply -f "$DIR/s.yaml"
  eventually log_has part ' 2 '
  local count code used total
  read -r count code used total <<<"$(tranche logs part | grep ' 2 ')"
  [[ $code == 2 && $total == $((2 << 30)) && $used -le $total ]]
  [[ $(sim show "$M" -o json | jq '[.gpus[].processes[].memory_bytes] | add') -le $((2 << 30)) ]]
  is_state part healthy
}

@test "and its share of the GPU's time, beside another container's" {
  machine L40S
  containers
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - {name: third, mechanism: fraction, memory: 2GiB, compute: {request: 25%, limit: 100%}, image: "localhost/tenant:1", command: [/app/cuda_work, async, "500", "4"]}
  - {name: rest, mechanism: fraction, memory: 2GiB, compute: {request: 75%, limit: 100%}, image: "localhost/tenant:1", command: [/app/cuda_work, async, "500", "4"]}
SPEC
  apply -f "$DIR/s.yaml"
  eventually is_state third ended
  eventually is_state rest ended
  local third rest
  third=$(tranche logs third) rest=$(tranche logs rest)
  echo "$third $rest"
  awk -v a="$third" -v b="$rest" 'BEGIN { share = a / (a + b); exit !(share > 0.18 && share < 0.32) }'
}

@test "an image that is not there is told, and what it printed can be read" {
  machine L40S
  containers
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - {name: gone, kind: batch, mechanism: fraction, memory: 2GiB, image: "localhost/no-such-image:1"}
SPEC
  run apply -f "$DIR/s.yaml"
  eventually log_has gone no-such-image
}
