# What tests of workloads in containers stand on, beside common.bash.
#
#   containers              podman with a store and an image of its own, or the test is skipped
#   image_files             makes what is in that image, in $DIR/image
#   start_daemon_with_nodes the daemon with the machine's own /dev
#   log_has WORKLOAD TEXT   whether its log has it

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

# podman with a store of its own, and an image of this host's shell and a program that uses CUDA. Where containers do
# not start, the reason is what the test is skipped with.
containers() {
  (( EUID == 0 )) || skip "root's containers are tested"
  command -v podman >/dev/null || skip "there is no podman"
  sim exec "$M" --root -- true 2>"$DIR/why" || skip "$(head -n 1 "$DIR/why")"
  export CONTAINERS_CONF=$DIR/containers.conf CONTAINERS_STORAGE_CONF=$DIR/storage.conf
  # With a place of its own for what it knows of running containers: another test may empty the host's.
  printf '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\ntmp_dir = "%s/tmp"\n' "$DIR" >"$CONTAINERS_CONF"
  if command -v runc >/dev/null; then echo 'runtime = "runc"' >>"$CONTAINERS_CONF"; fi
  printf '[storage]\ndriver = "vfs"\ngraphroot = "%s/store"\nrunroot = "%s/run"\n' "$DIR" "$DIR" >"$CONTAINERS_STORAGE_CONF"
  image_files
  tar -C "$DIR/image" -c . | podman import -q - localhost/tenant:1 >/dev/null
  podman run --rm --network=host --ulimit=nofile=512:512 --ulimit=nproc=512:512 localhost/tenant:1 sh -c 'exit 0' \
    2>"$DIR/why" || skip "containers do not start here: $(head -n 1 "$DIR/why")"
}
# What an image has: this host's shell and programs that use CUDA.
image_files() {
  local file library
  # The C library comes with an image; the driver and the limiter do not.
  for file in sh env sleep ls "$TENANTS/cuda_fill" "$TENANTS/cuda_work" "$TRANCHE_BIN"/../lib/{tranche,sim}/libcuda.so.1; do
    file=$(command -v "$file")
    for library in $(ldd "$file" | grep -o '/[^ ]*'); do
      mkdir -p "$DIR/image$(dirname "$library")"
      cp -L "$library" "$DIR/image$library"
    done
    [[ $file == *.so.1 || $file == "$TENANTS"/* ]] || { mkdir -p "$DIR/image$(dirname "$file")"; cp -L "$file" "$DIR/image$file"; }
  done
  mkdir -p "$DIR/image/tmp" "$DIR/image/app"
  cp "$TENANTS/cuda_fill" "$TENANTS/cuda_work" "$DIR/image/app"
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
log_has() { tranche logs "$1" >"$DIR/log" 2>/dev/null && grep -q -- "$2" "$DIR/log"; }
