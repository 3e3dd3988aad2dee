load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

# A variable of the running replica's environment.
variable_of() { tr '\0' '\n' <"/proc/$(pid_of "$1")/environ" | sed -n "s/^$2=//p"; }
field_of() {
  tranche status -o json | jq -r --arg w "$1" ".replicas[] | select(.workload == \$w) | $2"
}
uses_the_gpu() { [[ $(field_of "$1" '.memory_used_bytes // 0') -gt 0 ]]; }

@test "workloads of one GPU are held to their memory and time, from the plan to down" {
  machine L40S
  start_daemon
  spec s <<SPEC
version: 1
workloads:
  - {name: fill, kind: inference, isolation: process, memory: 3GiB, command: [sh, -c, "$TENANTS/cuda_fill dlopen linear 64; sleep 600"]}
  - {name: third, isolation: process, memory: 8GiB, compute: {request: 25%, limit: 100%}, command: ["$TENANTS/cuda_work", async, "500", "3"]}
  - {name: rest, isolation: process, memory: 8GiB, compute: {request: 75%, limit: 100%}, command: ["$TENANTS/cuda_work", async, "500", "3"]}
SPEC
  run tranche plan -f "$DIR/s.yaml"
  [[ $output == *"gpu0 (fraction)"*"memory cooperative, compute cooperative"* ]]
  apply -f "$DIR/s.yaml"
  # COUNT CODE USED TOTAL: a GPU of 3 GiB, and no chunk of 64 MiB that a context leaves no room for.
  eventually eval '[[ -n $(tranche logs fill) ]]'
  local count code used total
  read -r count code used total <<<"$(tranche logs fill)"
  echo "$count $code $used $total"
  [[ $count -gt 30 && $count -lt 48 && $code -eq 2 && $total -eq 3221225472 ]]
  [[ $(field_of third .slice.mechanism) == fraction ]]
  eventually is_state third ended
  eventually is_state rest ended
  local third rest
  third=$(tranche logs third) rest=$(tranche logs rest)
  echo "$third $rest"
  awk -v a="$third" -v b="$rest" 'BEGIN { share = a / (a + b); exit !(share > 0.2 && share < 0.3) }'
  local slice
  slice=$(variable_of fill TRANCHE_SLICE_FILE)
  [[ -e $slice ]]
  tranche down --yes
  eventually test ! -e "$slice"
}

@test "memory beyond the slice is refused, for all its processes together, and leases fit in beside" {
  machine L40S
  start_daemon
  spec s <<SPEC
version: 1
workloads:
  - {name: a, isolation: process, memory: 20GiB, command: ["$TENANTS/cuda_work", async, "500", "60"]}
  - {name: b, isolation: process, memory: 20GiB, compute: 60%, command: [sleep, "600"]}
SPEC
  apply -f "$DIR/s.yaml"
  eventually uses_the_gpu a
  fails_with 125 tranche run --memory 6GiB -- true
  [[ $output == *"of its memory are free"* ]]
  fails_with 125 tranche run --memory 1GiB --compute 50% -- true
  [[ $output == *"of its time are not promised"* ]]
  tranche run --memory 3GiB --compute 40% -- "$TENANTS/cuda_work" sync 100 0.2
  # And what is promised to a program is planned around.
  tranche run --memory 2GiB --compute 30% -- sleep 60 3>&- &
  local runner=$!
  eventually eval '[[ $(tranche status -o json | jq ".leases | length") == 1 ]]'
  sed -i 's/compute: 60%/compute: 80%/' "$DIR/s.yaml"
  fails_with 3 tranche plan -f "$DIR/s.yaml"
  [[ $output == *"30% of its time are promised"* ]]
  pkill -TERM -f "tranche run --memory 2GiB"
  wait $runner || true
}

@test "a workload that goes past its limiter is stopped within a second, or told of where the spec says so" {
  machine L40S
  start_daemon
  local libraries
  libraries=$(on_machine printenv LD_LIBRARY_PATH)
  spec s <<SPEC
version: 1
workloads:
  - {name: honest, isolation: process, memory: 8GiB, command: ["$TENANTS/cuda_work", idle, "500", "60"]}
  - {name: past, isolation: process, memory: 8GiB, command: [env, "LD_LIBRARY_PATH=$libraries", "$TENANTS/cuda_work", async, "500", "60"]}
  - {name: known, isolation: process, memory: 8GiB, on_unenforced: warn, command: [env, "LD_LIBRARY_PATH=$libraries", "$TENANTS/cuda_work", async, "500", "61"]}
SPEC
  apply -f "$DIR/s.yaml" || true
  eventually is_state past faulted
  [[ $(field_of past .detail) == *"without the limiter"*"on_unenforced"* ]]
  eventually eval '! pgrep -f "cuda_work async 500 60"'
  [[ $(field_of past .restarts) == 0 ]]
  eventually eval '[[ $(field_of known .detail) == *"without the limiter"* ]]'
  is_state known healthy
  is_state honest healthy
  [[ $(field_of honest .detail) == "" ]]
}

@test "a program of run that goes past its limiter is stopped, with and without the daemon" {
  machine L40S
  local libraries way
  libraries=$(on_machine printenv LD_LIBRARY_PATH)
  start_daemon
  for way in --local ""; do
    # shellcheck disable=SC2086
    fails_with 137 tranche run $way --memory 1GiB -- \
      env LD_LIBRARY_PATH="$libraries" "$TENANTS/cuda_work" async 500 20
    [[ $output == *"without the limiter"* ]]
    # shellcheck disable=SC2086
    run tranche run $way --memory 1GiB --on-unenforced warn -- \
      env LD_LIBRARY_PATH="$libraries" "$TENANTS/cuda_work" async 500 1
    [[ $status -eq 0 && $output == *"without the limiter"* ]]
  done
  fails_with 125 tranche run --memory 1GiB --on-unenforced no -- true
}

@test "slices outlive the daemon, and a workload that no limiter can be loaded into is refused" {
  machine L40S
  start_daemon
  echo 'int main(void) { for (;;) ; }' >"$DIR/s.c"
  gcc -static -o "$DIR/static" "$DIR/s.c"
  spec s <<SPEC
version: 1
workloads:
  - {name: a, isolation: process, memory: 8GiB, compute: 50%, command: ["$TENANTS/cuda_work", async, "500", "60"]}
SPEC
  spec static <<SPEC
version: 1
workloads:
  - {name: a, isolation: process, memory: 8GiB, compute: 50%, command: ["$TENANTS/cuda_work", async, "500", "60"]}
  - {name: b, isolation: process, memory: 8GiB, command: ["$DIR/static"]}
SPEC
  apply -f "$DIR/s.yaml"
  eventually uses_the_gpu a
  local pid
  pid=$(pid_of a)
  stop_daemon -KILL
  start_daemon
  uses_the_gpu a
  [[ $(pid_of a) == "$pid" ]]
  fails_with 1 apply -f "$DIR/static.yaml"
  [[ $output == *"statically linked"*"on_unenforced: warn"* ]]
  [[ $(pid_of a) == "$pid" ]]
  sleep 1
  is_state a healthy
}

@test "what nobody is promised is lent to the preemptible, and taken back when it is needed" {
  machine L40S
  start_daemon
  spec one <<SPEC
version: 1
workloads:
  - {name: lent, isolation: process, preemptible: true, memory: {request: 4GiB, limit: 30GiB}, command: [sh, -c, "$TENANTS/cuda_fill dlopen linear 256 100 hold < /dev/zero | cat"]}
SPEC
  spec two <<SPEC
version: 1
workloads:
  - {name: lent, isolation: process, preemptible: true, memory: {request: 4GiB, limit: 30GiB}, command: [sh, -c, "$TENANTS/cuda_fill dlopen linear 256 100 hold < /dev/zero | cat"]}
  - {name: owner, isolation: process, memory: 36GiB, command: [sh, -c, "$TENANTS/cuda_fill dlopen linear 256; sleep 600"]}
SPEC
  holds_much() { [[ $(field_of lent '.memory_used_bytes // 0') -gt $((20 << 30)) ]]; }
  holds_little() { (( $(field_of lent '.memory_used_bytes // 0') <= 10 << 30 )); }
  apply -f "$DIR/one.yaml"
  eventually holds_much
  [[ $(field_of lent .detail) == *"lent"* ]]
  apply -f "$DIR/two.yaml"
  # The owner found all of its memory free: 36 GiB but for what contexts take.
  eventually eval '[[ -n $(tranche logs owner) ]]'
  [[ $(tranche logs owner | cut -d" " -f1) -ge 140 ]]
  holds_little
  [[ $(field_of lent .restarts) -ge 1 ]]
  # And while somebody is promised it, it is not lent again.
  eventually is_state lent healthy
  holds_little
}

@test "the tables of slices outlive the daemon, and their broker: programs begin and are held without either" {
  machine L40S
  start_daemon
  spec s <<SPEC
version: 1
workloads:
  - {name: fill, kind: inference, isolation: process, memory: 3GiB, command: [sh, -c, "while [ ! -e $DIR/go ]; do sleep 0.1; done; sleep 600 | $TENANTS/cuda_fill dlopen linear 64 1000 hold"]}
SPEC
  apply -f "$DIR/s.yaml"
  local slice broker
  slice=$(variable_of fill TRANCHE_SLICE_FILE)
  [[ -S $slice ]]
  broker=$(pgrep -f "table-broker $M/")
  stop_daemon -KILL
  kill -0 "$broker"
  # Its first process that uses the GPU begins while there is no daemon.
  touch "$DIR/go"
  eventually eval '[[ $(sim show "$M" -o json | jq "[.gpus[].processes[].memory_bytes] | add") -gt $((2 << 30)) ]]'
  [[ $(sim show "$M" -o json | jq "[.gpus[].processes[].memory_bytes] | add") -le $((3 << 30)) ]]
  start_daemon
  [[ $(pgrep -f "table-broker $M/") == "$broker" ]]
  eventually uses_the_gpu fill
  # Its own end loses nothing either.
  kill -9 "$broker"
  eventually eval '[[ $(pgrep -f "table-broker $M/") != "$broker" && -n $(pgrep -f "table-broker $M/") ]]'
  run on_machine env TRANCHE_SLICE_FILE="$slice" LD_LIBRARY_PATH="$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim" \
    "$TENANTS/cuda_fill" dlopen linear 64
  echo "$output"
  # It is of the same slice, which has no room for another context.
  [[ $status -eq 1 && $output == "cuDevicePrimaryCtxRetain: 2" ]]
  [[ $(sim show "$M" -o json | jq "[.gpus[].processes[].memory_bytes] | add") -le $((3 << 30)) ]]
  tranche down --yes
  eventually test ! -e "$slice"
}
