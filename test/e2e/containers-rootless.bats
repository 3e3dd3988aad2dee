load common
load containers

# Everything as an ordinary user that has subordinate ids, which podman gives its containers: the machine, Tranche and
# podman, whose device files only root may write. Root's tests take any such user; a user's own run is as himself.
rootless() {
  command -v podman >/dev/null && command -v newuidmap >/dev/null || skip "there is no podman with newuidmap (package uidmap)"
  local name
  ORDINARY=
  while IFS=: read -r name _; do
    if (( EUID != 0 )) && [[ $name != "$(id -un)" ]]; then continue; fi
    if [[ $(id -u "$name" 2>/dev/null || echo 0) != 0 ]]; then ORDINARY=$name; fi
  done </etc/subuid
  [[ -n $ORDINARY ]] || skip "no ordinary user here has subordinate ids, as useradd gives them"
  OWN=(env -i PATH="$PATH" HOME="$DIR/home" XDG_RUNTIME_DIR="$DIR/run" NO_COLOR=1 CONTAINERS_CONF="$DIR/containers.conf"
       CONTAINERS_STORAGE_CONF="$DIR/storage.conf")
  if (( EUID == 0 )); then OWN=(setpriv --reuid "$ORDINARY" --regid "$(id -g "$ORDINARY")" --init-groups "${OWN[@]}"); fi
  mkdir -p "$DIR/home" "$DIR/run"
  printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\ntmp_dir = "%s/tmp"\n' "$DIR" >"$DIR/containers.conf"
  if command -v runc >/dev/null; then echo 'runtime = "runc"' >>"$DIR/containers.conf"; fi
  printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/store"\nrunroot = "%s/run/c"\n' "$DIR" "$DIR" >"$DIR/storage.conf"
  image_files
  if (( EUID == 0 )); then chown -R "$ORDINARY:" "$DIR"; fi
  own test -x "$TRANCHE_BIN/tranche" -a -r "$TENANTS/cuda_fill" || skip "$ORDINARY may not run what was built"
  own bash -c 'tar -C "$1/image" -c . | podman import -q - localhost/tenant:1' - "$DIR" >/dev/null 2>"$DIR/why" ||
    skip "podman makes no image for $ORDINARY: $(tail -n 1 "$DIR/why")"
  own podman run --rm --network=host --userns=keep-id --pid=host --ulimit=nofile=512:512 --ulimit=nproc=512:512 localhost/tenant:1 \
    sh -c 'exit 0' 2>"$DIR/why" || skip "containers of $ORDINARY do not start here: $(tail -n 1 "$DIR/why")"
}
# As that user, in an environment of his own.
own() { "${OWN[@]}" "$@"; }
tranche() { own "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranche" "$@"; }
start_own_daemon() {
  "${OWN[@]}" "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranched" 3>&- >>"$DIR/daemon.log" 2>&1 &
  DAEMON=$!
  eventually daemon_answers || { cat "$DIR/daemon.log"; return 1; }
}
teardown() {
  if [[ -e ${DIR:-}/log ]]; then cat "$DIR/log"; fi
  if [[ -n ${DAEMON:-} ]] && kill -0 "$DAEMON" 2>/dev/null; then
    timeout 60 "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranche" down --yes -q >/dev/null 2>&1 || true
  fi
  if [[ -e $DIR/storage.conf && -n ${ORDINARY:-} ]]; then
    own podman rm -fa >/dev/null 2>&1 || true
    # Files of subordinate ids are the user's within his own namespace only.
    own podman unshare rm -rf "$DIR/store" >/dev/null 2>&1 || true
  fi
  common_teardown
}

@test "a fraction of a GPU holds in an ordinary user's container" {
  rootless
  own "$TRANCHE_BIN/tranche-sim" create "$M" --clock real --gpu L40S
  start_own_daemon
  cat >"$DIR/s.yaml" <<'SPEC'
version: 1
workloads:
  - {name: part, kind: batch, mechanism: fraction, memory: 2GiB, image: "localhost/tenant:1", command: [sh, -c, "echo visible=$NVIDIA_VISIBLE_DEVICES; sleep 600 | /app/cuda_fill dlopen linear 100 1000 hold"]}
SPEC
  tranche apply -f "$DIR/s.yaml" --yes
  eventually log_has part ' 2 ' || { tranche status; tranche logs part; false; }
  log_has part visible=void
  local count code used total
  read -r count code used total <<<"$(tranche logs part | grep ' 2 ')"
  [[ $code == 2 && $total == $((2 << 30)) && $used -le $total ]]
  eventually is_state part healthy
  # In his own name, and in a container.
  local pid
  pid=$(pgrep -u "$ORDINARY" -f '^/app/cuda_fill dlopen linear 100 1000 hold')
  [[ $(stat -c %U "/proc/$pid") == "$ORDINARY" && -n $(own podman ps -q) ]]
  # No file of root's was written for it.
  ! compgen -G "/var/run/cdi/tranche.dev-slice-part-0.*.json"
  # The daemon dies: it outlives that, and the next daemon knows it again.
  local before
  before=$(pid_of part)
  stop_daemon -KILL
  start_own_daemon
  eventually is_state part healthy
  [[ $(pid_of part) == "$before" ]]
  tranche down --yes
  eventually eval '[[ -z $(own podman ps -aq) ]]'
}
