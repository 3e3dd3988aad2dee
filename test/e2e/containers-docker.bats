load common
load containers

# docker's daemon with a store of its own, and the image of the other tests of containers in it; podman is out of sight.
# `docker_with cdi` reads device files, `docker_with nothing` does not, as those before 25 and those with that switched off.
docker_with() {
  (( EUID == 0 )) || skip "a docker daemon of its own is root's"
  command -v docker >/dev/null && command -v dockerd >/dev/null || skip "there is no docker with its daemon"
  sim exec "$M" --root -- true 2>"$DIR/why" || skip "$(head -n 1 "$DIR/why")"
  image_files
  mkdir -p "$DIR/docker" "$DIR/bin"
  local features='{}' folder
  if [[ $1 == cdi ]]; then features='{"cdi": true}'; fi
  cat >"$DIR/docker/daemon.json" <<JSON
{"features": $features, "iptables": false, "ip6tables": false, "bridge": "none", "storage-driver": "vfs",
 "data-root": "$DIR/docker/data", "exec-root": "$DIR/docker/run", "pidfile": "$DIR/docker/pid", "hosts": ["unix://$DIR/docker.sock"]}
JSON
  for folder in /usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin; do
    find "$folder" -maxdepth 1 ! -type d ! -name 'podman*' -exec ln -sf -t "$DIR/bin" {} + 2>/dev/null || true
  done
  ln -sf "$(command -v docker)" "$(command -v dockerd)" "$DIR/bin"
  # On the machine, whose device nodes it gives to containers.
  "$TRANCHE_BIN/tranche-sim" exec "$M" --root -- "$(command -v dockerd)" --config-file "$DIR/docker/daemon.json" >"$DIR/docker/log" 2>&1 3>&- &
  DOCKERD=$!
  export DOCKER_HOST=unix://$DIR/docker.sock
  local tries
  for (( tries = 0; tries < 300; ++tries )); do
    docker info >/dev/null 2>&1 && break
    kill -0 "$DOCKERD" 2>/dev/null || skip "docker's daemon does not start here: $(tail -n 1 "$DIR/docker/log")"
    sleep 0.1
  done
  WHOLE_PATH=$PATH
  export PATH=$DIR/bin
  if [[ $1 == cdi ]] && ! docker info --format '{{json .CDISpecDirs}}' 2>/dev/null | grep -q cdi; then
    skip "docker $(docker version --format '{{.Server.Version}}') reads no device files"
  fi
  tar -C "$DIR/image" -c . | docker import - localhost/tenant:1 >/dev/null
  docker run --rm --network=host localhost/tenant:1 sh -c 'exit 0' 2>"$DIR/why" || skip "containers do not start here: $(head -n 1 "$DIR/why")"
}
teardown() {
  PATH=${WHOLE_PATH:-$PATH}
  if [[ -e ${DIR:-}/log ]]; then cat "$DIR/log"; fi
  if [[ -n ${DAEMON:-} ]] && kill -0 "$DAEMON" 2>/dev/null; then
    timeout 60 "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranche" down --yes -q >/dev/null 2>&1 || true
  fi
  if [[ -n ${DOCKERD:-} ]]; then
    docker ps -aq 2>/dev/null | xargs -r docker rm -f >/dev/null 2>&1
    kill "$DOCKERD" 2>/dev/null
    wait "$DOCKERD" 2>/dev/null
    # Namespaces and shared memory that it has mounted.
    grep -o " $DIR/docker/[^ ]*" /proc/self/mounts | sort -r | xargs -r umount -l 2>/dev/null
  fi
  common_teardown
}

runs_with_its_slice_and_no_other() {
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
    command: [sh, -c, "ls /dev /dev/nvidia-caps; echo visible=$NVIDIA_VISIBLE_DEVICES; exec /app/cuda_work async 1000 600"]
SPEC
  apply -f "$DIR/s.yaml"
  eventually log_has one visible=void || { cat "$DIR/docker/log"; tranche status; tranche logs one; false; }
  [[ $(tranche logs one | grep -c '^nvidia-cap[0-9]') == 2 ]]
  eventually eval '[[ $(sim show "$M" -o json | jq "[.gpus[].gpu_instances[].compute_instances[].processes[]] | length") == 1 ]]'
  # What it prints is in Tranche's log only.
  [[ $(docker inspect --format '{{.HostConfig.LogConfig.Type}}' "$(docker ps -q)") == none ]]
}
ends_with_its_slice() {
  # Its process dies: it is started again, in a new container.
  local before
  before=$(pid_of one)
  kill -9 "$(docker inspect --format '{{.State.Pid}}' "$(docker ps -q)")"
  eventually eval '[[ $(pid_of one) != "$before" && $(state_of one) == healthy ]]'
  eventually eval '[[ -n $(docker ps -q) ]]'
  # The daemon dies: it outlives that, and the next daemon knows it again.
  before=$(pid_of one)
  stop_daemon -KILL
  [[ -n $(docker ps -q) ]]
  start_daemon_with_nodes
  eventually is_state one healthy
  [[ $(pid_of one) == "$before" ]]
  tranche down --yes
  eventually eval '[[ -z $(docker ps -aq) ]]'
}

@test "docker gives a workload its slice by a device file" {
  machine H100-SXM5-80GB
  docker_with cdi
  runs_with_its_slice_and_no_other
  ls /var/run/cdi/tranche.dev-slice-one-0.*.json
  ends_with_its_slice
  ! compgen -G "/var/run/cdi/tranche.dev-slice-one-0.*.json"
}

@test "docker that reads no device files is told the slice in full" {
  machine H100-SXM5-80GB
  docker_with nothing
  runs_with_its_slice_and_no_other
  ! compgen -G "/var/run/cdi/tranche.dev-slice-one-0.*.json"
  ends_with_its_slice
}

@test "a fraction of a GPU holds in docker, too" {
  machine L40S
  docker_with nothing
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - {name: part, kind: batch, mechanism: fraction, memory: 2GiB, image: "localhost/tenant:1", command: [sh, -c, "sleep 600 | /app/cuda_fill dlopen linear 100 1000 hold"]}
SPEC
  apply -f "$DIR/s.yaml"
  eventually log_has part ' 2 ' || { tranche status; tranche logs part; false; }
  local count code used total
  read -r count code used total <<<"$(tranche logs part | grep ' 2 ')"
  [[ $code == 2 && $total == $((2 << 30)) && $used -le $total ]]
  [[ $(sim show "$M" -o json | jq '[.gpus[].processes[].memory_bytes] | add') -le $((2 << 30)) ]]
}

@test "a docker without its daemon is told before anything starts" {
  machine L40S
  docker_with nothing
  kill "$DOCKERD"
  wait "$DOCKERD" || true
  start_daemon_with_nodes
  spec s <<'SPEC'
version: 1
workloads:
  - {name: part, kind: batch, mechanism: fraction, memory: 2GiB, image: "localhost/tenant:1"}
SPEC
  fails_with 69 apply -f "$DIR/s.yaml"
  [[ $output == *"docker's daemon does not answer"* && $output == *"the machine is as it was"* ]]
}
