load common

# run_in ACCESS FAMILY CHUNK_MIB [COUNT [THEN]]: a tenant within 1 GiB.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
tenant() {
  local program=cuda_fill
  [[ $1 == linked ]] && program=cuda_fill_linked
  printf '%s\n' "$TENANTS/$program" "$@"
}
held() { sim show "$M" -o json | jq '[.gpus[].processes[].memory_bytes] | add // 0'; }
limited() {
  local words
  mapfile -t words < <(tenant "$@")
  tranche run --local --memory 1GiB -- "${words[@]}"
}
GIB=$((1 << 30))

@test "every family of allocations is held, and what the machine holds is what the ledger says" {
  machine H100-SXM5-80GB
  local family
  for family in linear small pitch managed async pool vmm vmm-released array mipmap graph; do
    local size=10
    [[ $family == small ]] && size=0.3
    mkfifo "$DIR/in.$family"
    limited dlopen $family $size 100000 hold <"$DIR/in.$family" >"$DIR/out.$family" 3>&- &
    local runner=$!
    exec 9>"$DIR/in.$family"
    eventually test -s "$DIR/out.$family"
    read -r count code used total <"$DIR/out.$family"
    echo "$family: $count $code $used $total, held $(held)"
    [[ $code == 2 && $total == "$GIB" && $count -gt 0 ]]
    [[ $(held) -le $GIB && $(held) == "$used" ]]
    exec 9>&-
    wait $runner
  done
}

@test "by whatever way a program finds the driver" {
  machine H100-SXM5-80GB
  local access
  for access in linked dlopen deepbind proc; do
    run limited $access linear 10
    echo "$access: $output"
    [[ $status -eq 0 && $output == "50 2 $GIB $GIB" ]]
  done
}

@test "what is given back can be taken again, as often as before" {
  machine H100-SXM5-80GB
  local family
  for family in linear small async vmm-released array; do
    run limited linked $family 10 100000 again
    echo "$family: $output"
    [[ $status -eq 0 ]]
  done
}

@test "processes of one slice share it, and a killed one gives its part back" {
  machine H100-SXM5-80GB
  tranche run --local --memory 2GiB -- bash -c '
    program=$1 out=$2
    $program dlopen linear 10 60 hold < <(sleep 100) >$out.a &
    first=$!
    until [[ -s $out.a ]]; do sleep 0.05; done
    $program dlopen linear 10 >$out.b
    kill -9 $first
    wait $first
    $program dlopen linear 10 >$out.c' - "$TENANTS/cuda_fill" "$DIR/out" 3>&-
  cat "$DIR"/out.?
  read -r _ code_a used_a _ <"$DIR/out.a"
  read -r count_b code_b used_b _ <"$DIR/out.b"
  read -r count_c code_c _ _ <"$DIR/out.c"
  [[ $code_a == 0 && $code_b == 2 && $code_c == 2 ]]
  # All that both hold counts for both.
  [[ $used_b -le $((2 * GIB)) && $used_b -gt $((2 * GIB - 10 * 1024 * 1024)) ]]
  [[ $count_c -gt $((count_b + 60)) ]]
}

# The limits are words in a file that nobody else may touch.
@test "the slice is private while it lives and gone afterwards" {
  machine H100-SXM5-80GB
  run tranche run --local --memory 1GiB -- sh -c 'stat -c %a "$TRANCHE_SLICE_FILE"; echo "$TRANCHE_SLICE_FILE"'
  [[ $status -eq 0 && ${lines[0]} == 600 && ! -e ${lines[1]} ]]
}

@test "a slice that is named but not there grants nothing" {
  machine H100-SXM5-80GB
  run on_machine env "LD_LIBRARY_PATH=$TRANCHE_BIN/../lib/tranche:$TRANCHE_BIN/../lib/sim" \
    TRANCHE_SLICE_FILE="$DIR/none" "$TENANTS/cuda_fill" dlopen linear 10
  [[ $status -eq 1 && $output == "cuInit: 802" ]]
}

@test "without a slice the library is the driver's, as if it were not there" {
  machine H100-SXM5-80GB
  run on_machine env "LD_LIBRARY_PATH=$TRANCHE_BIN/../lib/tranche:$TRANCHE_BIN/../lib/sim" \
    "$TENANTS/cuda_fill" dlopen linear 100 20
  [[ $status -eq 0 && $output == "20 0 "* && $output != *" $GIB" ]]
}
