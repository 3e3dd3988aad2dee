load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

# share_of A B: what A got of what both got, as a number of percent.
share_of() { awk -v a="$1" -v b="$2" 'BEGIN { printf "%d", 100 * a / (a + b) }'; }

@test "two programs have the GPU's time as they asked for it, and one alone has all" {
  virtual_machine H100-SXM5-80GB
  sim clock "$M" --wait-for 2
  start_daemon
  tranche run --memory 10GiB --compute 30% --compute-limit 100% -- \
    "$TENANTS/cuda_work" async 50 3 >"$DIR/a" 3>&- &
  local first=$!
  tranche run --memory 10GiB --compute 70% --compute-limit 100% -- \
    "$TENANTS/cuda_work" sync 1000 3 >"$DIR/b" 3>&- &
  wait $first $!
  cat "$DIR/a" "$DIR/b"
  local share
  share=$(share_of "$(cat "$DIR/a")" "$(cat "$DIR/b")")
  [[ $share -ge 28 && $share -le 32 ]]
  eventually eval '[[ $(tranche status -o json | jq ".leases | length") == 0 ]]'
}

@test "a limit holds although the GPU is idle, and can be raised while the program runs" {
  machine H100-SXM5-80GB
  start_daemon
  mkfifo "$DIR/in"
  tranche run --memory 10GiB --compute 20% -- "$TENANTS/cuda_work" async 1000 4 >"$DIR/a" 3>&- &
  local runner=$!
  eventually eval '[[ $(tranche status -o json | jq ".leases[0].processes // 0") == 1 ]]'
  sleep 1
  used=$(tranche status -o json | jq '.leases[0].compute_used_ns')
  tranche set run-1 --compute 90%
  [[ $(tranche status -o json | jq '.leases[0].compute.limit') == 0.9 ]]
  wait $runner
  cat "$DIR/a"
  # Under 20 % for a second, then up to 90 %.
  [[ $used -lt 600000000 ]]
  awk '{ exit !($1 > 0.25) }' "$DIR/a"
}

@test "what does not fit is refused with the reason, and what others hold is counted" {
  machine H100-SXM5-80GB
  start_daemon
  tranche run --memory 60GiB --compute 80% -- sleep 60 3>&- &
  local runner=$!
  eventually eval '[[ $(tranche status -o json | jq ".leases | length") == 1 ]]'
  fails_with 125 tranche run --memory 30GiB -- true
  [[ $output == *"GPU 0"*"of its memory are free"* ]]
  fails_with 3 tranche run --memory 30GiB --explain -- true
  fails_with 125 tranche run --memory 5GiB --compute 30% -- true
  [[ $output == *"of its time are not promised"* ]]
  fails_with 3 tranche set run-1 --memory 90GiB
  fails_with 64 tranche set run-7 --memory 1GiB
  [[ $output == *"run-1"* ]]
  run tranche plan -f - <<'SPEC'
version: 1
workloads:
  - {name: all, kind: batch, command: [sleep, "1"], gpus: 1, isolation: hardware, memory: 60GiB}
SPEC
  echo "$output"
  [[ $status -eq 3 ]]
  pkill -TERM -f "tranche run --memory 60GiB"
  wait $runner || true
  eventually eval '[[ $(tranche status -o json | jq ".leases | length") == 0 ]]'
}

@test "a lease outlives the daemon, and ends with its program" {
  machine H100-SXM5-80GB
  start_daemon
  tranche run --memory 10GiB --compute 30% -- "$TENANTS/cuda_work" async 1000 60 3>&- &
  local runner=$!
  eventually eval '[[ $(tranche status -o json | jq ".leases[0].processes // 0") == 1 ]]'
  kill -9 "$DAEMON"
  wait "$DAEMON" || true
  start_daemon
  [[ $(tranche status -o json | jq '.leases[0].processes') == 1 ]]
  # Neither the runner nor the program can say good-bye.
  pkill -9 -f "cuda_work async 1000 60"
  wait $runner || true
  eventually eval '[[ $(tranche status -o json | jq ".leases | length") == 0 ]]'
}

@test "a program killed in its turn holds nobody up" {
  machine H100-SXM5-80GB
  start_daemon
  tranche run --compute 50% -- "$TENANTS/cuda_work" async 1000 60 3>&- &
  local victim=$!
  eventually eval '[[ $(tranche status -o json | jq ".leases[0].processes // 0") == 1 ]]'
  tranche run --compute 50% --compute-limit 100% -- "$TENANTS/cuda_work" async 1000 2 >"$DIR/b" 3>&- &
  local other=$!
  sleep 0.5
  pkill -9 -f "cuda_work async 1000 60"
  wait $other
  cat "$DIR/b"
  awk '{ exit !($1 > 0.4) }' "$DIR/b"
  wait $victim || true
}

# as UID COMMAND...
as() {
  local uid=$1
  shift
  setpriv --reuid="$uid" --regid=65534 --clear-groups "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$@"
}
# A machine and a daemon that anybody may use.
machine_for_all() {
  (( EUID == 0 )) || skip "only root can become somebody else"
  machine H100-SXM5-80GB
  start_daemon --group nogroup
  chmod -R a+rwX "$DIR"
  chmod a+rx "$DIR"
  if ! as 1000 "$TRANCHE_BIN/tranche" status >/dev/null; then skip "others may not come here"; fi
}
# work UID PERCENT KERNEL_US SECONDS
work() {
  as "$1" "$TRANCHE_BIN/tranche" run --memory 10GiB --compute "$2%" --compute-limit 100% -- \
    "$TENANTS/cuda_work" async "$3" "$4"
}
both_work() { [[ $(tranche status -o json | jq "[.leases[].processes] | add") == 2 ]]; }

@test "neither of two users may write the other's accounts, nor whose turn it is" {
  machine_for_all
  work 1000 30 500 600 3>&- &
  local first=$!
  work 1001 70 1000 600 3>&- &
  local second=$!
  eventually both_work
  local table worker
  for table in "$M"/tranche/run/slices/1000/gpu-*; do
    if as 1001 test -w "$table"; then echo "$table is writable"; return 1; fi
  done
  worker=$(pgrep -u 1000 -f "cuda_work async 500 600" | tail -1)
  eventually grep -q ' rw-s .*memfd:gpu-.*[.]turns' "/proc/$worker/maps"
  grep -q ' r--s .*memfd:gpu-.*[.]gate' "/proc/$worker/maps"
  if grep -q ' .w.s .*[.]gate' "/proc/$worker/maps"; then return 1; fi
  pkill -9 -f "cuda_work async .* 600"
  wait $first $second || true
}

# The daemon hands turns over in the host's time, so this is about a host that has time for it.
@test "two users share a GPU as promised" {
  machine_for_all
  local attempt share
  for attempt in 1 2 3 4 5; do
    work 1000 30 500 3 >"$DIR/a" 3>&- &
    local first=$!
    work 1001 70 1000 3 >"$DIR/b" 3>&- &
    wait $first $!
    echo "attempt $attempt: $(cat "$DIR/a") $(cat "$DIR/b")"
    # Both together have nearly all of it; less when others keep the host's cores.
    if awk -v a="$(cat "$DIR/a")" -v b="$(cat "$DIR/b")" 'BEGIN { exit !(a + b > 0.8) }'; then
      share=$(share_of "$(cat "$DIR/a")" "$(cat "$DIR/b")")
      [[ $share -ge 22 && $share -le 38 ]]
      return
    fi
  done
  echo "never had both together most of the GPU's time"
  return 1
}

@test "without a daemon run says what to do" {
  machine H100-SXM5-80GB
  fails_with 125 tranche run --memory 1GiB -- true
  [[ $output == *"--local"* ]]
}

@test "a program may have a GPU for itself, and nobody else comes onto it meanwhile" {
  machine H100-SXM5-80GB
  fails_with 125 tranche run --mechanism exclusive --compute 30% -- true
  [[ $output == *"leave it out"* ]]
  fails_with 125 tranche run --local --mechanism exclusive -- true
  [[ $output == *"nobody keeps others"* ]]
  fails_with 125 tranche run --mechanism mig --memory 5GiB -- true
  [[ $output == *"tranche apply"* ]]
  start_daemon
  run tranche run --mechanism exclusive --explain -o json -- true
  [[ $(jq -r '.mechanism + " " + .guarantee.memory' <<<"$output") == "exclusive hardware" ]]
  tranche run --mechanism exclusive --memory 40GiB -- sleep 60 3>&- &
  local runner=$!
  eventually eval '[[ $(tranche status -o json | jq -r ".leases[].mechanism") == exclusive ]]'
  fails_with 125 tranche run --memory 5GiB -- true
  [[ $output == *"has it for itself"* ]]
  pkill -TERM -f "tranche run --mechanism exclusive --memory 40GiB"
  wait $runner || true
  eventually tranche run --memory 5GiB -- true
}
