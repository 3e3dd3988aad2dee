load common

@test "run gives the program's own exit code, its streams and its arguments" {
  machine H100-SXM5-80GB
  run tranche run --local --memory 1GiB -- sh -c 'cat; echo "$1"; exit 7' - 'a  b' <<<in
  [[ $status -eq 7 && ${lines[0]} == in && ${lines[1]} == 'a  b' ]]
  fails_with 143 tranche run --local --memory 1GiB -- sh -c 'kill -TERM $$'
}

@test "a signal to run reaches the program" {
  machine H100-SXM5-80GB
  "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranche" run --local --memory 1GiB -- \
    bash -c 'trap "exit 9" TERM; touch "$1"; while :; do sleep 0.05; done' - "$DIR/ready" 3>&- &
  local runner=$!
  eventually test -e "$DIR/ready"
  kill -TERM $runner
  local code=0
  wait $runner || code=$?
  [[ $code -eq 9 ]]
}

@test "a program that is not there is 127, one that cannot be executed 126" {
  machine H100-SXM5-80GB
  fails_with 127 tranche run --local --memory 1GiB -- no-such-program
  touch "$DIR/plain"
  fails_with 126 tranche run --local --memory 1GiB -- "$DIR/plain"
}

@test "anything of ours is 125, and one clear error" {
  machine H100-SXM5-80GB
  local options
  for options in "--memory 0B" "--memory 10" "--memory 100GiB" "--memory 1MiB" "--memory 1GiB --gpu 7" \
    "--compute 101%" "--compute 0%" "--compute 30% --compute-limit 20%" "--memory 1GiB --compute-limit 20%" "" "--memory 1GiB --gpu H100-SXM5-80GBB" "--memroy 1GiB"; do
    fails_with 125 tranche run --local $options -- true
    [[ $output == *"tranche"* || ${#output} -gt 10 ]]
    [[ $(grep -c '^' <<<"$output") -le 2 ]] || { echo "$options: $output"; return 1; }
  done
  fails_with 125 tranche run --memory 1GiB -- true
  fails_with 125 tranche run --local --memory 1GiB
  fails_with 125 tranche run --local --memory 1GiB --mechanism mig -- true
  [[ $output == *"tranche apply"* ]]
  fails_with 125 tranche run --local --memory 1GiB --mechanism fractoin -- true
  [[ $output == *fraction* ]]
  tranche run --local --memory 1GiB --mechanism fraction -- true
}

@test "--explain uses the general codes, says how hard and why not harder, and runs nothing" {
  machine H100-SXM5-80GB
  run tranche run --local --memory 1GiB --explain -o json -- touch "$DIR/ran"
  [[ $status -eq 0 && ! -e $DIR/ran ]]
  [[ $(jq -r .guarantee.memory <<<"$output") == cooperative ]]
  [[ $(jq -r .memory_limit_bytes <<<"$output") == 1073741824 ]]
  [[ $(jq -r .why_not_harder <<<"$output") == *MIG* ]]
  fails_with 3 tranche run --local --memory 100GiB --explain -- true
  fails_with 64 tranche run --local --memory 0B --explain -- true
  fails_with 64 tranche run --local --memory 1GiB --gpu 7 --explain -- true
}

@test "a program that no limiter can be loaded into is refused before it starts" {
  machine H100-SXM5-80GB
  echo 'int main(void) { return 0; }' >"$DIR/s.c"
  gcc -static -o "$DIR/static" "$DIR/s.c"
  fails_with 125 tranche run --local --memory 1GiB -- "$DIR/static"
  [[ $output == *"statically linked"* ]]
  musl-gcc -o "$DIR/musl" "$DIR/s.c"
  fails_with 125 tranche run --local --memory 1GiB -- "$DIR/musl"
  [[ $output == *"another C library than glibc (/lib/ld-musl"* ]]
}

@test "two dashes end the options of run only" {
  machine H100-SXM5-80GB
  run tranche run --local --memory 1GiB -- echo -o json -- --help
  [[ $status -eq 0 && $output == "-o json -- --help" ]]
}

@test "without a driver run says so" {
  TRANCHE_STATE_DIR=$DIR/state fails_with 125 "$TRANCHE_BIN/tranche" run --local --memory 1GiB -- true
}
