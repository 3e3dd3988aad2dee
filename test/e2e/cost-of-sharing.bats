load common

# `tranche cost` needs no GPU, no daemon and no rights. The figures are those that published pages on sharing give
# for the same inputs; docs/claims.md says which of them hold.

cost() { "$TRANCHE_BIN/tranche" cost "$@" -o json; }
# is FILTER ARGUMENTS...: the JSON answer makes the filter true.
is() {
  local filter=$1
  shift
  cost "$@" >"$DIR/answer.json"
  jq -e "$filter" "$DIR/answer.json" >/dev/null || { cat "$DIR/answer.json"; return 1; }
}
cents() { echo "(.$1 * 100 | round) == $2"; }

@test "a million tokens costs what the published table says" {
  is "$(cents cost_per_million_tokens 14) and .currency == \"USD\"" tokens --price-per-hour 2.01 --tokens-per-second 4000
  is "$(cents cost_per_million_tokens 17)" tokens --price-per-hour 2.01 --tenants 3 --tokens-per-second 1100
  is "$(cents cost_per_million_tokens 26)" tokens --price-per-hour 2.06 --tokens-per-second 2200
  is "$(cents cost_per_million_tokens 20)" tokens --price-per-hour 2.06 --tenants 2 --tokens-per-second 1400
  is "$(cents cost_per_million_tokens 9)" tokens --price-per-hour 0.51 --tokens-per-second 1500
}

@test "a share costs what the published calculator says" {
  is "$(cents cost_per_workload_per_hour 95) and $(cents saving_fraction 73) and .gpu_hours_recovered_per_day == 180" \
    share --gpus 10 --price-per-hour 3.50 --tenants 4 --mechanism time-slicing
  is ".break_even_utilization == 0.23 and .pays == false" \
    share --gpus 10 --price-per-hour 3.50 --tenants 4 --mechanism time-slicing --utilization 30%
}

@test "parts of a price, and GPUs of their own, come out as published" {
  is "$(cents price_per_workload_per_hour 103)" share --price-per-hour 2.06 --tenants 2 --mechanism mps
  is '.options[0] | .gpus == 7 and (.cost_per_hour * 100 | round) == 357' \
    compare --gpu RTX4090 --price-per-hour 0.51 --workloads 7 --memory 9GiB --mechanism exclusive
  is '.options[0] | (.cost_per_hour * 100 | round) == 153' \
    compare --gpu RTX4090 --price-per-hour 0.51 --workloads 3 --memory 9GiB --mechanism exclusive
}

@test "months, slices and spot come out as published" {
  is '[.options[] | select(.mechanism == "exclusive") | .cost_per_month] == [9490]' \
    compare --gpu A100-SXM4-80GB --price-per-hour 3.25 --workloads 4 --memory 9GiB
  is '[.options[] | select(.mechanism | IN("mig", "mps", "time-slicing")) | .cost_per_month | round] | unique == [2373]' \
    compare --gpu A100-SXM4-80GB --price-per-hour 3.25 --workloads 4 --memory 9GiB --tenants 4
  is '.slices | map({key: .profile, value: (.cost_per_hour * 100 | round)}) | from_entries | .["2g.20gb"] == 67 and .["1g.10gb"] == 29' \
    slice --gpu H100-PCIE-80GB --price-per-hour 2.01
  is '.options | map(select(.billing == "spot" and .mechanism == "mig"))[0].saving_fraction | . > 0.93 and . < 0.95' \
    compare --gpu A100-SXM4-80GB --price-per-hour 1.05 --spot-price-per-hour 0.45 --workloads 7 --memory 9GiB
}

@test "sharing stops paying where the parts cost the GPU" {
  is '.break_even_tokens_per_second == 2200 and .break_even_parts == 2 and .always_pays == false' \
    break-even --price-per-hour 2.01 --tokens-per-second 4000 --shared-tokens-per-second 1100 --tenants 3
  is '.always_pays == true and (has("break_even_tokens_per_second") | not)' \
    break-even --price-per-hour 2.06 --tokens-per-second 2200 --shared-tokens-per-second 1400 --tenants 2
}

@test "prices come from a file, a folder, or the configuration, and the GPUs are compared" {
  mkdir -p "$DIR/state/etc/prices"
  cat >"$DIR/own.csv" <<'CSV'
gpu,price_per_hour,spot_price_per_hour
H100-SXM5-80GB,2.40,
A100-SXM4-80GB,1.05,0.45
A100-PCIE-80GB,1.07,
L40S,2.04,
CSV
  # One H100 in slices, three A100s, one L40S in turns; 24 % below the cheapest GPUs of their own.
  cost compare --prices "$DIR/own.csv" --workloads 3 --memory 14.4GB >"$DIR/three.json"
  jq -e '.baseline.gpu == "A100-SXM4-80GB" and (.baseline.cost_per_hour * 100 | round) == 315' "$DIR/three.json"
  jq -e '.options | map(select(.gpu == "H100-SXM5-80GB" and .mechanism == "mig"))[0] |
    .cost_per_hour == 2.4 and (.saving_fraction * 100 | round) == 24' "$DIR/three.json"
  jq -e '.options | map(select(.gpu == "A100-PCIE-80GB" and .mechanism == "exclusive"))[0].cost_per_hour * 100 | round == 321' "$DIR/three.json"
  jq -e '.options | map(select(.gpu == "L40S" and .mechanism == "time-slicing"))[0].cost_per_hour == 2.04' "$DIR/three.json"

  cat >"$DIR/state/etc/prices/lambda.csv" <<'CSV'
InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,SpotPrice
gpu_8x_v100,V100,8.0,92.0,448.0,6.32,us-east-1,"{'Gpus': [{'Name': 'V100', 'MemoryInfo': {'SizeInMiB': 16384}}]}",
CSV
  TRANCHE_STATE_DIR=$DIR/state is '.prices | length == 1 and .[0].gpu == "V100-SXM2-16GB" and .[0].price_per_hour == 0.79' prices
  TRANCHE_STATE_DIR=$DIR/state is '.price_per_hour == 0.79 and (.price_source | endswith("lambda.csv:2"))' \
    tokens --gpu v100-16gb --tokens-per-second 100
  # What it prints as CSV it reads again.
  "$TRANCHE_BIN/tranche" cost prices --prices "$DIR/own.csv" -o csv >"$DIR/again.csv"
  is '.prices | length == 5' prices --prices "$DIR/again.csv"
}

@test "what makes no sense is one clear error, all mistakes at once, with 64" {
  fails_with 64 "$TRANCHE_BIN/tranche" cost tokens --price-per-hour -2 --tokens-per-second abc
  [[ $output == *"--tokens-per-second 'abc' is not a number"* && $output == *"--price-per-hour -2 is not above 0"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" cost tokens --price-per-hour 2 --tokens-per-second -4000
  fails_with 64 "$TRANCHE_BIN/tranche" cost break-even --price-per-hour 2 --tokens-per-second 10 --tenants 3 --mechanism mps --traffic -1
  fails_with 64 "$TRANCHE_BIN/tranche" cost tokens --tokens-per-second 4000
  [[ $output == *"no price"* ]]
  TRANCHE_STATE_DIR=$DIR/none fails_with 64 "$TRANCHE_BIN/tranche" cost tokens --gpu l40s --tokens-per-second 4000
  [[ $output == *"no price of L40S is known"* && $output == *"--prices FILE"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" cost tokns
  [[ $output == *"did you mean 'tokens'?"* ]]
  printf 'gpu,price_per_hour\nL4,-1\nT4,x\n' >"$DIR/bad.csv"
  fails_with 64 "$TRANCHE_BIN/tranche" cost prices --prices "$DIR/bad.csv"
  [[ $output == *"bad.csv:2: "* && $output == *"bad.csv:3: "* ]]
  truncate -s 100M "$DIR/huge.csv"
  fails_with 64 "$TRANCHE_BIN/tranche" cost prices --prices "$DIR/huge.csv"
  [[ $output == *"larger than 64 MiB"* ]]
  fails_with 3 "$TRANCHE_BIN/tranche" cost compare --gpu L4 --price-per-hour 1 --workloads 2 --memory 80GiB
}
