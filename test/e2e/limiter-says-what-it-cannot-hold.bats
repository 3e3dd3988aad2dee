load common

TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

@test "a kernel that is too long for turns is told by its name, and only such a one" {
  machine H100-SXM5-80GB
  run tranche run --local --compute 90% -- bash -c '
    "$1/cuda_work" async 1000 0.2; "$1/slice_tells"; "$1/cuda_work" sync 300000 0.5; "$1/slice_tells"' - "$TENANTS"
  echo "$output"
  [[ ${lines[1]} == "turns_off 0" && ${lines[2]} != unenforceable* ]]
  [[ $output == *"unenforceable work"* ]]
  [[ $output == *"its kernel work ran for more than 250ms: nothing can interrupt it"* ]]
}

@test "a program whose GPUs reach each other's memory takes no turns, and its slice says so" {
  machine H100-SXM5-80GB H100-SXM5-80GB
  run tranche run --local --gpu 0 --compute 10% -- bash -c '
    "$1/cuda_peers" own && "$1/slice_tells" && "$1/cuda_peers" peer && "$1/slice_tells"
    "$1/cuda_work" async 1000 0.5' - "$TENANTS"
  echo "$output"
  [[ ${lines[0]} == "turns_off 0" && ${lines[1]} == "turns_off 1" ]]
  # Held to a tenth it could not get half of it.
  awk -v share="${lines[2]}" 'BEGIN { exit !(share > 0.5) }'
}

@test "a pool that another GPU may use ends turns, memory of another process on the same GPU does not" {
  machine H100-SXM5-80GB H100-SXM5-80GB
  run tranche run --local --gpu 0 --compute 10% -- bash -c '
    "$1/cuda_peers" pool-own && "$1/slice_tells" && "$1/cuda_peers" pool-peer && "$1/slice_tells"' - "$TENANTS"
  echo "$output"
  [[ ${lines[0]} == "turns_off 0" && ${lines[1]} == "turns_off 1" ]]
  # Of another process, on the same GPU.
  mkfifo "$DIR/in"
  on_machine "$TENANTS/cuda_peers" export 0 <"$DIR/in" >"$DIR/handle" 3>&- &
  local exporter=$!
  exec 9>"$DIR/in"
  eventually test -s "$DIR/handle"
  run tranche run --local --gpu 0 --compute 10% -- bash -c \
    '"$1/cuda_peers" open "$2" && "$1/slice_tells"' - "$TENANTS" "$(cat "$DIR/handle")"
  echo "$output"
  [[ ${lines[0]} == "turns_off 0" ]]
  exec 9>&-
  wait $exporter
}

@test "memory of another process on another GPU ends turns" {
  machine H100-SXM5-80GB H100-SXM5-80GB
  mkfifo "$DIR/in"
  on_machine "$TENANTS/cuda_peers" export 1 <"$DIR/in" >"$DIR/handle" 3>&- &
  local exporter=$!
  exec 9>"$DIR/in"
  eventually test -s "$DIR/handle"
  run tranche run --local --gpu 0 --compute 10% -- bash -c \
    '"$1/cuda_peers" open "$2" && "$1/slice_tells"' - "$TENANTS" "$(cat "$DIR/handle")"
  echo "$output"
  [[ ${lines[0]} == "turns_off 1" ]]
  exec 9>&-
  wait $exporter
}

@test "memory that another interface allocated is charged when it comes in, and told of" {
  machine H100-SXM5-80GB
  run tranche run --local --memory 4GiB -- "$TENANTS/cuda_cases" external
  echo "$output"
  [ "$status" -eq 0 ]
  [[ $output == *"memory that was not allocated through CUDA came in 1 time: "* ]]
}
