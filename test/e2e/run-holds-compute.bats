load common

# The first 20 ms of GPU time are a burst, and what is in flight at the end is counted whole.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
holds() { awk -v share="$1" -v wanted="$2" 'BEGIN { exit !(share >= wanted - 0.03 && share <= wanted + 0.03) }'; }

@test "a share of the GPU's time is held, whatever the work looks like" {
  virtual_machine H100-SXM5-80GB
  local shape
  for shape in "async 1000" "async 50" "sync 1000" "sync 50" "graph 100" "streams 200" "tail 20" \
    "idle 100" "threads 100" "capture 100"; do
    run tranche run --local --compute 30% -- "$TENANTS/cuda_work" $shape 3
    echo "$shape: $output"
    [[ $status -eq 0 ]]
    holds "$output" 0.30
  done
}

@test "processes of one slice have the share together" {
  virtual_machine H100-SXM5-80GB
  run tranche run --local --compute 40% -- bash -c '
    for i in 1 2 3; do "$1" async 1000 4 & done; wait' - "$TENANTS/cuda_work"
  echo "$output"
  [[ $status -eq 0 && ${#lines[@]} -eq 3 ]]
  holds "$(awk '{ sum += $1 } END { print sum }' <<<"$output")" 0.40
}

# Of short kernels they get less than their share, see docs/benchmarks/limiter.md; never more.
@test "nor do they have more when their kernels are short" {
  virtual_machine H100-SXM5-80GB
  run tranche run --local --compute 40% -- bash -c '
    for i in 1 2 3; do "$1" async 200 4 & done; wait' - "$TENANTS/cuda_work"
  echo "$output"
  [[ $status -eq 0 && ${#lines[@]} -eq 3 ]]
  awk '{ sum += $1 } END { exit !(sum > 0.34 && sum <= 0.43) }' <<<"$output"
}

@test "a killed process takes nothing of the share with it" {
  virtual_machine H100-SXM5-80GB
  run tranche run --local --compute 30% -- bash -c '
    "$1" async 1000 100 & first=$!
    sleep 0.5; kill -9 $first; wait $first 2>/dev/null
    "$1" async 200 3' - "$TENANTS/cuda_work"
  echo "$output"
  holds "${lines[-1]}" 0.30
}

@test "without a share nothing is measured" {
  machine H100-SXM5-80GB
  run tranche run --local --memory 10GiB -- bash -c '
    "$1" async 100 0.5 & sleep 0.3; ls /proc/$!/task | wc -l; wait' - "$TENANTS/cuda_work"
  echo "$output"
  [[ ${lines[0]} == 1 ]]
}
