load common

# MIG mode, five instances, five workloads, routes: twelve steps.
twelve_steps() {
  local name port=$1
  {
    echo "version: 1"
    echo "workloads:"
    for name in a b c d e; do
      echo "  - {name: $name, isolation: hardware, memory: 8GiB, gpu: H100-SXM5-80GB, port: $port, route: /$name," \
           "command: [python3, -m, http.server, --bind, 127.0.0.1, \"\${PORT}\"]}"
      port=$((port + 1))
    done
  } >"$DIR/twelve.yaml"
}
no_server_left() { ! pgrep -f "http.server --bind 127.0.0.1 ($1)" >/dev/null; }

@test "kill -9 of the daemon after any step of twelve ends in the old state or the new one" {
  machine H100-SXM5-80GB A100-SXM4-80GB
  # Somebody else's instance, on the first GPU that the tool sees; ours go to the H100 beside it.
  make_foreign_instance 19
  foreign=$(nvml | jq -r '.gpus[0].mig_instances[0].compute_instances[0].uuid')
  old=$(layout)
  base=$((20000 + RANDOM % 20000))
  twelve_steps $base
  start_daemon
  # The steps are paced by a slow driver, so that the kill meets each of them.
  sim fault "$M" --slow nvmlDeviceCreateGpuInstanceWithPlacement=60

  new= undone=
  for after in $(seq 0 12); do
    tranche apply -f "$DIR/twelve.yaml" --yes "${ROOT[@]}" >"$DIR/apply.out" 2>&1 &
    applying=$!
    reached() { (( $(grep -c ': done' "$DIR/apply.out") >= after )) || ! kill -0 $applying 2>/dev/null; }
    until reached; do :; done
    stop_daemon -KILL
    wait $applying || true
    start_daemon
    now=$(layout)
    running=$(tranche status -o json | jq '.replicas | length')
    if [[ $now == "$old" ]]; then
      [[ $running == 0 ]]
      eventually no_server_left "$(seq -s '|' $base $((base + 4)))"
      undone=yes
    else
      [[ -z $new || $now == "$new" ]]
      new=$now
      [[ $running == 5 ]]
    fi
    [[ $(nvml | jq -r '.gpus[0].mig_instances[] | .compute_instances[0].uuid') == *"$foreign"* ]]
    tranche down --yes >/dev/null
    [[ $(layout) == "$old" ]]
  done
  # A kill before the first step and one after the last see both ends.
  [[ -n $new && -n $undone ]]
}
