load common

# Clients of an MPS server run at the same time, so nobody takes turns: each is charged what its
# kernels take alone times the part of the GPU that they fill.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
near() { awk -v share="$1" -v wanted="$2" -v by="${3:-0.03}" 'BEGIN { exit !(share >= wanted - by && share <= wanted + by) }'; }
served() { sim mps "$M" --pipe "$DIR/pipe" "$@"; export CUDA_MPS_PIPE_DIRECTORY=$DIR/pipe; }

@test "a limit of time holds for the slice, not for each of its processes" {
  virtual_machine H100-SXM5-80GB
  served
  run tranche run --local --compute 30% -- "$TENANTS/cuda_work" async 1000 3
  echo "one: $output"
  [[ $status -eq 0 ]]
  near "$output" 0.30
  run tranche run --local --compute 40% -- bash -c '
    for i in 1 2 3; do "$1" async 1000 4 & done; wait' - "$TENANTS/cuda_work"
  echo "three: $output"
  [[ $status -eq 0 && ${#lines[@]} -eq 3 ]]
  near "$(awk '{ sum += $1 } END { print sum }' <<<"$output")" 0.40
  # Kernels that leave half of the GPU to others are charged for half of the time.
  run tranche run --local --compute 30% -- "$TENANTS/cuda_work" async 1000 3 66
  echo "half: $output"
  near "$output" 0.60 0.05
}

# pair SHARE WORK SHARE WORK: two programs that begin together, as slices of the daemon; what each got.
pair() {
  LOADED=$((${LOADED:-0} + 2))
  sim clock "$M" --wait-for "$LOADED"
  # shellcheck disable=SC2086
  tranche run --memory 10GiB --compute "$1" --compute-limit 100% -- "$TENANTS/cuda_work" $2 >"$DIR/a" 3>&- &
  local first=$!
  # shellcheck disable=SC2086
  tranche run --memory 10GiB --compute "$3" --compute-limit 100% -- "$TENANTS/cuda_work" $4 >"$DIR/b" 3>&- &
  wait $first $!
  A=$(cat "$DIR/a") B=$(cat "$DIR/b")
  echo "$1 $2, $3 $4: $A $B"
}

@test "tenants that fit beside each other lose nothing, others have what they asked for" {
  virtual_machine H100-SXM5-80GB
  served
  start_daemon
  pair 50% "async 500 2 66" 50% "async 500 2 66"
  near "$A" 1
  near "$B" 1
  pair 30% "async 500 2" 70% "async 1000 2"
  near "$A" 0.3
  near "$B" 0.7
  pair 30% "async 1000 2 1320" 70% "async 50 2 1024"
  near "$A" 0.3
  near "$B" 0.7 0.05
  # Without a server the same two take turns.
  unset CUDA_MPS_PIPE_DIRECTORY
  pair 50% "async 500 2 66" 50% "async 500 2 66"
  near "$A" 0.5 0.05
  near "$B" 0.5 0.05
}

@test "beside a program that is no client all take turns" {
  virtual_machine H100-SXM5-80GB
  served
  start_daemon
  sim clock "$M" --wait-for 2
  tranche run --memory 10GiB --compute 30% --compute-limit 100% -- "$TENANTS/cuda_work" async 500 2 >"$DIR/a" 3>&- &
  local first=$!
  CUDA_MPS_PIPE_DIRECTORY=$DIR/none tranche run --memory 10GiB --compute 70% --compute-limit 100% -- \
    "$TENANTS/cuda_work" async 500 2 >"$DIR/b" 3>&- &
  wait $first $!
  cat "$DIR/a" "$DIR/b"
  near "$(cat "$DIR/a")" 0.3 0.05
  near "$(cat "$DIR/b")" 0.7 0.05
}

@test "explain says that the program is a client of MPS, and what the server's limits add" {
  machine H100-SXM5-80GB
  served --active-thread-percentage 50 --pinned-memory-limit 8GiB
  run tranche run --local --memory 10GiB --compute 30% --explain -o json -- true
  echo "$output"
  [[ $(jq -r .mps.sms <<<"$output") == 66 && $(jq -r .mps.sms_of_gpu <<<"$output") == 132 ]]
  [[ $(jq -c .enforced_by.compute <<<"$output") == '["mps","limiter"]' ]]
  [[ $(jq -r .guarantee.compute <<<"$output") == cooperative ]]
  [[ $(jq -r .why_not_harder <<<"$output") == *"66 of 132"* ]]
  unset CUDA_MPS_PIPE_DIRECTORY
  run tranche run --local --memory 10GiB --compute 30% --explain -o json -- true
  [[ $(jq .mps <<<"$output") == null && $(jq -c .enforced_by.compute <<<"$output") == '["limiter"]' ]]
}

@test "memory is held for the slice, whatever the server allows each of its processes" {
  machine H100-SXM5-80GB
  served --pinned-memory-limit 4GiB
  run tranche run --local --memory 1GiB -- "$TENANTS/cuda_fill" dlopen linear 10
  echo "$output"
  [[ $status -eq 0 && $output == *" 2 "*" 1073741824" ]]
  # The server's own limit is the lower one, for each process.
  run tranche run --local --memory 6GiB -- "$TENANTS/cuda_fill_any" dlopen linear 10
  echo "$output"
  local count code
  read -r count code _ <<<"$output"
  [[ $code -eq 2 && $count -lt 410 && $count -gt 300 ]]
}
