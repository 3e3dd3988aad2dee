load common

@test "every broken spec in test/golden gets its message and 64, and changes nothing" {
  machine H100-SXM5-80GB
  start_daemon
  before=$(layout)
  cd "$TRANCHE_SOURCE/test/golden"
  count=0
  for expected in *.expected; do
    file=${expected%.expected}.yaml
    code=0
    "$TRANCHE_BIN/tranche" plan -f "$file" --socket "$DIR/none" >"$DIR/out" 2>"$DIR/err" </dev/null || code=$?
    [[ $code -eq 64 ]] || { echo "$file: exit code $code"; cat "$DIR/err"; return 1; }
    [[ ! -s $DIR/out ]]
    head -n -1 "$DIR/err" | diff - "$expected" || { echo "$file: another message"; return 1; }
    count=$((count + 1))
  done
  [[ $count -ge 40 ]]
  fails_with 64 apply -f 012-unknown-keys.yaml
  [[ $(layout) == "$before" ]]
}

@test "hostile files end with 64, in bounded time and memory" {
  head -c 100000000 /dev/zero | tr '\0' 'a' >"$DIR/large.yaml"
  for file in "$DIR/large.yaml" /dev/zero "$DIR" /no/such/file; do
    fails_with 64 timeout 20 "$TRANCHE_BIN/tranche" plan -f "$file" --socket "$DIR/none"
  done
}
