load common

@test "a spec with a fleet is planned with no GPU, no daemon and no rights" {
  run "$TRANCHE_BIN/tranche" plan -f "$TRANCHE_SOURCE/examples/fleet.yaml" --socket "$DIR/none"
  [[ $status -eq 0 ]]
  [[ ${lines[-1]} == "Plan: "*" to create, "*" to keep, "*" to change, "*" to destroy. Cost "*" USD per hour, "*"the least there is"*"." ]]
  [[ $output == *"x spot A100-SXM4-80GB at 0.45 USD per hour instead of 1.05 USD"* ]]
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

@test "prices come from a list, spot only for what is preemptible, and what no list knows is unknown" {
  cat >"$DIR/prices.csv" <<'CSV'
gpu,price_per_hour,spot,provider
L40S,1.10,false,a
L40S,0.40,true,a
H100,2.20,false,b
CSV
  spec priced <<'SPEC'
version: 1
fleet: [{gpu: H100-SXM5-80GB, count: 2}, {gpu: L40S, count: 2}, {gpu: T4, count: 1}]
workloads:
  - {name: firm, isolation: none, memory: 60GiB, command: [a]}
  - {name: nightly, isolation: none, memory: 30GiB, preemptible: true, command: [b], replicas: 2}
SPEC
  "$TRANCHE_BIN/tranche" plan -f "$DIR/priced.yaml" --prices "$DIR/prices.csv" -o json >"$DIR/priced.json"
  # One H100 on demand, two L40S that may be taken away.
  jq -e '(.cost_per_hour - 3.0 | fabs) < 1e-9 and ([.notes[]] | any(test("2 x spot L40S")) and any(test("no price for T4")))' "$DIR/priced.json"
  "$TRANCHE_BIN/tranche" plan -f "$DIR/priced.yaml" -o json >"$DIR/unpriced.json"
  jq -e '.cost_per_hour == null and ([.notes[]] | any(test("the cost per hour is not known")))' "$DIR/unpriced.json"
  sed -i 's/version: 1/version: 1\ncurrency: EUR/' "$DIR/priced.yaml"
  fails_with 64 "$TRANCHE_BIN/tranche" plan -f "$DIR/priced.yaml" --prices "$DIR/prices.csv"
  [[ $output == *"does not convert money"* ]]
}

@test "prices of the configuration are used where the spec states none, and the plan says so" {
  mkdir -p "$DIR/state/etc"
  printf 'gpu,price_per_hour\nH100,2.20\nL40S,1.10\n' >"$DIR/state/etc/prices.csv"
  spec kept <<'SPEC'
version: 1
fleet: [{gpu: H100-SXM5-80GB, count: 1}, {gpu: L40S, count: 1}]
workloads:
  - {name: small, isolation: none, memory: 30GiB, command: [a]}
SPEC
  TRANCHE_STATE_DIR="$DIR/state" "$TRANCHE_BIN/tranche" plan -f "$DIR/kept.yaml" -o json >"$DIR/kept.json" 2>"$DIR/said"
  jq -e '.cost_per_hour == 1.1 and .placements[0].gpu_model == "L40S" and .peak_power_watts == 350' "$DIR/kept.json"
  grep -q "Prices that the spec leaves out are from .*prices.csv" "$DIR/said"
}

@test "several share one MIG instance by MPS beside a tenant that needs hardware isolation" {
  spec shared <<'SPEC'
version: 1
fleet: [{gpu: H100-SXM5-80GB, count: 2, price_per_hour: 2.40}]
workloads:
  - {name: bank, isolation: hardware, memory: 39GiB, command: [a]}
  - {name: note, mechanism: mps, memory: 4GiB, replicas: 6, command: [b]}
  - {name: video, profile: 1g.10gb+me, command: [c]}
SPEC
  "$TRANCHE_BIN/tranche" plan -f "$DIR/shared.yaml" -o json >"$DIR/shared.json"
  jq -e '.cost_per_hour == 2.4 or .cost_per_hour == 4.8' "$DIR/shared.json"
  jq -e '[.placements[] | select(.workload == "note")] | length == 6
         and all(.mechanism == "mps" and .placement_size > 0 and (.profile | test("gb")) and .memory_bytes == 4294967296)
         and all(.guarantee.memory == "cooperative" and .guarantee.fault == "none")
         and ([.[].reasons[]] | any(test("kept apart in hardware")) and any(test("client processes there at most")))' "$DIR/shared.json"
  jq -e '[.placements[] | select(.workload == "video")][0].profile == "1g.10gb+me"' "$DIR/shared.json"
  # NVIDIA's device plugin knows no MPS within MIG; half of it would be another thing.
  fails_with 1 "$TRANCHE_BIN/tranche" export kubernetes --plan "$DIR/shared.json"
  [[ $output == *"NVIDIA's device plugin stops with an error where MPS is asked of a MIG device"* ]]
  "$TRANCHE_BIN/tranche" export shell --plan "$DIR/shared.json" >"$DIR/gpus.sh"
  grep -q '^mps() { env CUDA_VISIBLE_DEVICES="$GPU' "$DIR/gpus.sh"
  sed 's/1g.10gb+me/1g.10gb+mee/' "$DIR/shared.yaml" >"$DIR/typo.yaml"
  fails_with 64 "$TRANCHE_BIN/tranche" plan -f "$DIR/typo.yaml"
  [[ $output == *"typo.yaml:6:"*"did you mean '1g.10gb+me'"* ]]
}
