load common

# Replicas, batch and slice that follow from what is asked of a model and what it promises.

chat() { # NAME REQUESTS_PER_SECOND TTFT
  spec "$1" <<SPEC
version: 1
fleet:
  - {gpu: H100-SXM5-80GB, count: 8, price_per_hour: 2.40}
workloads:
  - name: chat
    isolation: hardware
    model: llama-3.1-8b
    traffic: {requests_per_second: $2, prompt_tokens: 512, output_tokens: 128}
    slo: {ttft_p99: $3, tokens_per_second: 20}
SPEC
}

@test "more traffic makes more replicas, and the reason says how many requests each gets" {
  chat little 1 500ms
  chat much 60 500ms
  "$TRANCHE_BIN/tranche" plan -f "$DIR/little.yaml" -o json >"$DIR/little.json"
  "$TRANCHE_BIN/tranche" plan -f "$DIR/much.yaml" -o json >"$DIR/much.json"
  jq -e '.feasible and (.placements | length) == 1' "$DIR/little.json"
  jq -e '.feasible and (.placements | length) > 1 and ([.placements[].reasons[]] | any(test("requests per second over [0-9]+ replicas are")))' "$DIR/much.json"
  # What was chosen stands in the plan's spec: applying it needs no second choice.
  jq -e '.spec.workloads[0].replicas == (.placements | length) and .spec.workloads[0].model.concurrency >= 1' "$DIR/much.json"
}

@test "--explain shows what else it could have been, and by how much that lost" {
  chat some 20 500ms
  run "$TRANCHE_BIN/tranche" plan -f "$DIR/some.yaml" --explain chat
  [[ $status -eq 0 && $output == *"within its slo (ttft_p99 500ms, 20 tokens per second)"* && $output == *"may be off by"* ]]
  [[ $output == *chosen* ]]
}

@test "an SLO that no GPU keeps says what breaks it and what would do, with exit 3" {
  chat impossible 1 2ms
  fails_with 3 "$TRANCHE_BIN/tranche" plan -f "$DIR/impossible.yaml"
  [[ $output == *"a first token takes"* && $output == *"nearest: slo: ttft_p99 "* ]]
}

@test "negative traffic, objectives that contradict and unknown models are told at once" {
  spec wrong <<'SPEC'
version: 1
workloads:
  - {name: a, model: lama-3.1-8b, traffic: {requests_per_second: -4}}
  - {name: b, model: phi-4, slo: {ttft_p99: 2s, latency_p99: 1s}}
SPEC
  fails_with 64 "$TRANCHE_BIN/tranche" plan -f "$DIR/wrong.yaml"
  [[ $output == *"requests_per_second cannot be -4"* && $output == *"did you mean 'llama-3.1-8b'"* ]]
  [[ $output == *"latency_p99 is shorter than ttft_p99"* ]]
}

@test "a plan predicts with the coefficients that it is given, or that are configured, and names them" {
  chat mine 4 500ms
  "$TRANCHE_BIN/tranche" plan -f "$DIR/mine.yaml" -o json | jq -e '[.placements[].reasons[]] | any(test("predicted with the built-in coefficients"))'
  printf 'program,seconds\nmine,0.05\n' >"$DIR/one.csv"
  "$TRANCHE_BIN/tranche" calibrate "$DIR/one.csv" --out "$DIR/own.yaml"
  "$TRANCHE_BIN/tranche" plan -f "$DIR/mine.yaml" --coefficients "$DIR/own.yaml" -o json | jq -e '[.placements[].reasons[]] | any(test("predicted with .*own.yaml"))'
  mkdir -p "$DIR/state/etc"
  mv "$DIR/own.yaml" "$DIR/state/etc/coefficients.yaml"
  TRANCHE_STATE_DIR="$DIR/state" "$TRANCHE_BIN/tranche" plan -f "$DIR/mine.yaml" -o json | jq -e '[.placements[].reasons[]] | any(test("predicted with .*etc/coefficients.yaml"))'
}

@test "an SLO that cannot be predicted is told, with what to add" {
  spec own <<'SPEC'
version: 1
fleet: [{gpu: H100-SXM5-80GB, count: 1, price_per_hour: 2.40}]
workloads:
  - {name: own, isolation: hardware, memory: 9GiB, command: [serve, "${PORT}"], slo: {ttft_p99: 500ms}}
SPEC
  "$TRANCHE_BIN/tranche" plan -f "$DIR/own.yaml" -o json | jq -e '.notes | any(test("whether own keeps its slo .* is not predicted.*names no model.*add, for example, model:"))'
}

@test "a daemon predicts with the coefficients of its own configuration" {
  machine H100-SXM5-80GB
  mkdir -p "$M/tranche/etc"
  printf 'program,seconds\nmine,0.05\n' >"$DIR/one.csv"
  "$TRANCHE_BIN/tranche" calibrate "$DIR/one.csv" --out "$M/tranche/etc/coefficients.yaml"
  start_daemon
  chat here 4 500ms
  sed -i '/fleet:/d; /gpu: H100/d' "$DIR/here.yaml"
  tranche plan -f "$DIR/here.yaml" -o json >"$DIR/here.json"
  jq -e '[.placements[].reasons[]] | any(test("predicted with .*etc/coefficients.yaml"))' "$DIR/here.json"
  fails_with 64 tranche plan -f "$DIR/here.yaml" --coefficients "$M/tranche/etc/coefficients.yaml"
  [[ $output == *"the daemon makes this plan"* ]]
  echo 'nonsense: 1' >"$M/tranche/etc/coefficients.yaml"
  fails_with 64 tranche plan -f "$DIR/here.yaml"
  [[ $output == *coefficients.yaml* ]]
}
