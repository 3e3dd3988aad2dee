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
