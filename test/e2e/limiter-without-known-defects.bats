load common

# What is known to go wrong in limiters of this kind, each as a test of its own. More of it is in run-holds-memory
# (every family of allocations), limit-holds-by-any-way, transparent-to-programs and nvml-shows-the-slice.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
ONE=357
limited() { tranche run --local --memory 4GiB -- "$@"; }
cases() { limited "$TENANTS/cuda_cases" "$@"; }
passes() {
  run "$@"
  [[ $status -eq 0 ]] || { echo "$status: $output"; return 1; }
}

@test "host memory is given when the device's is used up, by whatever call" {
  machine H100-SXM5-80GB
  passes cases host_when_full
}

@test "a context is charged until the last of its users leaves it, not the first" {
  machine H100-SXM5-80GB
  passes cases primary_twice
}

@test "memory of a pool may be freed by cuMemFree, and any by cuMemFreeAsync: all comes back" {
  machine H100-SXM5-80GB
  passes cases cross_free
}

@test "what is freed twice is given back once, so that use never falls below nothing" {
  machine H100-SXM5-80GB
  passes cases double_free
}

@test "with a limit below what is held cuMemGetInfo is no error, and nothing more is given" {
  machine H100-SXM5-80GB
  passes cases limit_below_use
}

@test "nvmlInit before cuInit changes nothing" {
  machine H100-SXM5-80GB:2
  passes cases nvml_first
  [[ $output == "$ONE" ]]
}

@test "devices by index, by UUID or reordered: the limit is on the slice's GPU, and the others give nothing" {
  machine H100-SXM5-80GB:2
  local first second
  first=$(sim show "$M" -o json | jq -r '.gpus[0].uuid')
  second=$(sim show "$M" -o json | jq -r '.gpus[1].uuid')
  local visible expected
  while read -r visible expected; do
    passes limited env CUDA_VISIBLE_DEVICES="$visible" "$TENANTS/cuda_cases" all_devices
    echo "$visible: ${lines[*]}"
    [[ ${lines[*]} == "$expected" ]]
  done <<EOF_
0 $ONE
1 0
0,1 $ONE 0
1,0 0 $ONE
$first,$second $ONE 0
$second,$first 0 $ONE
$second 0
EOF_
}

@test "cuInit makes no context and takes no memory" {
  machine H100-SXM5-80GB
  mkfifo "$DIR/in"
  cases only_init <"$DIR/in" >"$DIR/out" 3>&- &
  local runner=$!
  exec 9>"$DIR/in"
  eventually grep -q ready "$DIR/out"
  [[ $(sim show "$M" -o json | jq '[.gpus[].processes[].memory_bytes] | add // 0') == 0 ]]
  exec 9>&-
  wait $runner
}

@test "many processes that start at once hold the limit together" {
  machine H100-SXM5-80GB
  passes tranche run --local --memory 10GiB -- bash -c '
    mkfifo "$2"
    for i in $(seq 12); do
      { "$1/cuda_fill" dlopen linear 10 100000 hold <"$2" || echo none; } >"$2.out.$i" 2>/dev/null &
    done
    exec 9>"$2"
    for i in $(seq 12); do until [ -s "$2.out.$i" ]; do sleep 0.05; done; done
    cat "$2".out.*
    exec 9>&-
    wait' - "$TENANTS" "$DIR/in"
  echo "$output"
  # Some got no context any more. The contexts of the others, and the rest in pieces of 10 MiB.
  local count code sum=0 contexts=0 total
  while read -r count code _ total; do
    [[ $count != none ]] || continue
    [[ $code == 2 && $total == $((10 << 30)) ]]
    sum=$((sum + count)) contexts=$((contexts + 1))
  done <<<"$output"
  [[ $contexts -gt 0 && $sum -eq $(((10 * 1024 - contexts * 524) / 10)) ]]
}

# What one process holds must not be forgotten because another one left, or asked in vain.
@test "one leaves, one is refused, and what a third one holds is still counted" {
  machine H100-SXM5-80GB
  passes limited bash -c '
    hold() {
      mkfifo "$2.$3"
      "$1/cuda_fill" dlopen linear 10 "$4" hold <"$2.$3" >"$2.out.$3" 11>&- 12>&- 13>&- &
      eval "exec $5>\"$2.$3\""
      until [ -s "$2.out.$3" ]; do sleep 0.05; done
    }
    hold "$1" "$2" a 50 11
    hold "$1" "$2" b 50 12
    hold "$1" "$2" c 50 13
    exec 11>&-
    until [ "$(jobs -r | wc -l)" = 2 ]; do sleep 0.05; done
    "$1/cuda_fill" dlopen linear 10
    "$1/cuda_fill" dlopen linear 10
    exec 12>&- 13>&-
    wait' - "$TENANTS" "$DIR/in"
  echo "$output"
  # 4 GiB less three contexts, less 100 pieces held by two others.
  local expected=$(((4096 - 3 * 524) / 10 - 100))
  [[ ${lines[0]} == "$expected 2 "* && ${lines[1]} == "$expected 2 "* ]]
}

@test "after a storm of kills at any moment others go on, and all memory is back" {
  machine H100-SXM5-80GB
  passes limited bash -c '
    RANDOM=7
    for i in $(seq 40); do
      "$1/cuda_fill" dlopen small 0.3 100000 again >/dev/null 2>&1 &
      pid=$!
      sleep 0.0$((RANDOM % 9))
      kill -9 $pid
      wait $pid 2>/dev/null
    done
    "$1/cuda_fill" dlopen linear 10' - "$TENANTS"
  [[ ${lines[-1]} == "$ONE 2 "* ]] || { echo "$output"; return 1; }
}

# Limits that were asked for and cannot be held are an error, not a hope.
@test "a slice that is cut off, of another version or no slice at all grants nothing" {
  machine H100-SXM5-80GB
  local uuid
  uuid=$(sim show "$M" -o json | jq -r '.gpus[0].uuid')
  "$TENANTS/make_slice" "$DIR/good" 4096 "$uuid"
  cp "$DIR/good" "$DIR/cut"
  truncate -s -1 "$DIR/cut"
  cp "$DIR/good" "$DIR/newer"
  printf '\xff' | dd of="$DIR/newer" bs=1 seek=8 conv=notrunc status=none
  cp "$DIR/good" "$DIR/other"
  printf 'x' | dd of="$DIR/other" bs=1 conv=notrunc status=none
  ln -s "$DIR/good" "$DIR/link"
  local path="$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim" file
  for file in cut newer other link; do
    run on_machine env LD_LIBRARY_PATH="$path" TRANCHE_SLICE_FILE="$DIR/$file" "$TENANTS/cuda_fill" dlopen linear 10
    echo "$file: $output"
    [[ $status -eq 1 && $output == "cuInit: 802" ]]
  done
  run on_machine env LD_LIBRARY_PATH="$path" TRANCHE_SLICE_FILE="$DIR/good" "$TENANTS/cuda_fill" dlopen linear 10
  echo "$output"
  [[ $status -eq 0 && $output == *" 2 "*" $((4 << 30))" ]]
}

@test "each GPU of a slice has an account of its own: work on the one counts for the other in nothing" {
  virtual_machine H100-SXM5-80GB:2
  sim clock "$M" --wait-for 2
  local uuids
  mapfile -t uuids < <(sim show "$M" -o json | jq -r '.gpus[].uuid')
  run on_machine env LD_LIBRARY_PATH="$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim" \
    "$TENANTS/in_slice" "${uuids[0]}=4096:20" "${uuids[1]}=8192:60" -- bash -c '
      CUDA_VISIBLE_DEVICES='"${uuids[0]}"' "$0" async 1000 4 >"$1/a" &
      CUDA_VISIBLE_DEVICES='"${uuids[1]}"' "$0" async 1000 4 >"$1/b" &
      wait' "$TENANTS/cuda_work" "$DIR"
  echo "$output"
  cat "$DIR/a" "$DIR/b"
  [[ $status -eq 0 ]]
  awk '{ exit !($1 > 0.17 && $1 < 0.23) }' "$DIR/a"
  awk '{ exit !($1 > 0.55 && $1 < 0.65) }' "$DIR/b"
  # And what was charged is what each of them had.
  awk '/^gpu 0/ { a = $3 } /^gpu 1/ { b = $3 } END { exit !(a > 0.6e9 && a < 1.0e9 && b > 2.1e9 && b < 2.7e9) }' <<<"$output"
}

# As packages and installers do it: a new file under the name of the old one.
@test "the limiter may be replaced while programs run: they go on, and the next ones load the new one" {
  machine H100-SXM5-80GB
  local file
  mkdir -p "$DIR/new/bin" "$DIR/new/lib"
  cp "$TRANCHE_BIN/tranche" "$DIR/new/bin"
  cp -r "$TRANCHE_BIN/../lib/tranche" "$DIR/new/lib"
  on_machine "$DIR/new/bin/tranche" run --local --memory 4GiB --compute 50% -- \
    "$TENANTS/cuda_work" async 1000 4 >"$DIR/a" 3>&- &
  local runner=$!
  eventually pgrep -f "cuda_work async 1000 4"
  sleep 1
  for file in "$DIR"/new/lib/tranche/*.so.1; do
    cp "$file" "$file.next"
    mv "$file.next" "$file"
  done
  passes on_machine "$DIR/new/bin/tranche" run --local --memory 4GiB -- "$TENANTS/cuda_fill" dlopen linear 10
  [[ ${lines[-1]} == "$ONE 2 "* ]]
  wait $runner
  cat "$DIR/a"
  awk '{ exit !($1 > 0.4 && $1 < 0.6) }' "$DIR/a"
}
