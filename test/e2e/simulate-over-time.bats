bats_require_minimum_version 1.5.0
load common

# Nodes whose GPUs MIG can divide and others, and two days of workloads: instances, shares, whole GPUs, borrowers.
write_days() {
  {
    echo "sn,cpu_milli,memory_mib,gpu,model"
    for i in 1 2 3; do echo "h$i,192000,2097152,8,H100-SXM5-80GB"; done
    echo "l1,64000,262144,4,L40S"
  } > "$DIR/nodes.csv"
  awk 'BEGIN {
    print "name,cpu_milli,memory_mib,num_gpu,gpu_milli,mig_profile,preemptible,creation_time,deletion_time"
    split("1g.10gb 2g.20gb 3g.40gb 7g.80gb 1g.10gb", profile, " ")
    for (i = 0; i < 600; ++i) {
      at = i * 300; runs = 3000 + (i * 7919) % 9000; day = int(at / 86400)
      if (i % 3 < 2) printf "p%d,2000,8192,1,0,%s,0,%d,%d\n", i, profile[1 + (i + day * 2) % (day + 3)], at, at + runs
      else printf "p%d,4000,8192,1,%d,,%d,%d,%d\n", i, i % 2 ? 500 : 1000, i % 4 < 2, at, at + runs
    }
  }' > "$DIR/pods.csv"
}

simulate() { "$TRANCHE_BIN/tranche" simulate "$@"; }
over_time() { simulate --nodes "$DIR/nodes.csv" --pods "$DIR/pods.csv" --timeline "$@"; }

@test "MIG: layouts as workloads come, or fixed by day" {
  write_days
  over_time --policy bestfit,fgd,tranche --wait-slo 1m -o json > "$DIR/policy.json"
  over_time --policy bestfit,fgd,tranche --wait-slo 1m --layouts daily -o json > "$DIR/daily.json"
  for file in policy daily; do
    jq -e '.policies | length == 3 and all(.finished == 600 and .never_fits == 0)' "$DIR/$file.json"
  done
  # What is fixed ahead fits less.
  jq -es '([.[0].policies[].slo_misses] | add) < ([.[1].policies[].slo_misses] | add)' "$DIR/policy.json" "$DIR/daily.json"
  sed -i 's/7g.80gb/7g.81gb/' "$DIR/pods.csv"
  fails_with 64 over_time
  [[ $output == *"no GPU of the nodes has '7g.81gb'"* && $output == *"did you mean '7g.80gb'?"* ]]
}

@test "leases, borrowers, failures of GPUs, power of each model" {
  write_days
  over_time --policy tranche --lease 1h --gpu-mtbf 100h --repair 30m --checkpoint 10m --idle-watts 50 -o json > "$DIR/out.json"
  jq -e '.policies[0] | .finished == 600 and .renewed > 300 and .restarted > 0 and .energy_kwh > 0 and has("cost") == false' "$DIR/out.json"
  jq -e '.policies[0].timeline | any(.gpus_down > 0)' "$DIR/out.json"
  head -2 "$DIR/nodes.csv" > "$DIR/few.csv"
  simulate --nodes "$DIR/few.csv" --pods "$DIR/pods.csv" --timeline --policy tranche --prices <(echo '{"H100-SXM5-80GB": 2.5}') -o json > "$DIR/out.json"
  jq -e '.policies[0] | .preempted > 0 and .lost_gpu_hours > 0 and .cost > 0' "$DIR/out.json"
  fails_with 64 over_time --prices <(echo '{"H100-SXM5-80GB": 2.5}')
  [[ $output == *"L40S"* ]]
}

@test "how many nodes of which kind hold the workloads" {
  write_days
  simulate --nodes "$DIR/nodes.csv" --pods "$DIR/pods.csv" --find-capacity --wait-slo 5m --price-per-hour 2 -o json > "$DIR/out.json"
  jq -e '.answers | length > 0 and all(.missed_percent <= 1 and .missed_percent_with_one_node_less > 1 and .cost_per_hour > 0)' "$DIR/out.json"
  jq -e '[.answers[].cost_per_hour] | . == sort' "$DIR/out.json"
  jq -e '.none | length == 1 and .[0].gpu == "L40S" and (.[0].because | test("fit no such node"))' "$DIR/out.json"
  fails_with 64 simulate --nodes "$DIR/nodes.csv" --pods "$DIR/pods.csv" --find-capacity
  [[ $output == *"--wait-slo 5m"* ]]
  fails_with 3 simulate --nodes "$DIR/nodes.csv" --pods "$DIR/pods.csv" --find-capacity --wait-slo 5m --most 1
}

@test "requests to a model: replayed, drawn, on as many GPUs as it takes" {
  awk 'BEGIN { print "arrived_at,num_prefill_tokens,num_decode_tokens"; for (i = 0; i < 600; ++i) printf "%.2f,%d,%d\n", i / 8, 100 + i * 37 % 2000, 20 + i * 11 % 300 }' > "$DIR/requests.csv"
  simulate --requests "$DIR/requests.csv" --model llama-3.1-8b --gpu H100-SXM5-80GB,L40S,H100-SXM5-80GB:1g.10gb --replicas 2 --ttft 500ms --tpot 50ms \
    --price-per-hour 2 --idle-watts 50 --mtbf 1m --repair 5s --html "$DIR/out.html" -o json > "$DIR/out.json"
  jq -e '.requests == 600 and (.servers | length == 2 and all(.finished == 600 and .cost_per_million_tokens > 0 and .energy_kwh > 0))' "$DIR/out.json"
  jq -e '.servers[0].first_token_seconds.p95 < .servers[1].first_token_seconds.p95' "$DIR/out.json"
  jq -e '.none[0].gpu == "H100-SXM5-80GB:1g.10gb" and (.none[0].because | length > 20)' "$DIR/out.json"
  grep -q '<svg' "$DIR/out.html"
  run ! grep -qE 'https?:|<script|src=' "$DIR/out.html"

  # Ten times as many at once take more; the answer holds, and one less does not.
  for inflate in 1 10; do
    simulate --requests "$DIR/requests.csv" --inflate $inflate --model llama-3.1-8b --gpu L40S --ttft 2s --tpot 60ms --find-capacity -o json > "$DIR/$inflate.json"
    jq -e '.servers[0] | .missed_percent <= 1 and (.replicas == 1 or .missed_percent_with_one_replica_less > 1)' "$DIR/$inflate.json"
  done
  [ "$(jq .servers[0].replicas "$DIR/10.json")" -gt "$(jq .servers[0].replicas "$DIR/1.json")" ]

  simulate --rate 5 --duration 10m --model llama-3.1-8b --gpu L40S -o csv | head -1 | grep -q '^servers,at_seconds,running,waiting'
  fails_with 64 simulate --rate -5 --nodes x --daily-peak 3
  [[ $output == *"--model is missing"* && $output == *"-5 is not above 0"* && $output == *"--nodes is not about requests"* ]]
  fails_with 64 simulate --rate 5 --model lama-3.1-8b --gpu L40S
  [[ $output == *"llama-3.1-8b"* ]]
  # No number of them answers that fast.
  fails_with 3 simulate --rate 5 --duration 5m --model llama-3.1-8b --gpu L40S --tpot 1ms --find-capacity
  [[ $output == *"even alone"* ]]
}
