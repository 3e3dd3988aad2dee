load common

# With driver 615 and a unified hierarchy of cgroups that may be written to, the kernel holds what a
# slice has of a GPU's memory, whatever its programs do.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
GIB=$((1 << 30))

cgroup_mount() { awk '/ - cgroup2 /{print $5; exit}' /proc/self/mountinfo; }

setup() {
  common_setup
  MOUNT=$(cgroup_mount)
  if [[ -z $MOUNT || ! -w $MOUNT ]] || ! mkdir -p "$MOUNT/tranche" 2>/dev/null; then
    skip "groups of processes cannot be made here"
  fi
}
teardown() {
  common_teardown
  [[ -z $MOUNT ]] || rmdir "$MOUNT/tranche" 2>/dev/null || true
}

kernel_machine() { sim create "$M" --gpu "$1" --driver "${2:-615}"; }
libraries() { on_machine printenv LD_LIBRARY_PATH; }
# Those of this test's machine; others may be at work beside it.
groups_of() { tr '\0' '\n' <"/proc/$1/cgroup" | sed -n 's/^0:://p'; }
the_lease() { tranche status -o json | jq -r ".leases[0].$1"; }

@test "a program past its limiter is held by the kernel, with and without the daemon" {
  kernel_machine L40S
  start_daemon
  local way libraries
  libraries=$(libraries)
  for way in --local ""; do
    # The limiter is dropped; what is left is the driver's own limit.
    # shellcheck disable=SC2086
    run tranche run $way --memory 1GiB --on-unenforced warn -- \
      env LD_LIBRARY_PATH="$libraries" "$TENANTS/cuda_fill_any" dlopen linear 10
    echo "$way: $output"
    [[ $status -eq 0 && $output == *" 2 "*" $GIB"* ]]
    local count code used total
    read -r count code used total <<<"$(grep -E '^[0-9]+ [0-9]+ [0-9]+ [0-9]+$' <<<"$output")"
    [[ $code -eq 2 && $used -le $GIB && $total -eq $GIB && $count -gt 40 && $count -le 102 ]]
    # shellcheck disable=SC2086
    run tranche run $way --memory 1GiB -- "$TENANTS/cuda_fill" dlopen linear 10
    echo "$way, limited: $output"
    [[ $status -eq 0 && $output == "$count 2 "* ]]
  done
}

@test "the guarantee is said before, in the plan and in status, and is gone with the slice" {
  kernel_machine L40S
  start_daemon
  run tranche run --local --memory 1GiB --explain -o json -- true
  [[ $(jq -r .guarantee.memory <<<"$output") == kernel ]]
  [[ $(jq -c .enforced_by.memory <<<"$output") == '["kernel","limiter"]' ]]
  [[ $(jq -r .why_not_harder <<<"$output") == *managed* ]]
  [[ $(tranche run --memory 1GiB --compute 30% --explain -o json -- true | jq -r '.guarantee | .memory + " " + .compute') == "kernel cooperative" ]]
  spec s <<SPEC
version: 1
workloads:
  - {name: a, isolation: {memory: kernel}, memory: 3GiB, command: ["$TENANTS/cuda_work", idle, "500", "60"]}
SPEC
  run tranche plan -f "$DIR/s.yaml"
  [[ $output == *"gpu0 (fraction)"*"memory kernel, compute cooperative"* ]]
  tranche run --memory 1GiB -- sleep 60 3>&- &
  local runner=$!
  eventually eval '[[ $(the_lease guarantee.memory) == kernel ]]'
  local group
  group=$(the_lease cgroup)
  [[ $group == "$MOUNT"/tranche/* && -d $group ]]
  # The limit moves with the lease.
  tranche set "$(the_lease id)" --memory 2GiB
  [[ $(the_lease guarantee.memory) == kernel ]]
  pkill -TERM -f "tranche run --memory 1GiB -- sleep 60"
  wait $runner || true
  eventually test ! -e "$group"
}

@test "a workload is in a group of its own, which a new daemon finds again" {
  kernel_machine L40S
  start_daemon
  spec s <<SPEC
version: 1
workloads:
  - {name: a, isolation: process, memory: 2GiB, on_unenforced: warn, command: [env, "LD_LIBRARY_PATH=$(libraries)", sh, -c, "$TENANTS/cuda_fill_any dlopen linear 10; sleep 600"]}
SPEC
  [[ $(tranche plan -f "$DIR/s.yaml") == *"memory kernel"* ]]
  apply -f "$DIR/s.yaml"
  eventually eval '[[ -n $(tranche logs a) ]]'
  local count code used total pid group
  read -r count code used total <<<"$(tranche logs a)"
  echo "$count $code $used $total"
  [[ $code -eq 2 && $used -le $((2 * GIB)) && $total -eq $((2 * GIB)) ]]
  pid=$(pid_of a)
  group=$MOUNT$(groups_of "$pid")
  [[ $group == "$MOUNT"/tranche/* ]]
  [[ $(tranche status -o json | jq -r '.replicas[0].guarantee.memory') == kernel ]]
  stop_daemon -KILL
  start_daemon
  [[ $(pid_of a) == "$pid" ]]
  [[ $(tranche status -o json | jq -r '.replicas[0].guarantee.memory') == kernel ]]
  [[ $MOUNT$(groups_of "$pid") == "$group" ]]
  tranche down --yes
  eventually test ! -e "$group"
}

@test "an older driver has no such limits, which is said and not counted as a fault" {
  kernel_machine L40S 580
  start_daemon
  run tranche run --memory 1GiB --explain -o json -- true
  [[ $(jq -r .guarantee.memory <<<"$output") == cooperative ]]
  [[ $(jq -r .why_not_harder <<<"$output") == *"they came with 615"* ]]
  run tranche run --memory 1GiB -- true
  [[ $status -eq 0 && -z $output ]]
}

@test "a limit that cannot be set is told of, and the limiter holds alone" {
  kernel_machine L40S
  sim fault "$M" --missing-symbol nvmlDeviceSetMemoryLimits_v1
  start_daemon
  run tranche run --memory 1GiB -- "$TENANTS/cuda_fill" dlopen linear 10
  echo "$output"
  [[ $output == *" 2 "* && $output == *"the limiter alone holds its memory"* ]]
  run tranche run --local --memory 1GiB -- "$TENANTS/cuda_fill" dlopen linear 10
  [[ $output == *" 2 "* && $output == *"the limiter alone holds its memory"* ]]
}
