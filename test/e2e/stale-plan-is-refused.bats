load common

@test "a plan kept in a file is applied without asking" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  tranche plan -f "$DIR/two.yaml" --out "$DIR/plan.json"
  tranche apply "$DIR/plan.json" "${ROOT[@]}" </dev/null
  is_state a healthy
}

@test "a plan for a machine that moved is refused with 4 and with what moved" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  tranche plan -f "$DIR/two.yaml" --out "$DIR/plan.json"
  make_foreign_instance 19
  before=$(layout)
  fails_with 4 tranche apply "$DIR/plan.json" "${ROOT[@]}"
  [[ $output == *"MIG"* || $output == *"1g.10gb"* ]]
  [[ $(layout) == "$before" ]]
}

@test "a plan on a fleet cannot be applied" {
  machine H100-SXM5-80GB
  start_daemon
  tranche plan -f "$TRANCHE_SOURCE/examples/fleet.yaml" --out "$DIR/plan.json"
  run tranche apply "$DIR/plan.json" "${ROOT[@]}"
  [[ $status -ne 0 ]]
  fails_with 64 tranche apply -f "$TRANCHE_SOURCE/examples/fleet.yaml" --yes
}
