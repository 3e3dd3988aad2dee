load common

@test "a spec with a fleet is planned with no GPU, no daemon and no rights" {
  run "$TRANCHE_BIN/tranche" plan -f "$TRANCHE_SOURCE/examples/fleet.yaml" --socket "$DIR/none"
  [[ $status -eq 0 ]]
  [[ ${lines[-1]} == "Plan: "*" to create, "*" to keep, "*" to change, "*" to destroy. Cost "*" USD per hour, at most "*"% above the least there is ("*" USD or more)." ]]
}

@test "what does not fit says why, what would fit, and exits with 3" {
  spec big <<'SPEC'
version: 1
fleet: [{gpu: L40S, count: 1}]
workloads: [{name: huge, isolation: hardware, memory: 500GiB, command: [sleep, "1"]}]
SPEC
  fails_with 3 "$TRANCHE_BIN/tranche" plan -f "$DIR/big.yaml" --detailed-exitcode
  [[ $output == *huge* && $output == *nearest* ]]
  "$TRANCHE_BIN/tranche" plan -f "$DIR/big.yaml" -o json 2>/dev/null |
    jq -e '.feasible == false and (.unplaced[0] | .workload == "huge" and .reason != "" and .nearest != "")' || [[ ${PIPESTATUS[0]} -eq 3 ]]
}

@test "--detailed-exitcode says 2 when there are changes" {
  fails_with 2 "$TRANCHE_BIN/tranche" plan -f "$TRANCHE_SOURCE/examples/fleet.yaml" --detailed-exitcode
}
