load common

@test "apply --local supervises in the foreground and stops cleanly on SIGTERM with 130" {
  machine H100-SXM5-80GB
  two_sleepers
  # A number that no other test sleeps.
  sed -i "s/1001/$((100000 + $$))/" "$DIR/two.yaml"
  "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranche" apply -f "$DIR/two.yaml" --yes --local "${ROOT[@]}" \
    3>&- >"$DIR/out" 2>"$DIR/err" &
  local_pid=$!
  eventually grep -qs "Supervising in the foreground" "$DIR/err" || { cat "$DIR/err"; return 1; }
  pid=$(pgrep -nf "^sleep $((100000 + $$))\$")
  kill -0 "$pid"
  kill -TERM "$local_pid"
  code=0
  wait "$local_pid" || code=$?
  [[ $code -eq 130 ]]
  grep -q "the GPUs keep their layout" "$DIR/err"
  ! kill -0 "$pid" 2>/dev/null
  [[ $(nvml | jq '.gpus[0].mig_instances | length') == 2 ]]
  tranche down --yes --local
  [[ $(nvml | jq '.gpus[0].mig_mode.current') == false ]]
}
