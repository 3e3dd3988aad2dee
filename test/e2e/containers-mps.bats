load common
load containers

control() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(dirname "$(ls "$M"/tranche/run/mps/*/control)")" nvidia-cuda-mps-control; }
clients() { control "get_client_list $(control get_server_list)" | wc -l; }
are_healthy() { [[ $(tranche status -o json | jq '[.replicas[] | select(.state == "healthy")] | length') == "$1" ]]; }
one_and_two() {
  spec s <<'SPEC'
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, image: "localhost/tenant:1", command: [/app/cuda_work, async, "1000", "600"]}
  - {name: two, kind: batch, mechanism: mps, memory: 20GiB, compute: 60%, image: "localhost/tenant:1", command: [/app/cuda_work, async, "1000", "600"]}
SPEC
}

@test "programs in containers are clients of the MPS server, and held to their slices" {
  machine H100-SXM5-80GB
  containers
  start_daemon_with_nodes
  one_and_two
  apply -f "$DIR/s.yaml"
  eventually eval '[[ $(clients) == 2 ]]' || { tranche status; tranche logs one; false; }
  eventually are_healthy 2
  eventually eval '[[ $(podman ps -q | wc -l) == 2 ]]'
  [[ $(sim show "$M" -o json | jq -r '.gpus[0].compute_mode') == 3 ]]
  # Nothing is on the GPU but the server and its two clients.
  [[ $(sim show "$M" -o json | jq '[.gpus[0].processes[]] | length') == 3 ]]
  # None of them is told to have gone past the server.
  [[ $(tranche status -o json | jq -r '[.replicas[].detail] | join("")') == "" ]]

  # The server dies: both come back, in new containers, to a new one.
  local server before
  sleep 2
  server=$(control get_server_list) before=$(pid_of one)
  kill -9 "$server"
  eventually eval '[[ $(pid_of one) != "'"$before"'" && $(control get_server_list) != "'"$server"'" && $(clients) == 2 ]]'
  eventually are_healthy 2
  tranche down --yes
  eventually eval '[[ -z $(podman ps -aq) ]]'
  [[ $(sim show "$M" -o json | jq -r '.gpus[0].compute_mode') == 0 ]]
}

@test "a container has a static partition like any other client" {
  machine H100-SXM5-80GB
  rm -rf "$M" && sim create "$M" --gpu H100-SXM5-80GB --driver 615
  containers
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, isolation: {compute: driver}, memory: 10GiB, compute: 30%, image: "localhost/tenant:1", command: [/app/cuda_work, async, "1000", "600"]}
SPEC
  apply -f "$DIR/s.yaml"
  eventually eval '[[ $(clients) == 1 ]]' || { tranche status; tranche logs one; false; }
  [[ $(control lspart | awk '$1 ~ /^GPU-/ && $2 != "-" { print $4 }') == 5 ]]
  tranche down --yes
}

@test "a container is given the directory of its own namespace, and no other" {
  machine H100-SXM5-80GB
  rm -rf "$M" && sim create "$M" --gpu H100-SXM5-80GB --driver 615
  containers
  start_daemon_with_nodes
  one_and_two
  apply -f "$DIR/s.yaml"
  eventually eval '[[ $(tranche mps list -o json | jq "[.daemons[].clients[]] | length") == 2 ]]' || { tranche status; tranche logs one; false; }
  eventually are_healthy 2
  local name
  for name in one two; do
    podman inspect "$(podman ps -q --filter "name=tranche-$name")" --format '{{.State.Pid}}' >"$DIR/pid"
    run grep -o '[^ ]*/run/mps/[^ ]*' "/proc/$(cat "$DIR/pid")/mountinfo"
    echo "$output"
    [[ $(sort -u <<<"$output" | wc -l) == 1 && $output == */uid_$EUID/tr_${name}_* ]]
  done
  tranche down --yes
}
