load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

# podman with a store of its own, and an image of this host's shell and a program that uses CUDA. Where containers do
# not start, the reason is what the test is skipped with.
containers() {
  (( EUID == 0 )) || skip "root's containers are tested"
  command -v podman >/dev/null || skip "there is no podman"
  sim exec "$M" --root -- true 2>"$DIR/why" || skip "$(head -n 1 "$DIR/why")"
  export CONTAINERS_CONF=$DIR/containers.conf CONTAINERS_STORAGE_CONF=$DIR/storage.conf
  printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n' >"$CONTAINERS_CONF"
  if command -v runc >/dev/null; then echo 'runtime = "runc"' >>"$CONTAINERS_CONF"; fi
  printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/store"\nrunroot = "%s/run"\n' "$DIR" "$DIR" >"$CONTAINERS_STORAGE_CONF"
  local file library
  # The C library comes with an image; the driver and the limiter do not.
  for file in sh env "$TENANTS/cuda_work" "$TRANCHE_BIN"/../lib/{tranche,sim}/libcuda.so.1; do
    file=$(command -v "$file")
    for library in $(ldd "$file" | grep -o '/[^ ]*'); do
      mkdir -p "$DIR/image$(dirname "$library")"
      cp -L "$library" "$DIR/image$library"
    done
    [[ $file == *.so.1 || $file == "$TENANTS"/* ]] || { mkdir -p "$DIR/image$(dirname "$file")"; cp -L "$file" "$DIR/image$file"; }
  done
  mkdir -p "$DIR/image/tmp" "$DIR/image/app"
  cp "$TENANTS/cuda_work" "$DIR/image/app"
  tar -C "$DIR/image" -c . | podman import -q - localhost/tenant:1 >/dev/null
  podman run --rm --network=host --ulimit=nofile=512:512 --ulimit=nproc=512:512 localhost/tenant:1 sh -c 'exit 0' \
    2>"$DIR/why" || skip "containers do not start here: $(head -n 1 "$DIR/why")"
}
# The machine's own /dev is the daemon's.
start_daemon_with_nodes() {
  "$TRANCHE_BIN/tranche-sim" exec "$M" --root -- "$TRANCHE_BIN/tranched" 3>&- >>"$DIR/daemon.log" 2>&1 &
  DAEMON=$!
  eventually daemon_answers || { cat "$DIR/daemon.log"; return 1; }
}
teardown() {
  # Containers end before their store goes.
  if [[ -e ${DIR:-}/log ]]; then cat "$DIR/log"; fi
  if [[ -n ${DAEMON:-} ]] && kill -0 "$DAEMON" 2>/dev/null; then
    timeout 60 "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranche" down --yes -q >/dev/null 2>&1 || true
  fi
  if [[ -e $DIR/storage.conf ]]; then podman rm -fa >/dev/null 2>&1 || true; fi
  common_teardown
}
control() { echo "$1" | sim exec "$M" -- env CUDA_MPS_PIPE_DIRECTORY="$(dirname "$(ls "$M"/tranche/run/mps/*/control)")" nvidia-cuda-mps-control; }
clients() { control "get_client_list $(control get_server_list)" | wc -l; }
are_healthy() { [[ $(tranche status -o json | jq '[.replicas[] | select(.state == "healthy")] | length') == "$1" ]]; }

@test "programs in containers are clients of the MPS server, and held to their slices" {
  machine H100-SXM5-80GB
  containers
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - {name: one, kind: batch, mechanism: mps, memory: 10GiB, compute: 30%, image: "localhost/tenant:1", command: [/app/cuda_work, async, "1000", "600"]}
  - {name: two, kind: batch, mechanism: mps, memory: 20GiB, compute: 60%, image: "localhost/tenant:1", command: [/app/cuda_work, async, "1000", "600"]}
SPEC
  apply -f "$DIR/s.yaml"
  eventually eval '[[ $(clients) == 2 ]]' || { tranche status; tranche logs one; false; }
  eventually are_healthy 2
  [[ $(podman ps -q | wc -l) == 2 ]]
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
