load common

# How long a simulated kernel takes is told by the same clock as the share, so a busy machine can
# only make a share smaller: what is held is that it is never larger. The first 20 ms are a burst.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
at_most() { awk -v share="$1" -v most="$2" 'BEGIN { exit !(share > most / 3 && share <= most + 0.03) }'; }

@test "a share of the GPU's time is held, whatever the work looks like" {
  machine H100-SXM5-80GB
  local shape
  for shape in "async 1000" "async 50" "sync 1000" "sync 50" "graph 100" "streams 200" "tail 20" \
    "idle 100" "threads 100" "capture 100"; do
    run tranche run --local --compute 30% -- "$TENANTS/cuda_work" $shape 1
    echo "$shape: $output"
    [[ $status -eq 0 ]]
    at_most "$output" 0.30
  done
}

@test "processes of one slice have the share together" {
  machine H100-SXM5-80GB
  run tranche run --local --compute 40% -- bash -c '
    for i in 1 2 3; do "$1" async 200 1.5 & done; wait' - "$TENANTS/cuda_work"
  echo "$output"
  [[ $status -eq 0 && ${#lines[@]} -eq 3 ]]
  at_most "$(awk '{ sum += $1 } END { print sum }' <<<"$output")" 0.40
}

@test "a killed process takes nothing of the share with it" {
  machine H100-SXM5-80GB
  run tranche run --local --compute 30% -- bash -c '
    "$1" async 1000 100 & first=$!
    sleep 0.5; kill -9 $first; wait $first 2>/dev/null
    "$1" async 200 1' - "$TENANTS/cuda_work"
  echo "$output"
  at_most "${lines[-1]}" 0.30
}

@test "a kernel that is too long to be held back is told, by how often" {
  machine H100-SXM5-80GB
  run tranche run --local --compute 50% -- "$TENANTS/cuda_work" sync 300000 0.5
  echo "$output"
  [[ $status -eq 0 && $output == *"nothing can interrupt one"* ]]
}

@test "without a share nothing is measured" {
  machine H100-SXM5-80GB
  run tranche run --local --memory 10GiB -- bash -c '
    "$1" async 100 0.5 & sleep 0.3; ls /proc/$!/task | wc -l; wait' - "$TENANTS/cuda_work"
  echo "$output"
  [[ ${lines[0]} == 1 ]]
}
