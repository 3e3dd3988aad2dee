load common

@test "inventory shows instances with their placements, and says what is not ours" {
  machine H100-SXM5-80GB
  # Somebody else's: made by hand, before there was a daemon.
  make_foreign_instance 19
  run tranche inventory
  [[ $status -eq 0 ]]
  [[ $output == *"H100-SXM5-80GB"* && $output == *"|1|"* ]]
  start_daemon
  run tranche inventory
  [[ $status -eq 0 && $output == *"not ours"* ]]
}

@test "inventory -o json is a machine that can be planned on" {
  machine A100-SXM4-40GB A100-SXM4-40GB
  tranche inventory -o json >"$DIR/machine.json"
  [[ $(jq -r .format_version "$DIR/machine.json") == 1.0 ]]
  [[ $(jq '.gpus | length' "$DIR/machine.json") == 2 ]]
  "$TRANCHE_BIN/tranche" inventory --machine "$DIR/machine.json" | grep -q A100-SXM4-40GB
}

@test "inventory without a driver says so with 69" {
  TRANCHE_STATE_DIR=$DIR/state fails_with 69 "$TRANCHE_BIN/tranche" inventory -o json --socket "$DIR/none"
}
