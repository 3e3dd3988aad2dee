load common

@test "typos are told the nearest word, with 64" {
  fails_with 64 "$TRANCHE_BIN/tranche" invetory
  [[ $output == *"did you mean 'inventory'?"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" plan --adpot
  [[ $output == *"did you mean '--adopt'?"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" catalog gpu
  [[ $output == *"did you mean 'gpus'?"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" plan -o jsno -f x
  fails_with 64 "$TRANCHE_BIN/tranche" plan
  fails_with 64 "$TRANCHE_BIN/tranche" plan -f
  fails_with 64 "$TRANCHE_BIN/tranched" --no-such-flag
}

@test "without a daemon, verbs that need one say how to start it, with 69" {
  for verb in status "logs phi" "stop phi" "down --yes"; do
    # shellcheck disable=SC2086
    fails_with 69 "$TRANCHE_BIN/tranche" $verb --socket "$DIR/none"
    [[ $output == *tranched* ]]
  done
}

@test "apply with nobody to ask refuses with 64 and says so" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  fails_with 64 tranche apply -f "$DIR/two.yaml" </dev/null
  [[ $output == *"--yes"* ]]
}
