bats_require_minimum_version 1.5.0
load common

# Forty nodes and two hundred pods of the format of the public traces.
write_trace() {
  {
    echo "sn,cpu_milli,memory_mib,gpu,model"
    for i in $(seq 30); do echo "n$i,96000,393216,8,G2"; done
    for i in $(seq 10); do echo "t$i,64000,262144,2,T4"; done
  } > "$DIR/nodes.csv"
  {
    echo "name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec"
    for i in $(seq 60); do echo "a$i,8000,16384,1,810,"; done
    for i in $(seq 60); do echo "b$i,4000,8192,1,470,"; done
    for i in $(seq 60); do echo "c$i,12000,16384,1,1000,"; done
    for i in $(seq 10); do echo "d$i,8000,30720,0,0,"; done
    for i in $(seq 5); do echo "e$i,64000,131072,8,1000,"; done
    for i in $(seq 5); do echo "f$i,8000,16384,1,1000,T4"; done
  } > "$DIR/pods.csv"
}

simulate() { "$TRANCHE_BIN/tranche" simulate --nodes "$DIR/nodes.csv" --pods "$DIR/pods.csv" "$@"; }

@test "the pinned call answers with the pinned keys, for every policy" {
  write_trace
  simulate --policy random,bestfit,dotprod,clustering,packing,fgd,tranche --seeds 42-44 --inflate 1.3 -o json > "$DIR/out.json"
  jq -e '.policies | length == 7' "$DIR/out.json"
  jq -e '[.policies[].policy] == ["random", "bestfit", "dotprod", "clustering", "packing", "fgd", "tranche"]' "$DIR/out.json"
  jq -e '.policies | all(.allocation_percent_mean > 50 and .allocation_percent_mean <= 100)' "$DIR/out.json"
  for key in allocation_percent_sd fragmentation_percent_mean cpu_only_placed_mean seconds; do
    jq -e ".policies | all(.$key | type == \"number\")" "$DIR/out.json"
  done
  # Nobody was told the answer: what learns does no worse than what draws.
  jq -e '[.policies[] | select(.policy == "tranche" or .policy == "random") | .allocation_percent_mean] | .[1] >= .[0]' "$DIR/out.json"
}

@test "the same seeds give the same answer; departures and moves too" {
  write_trace
  for options in "" "--departures --arrivals 2000" "--repack 0.05"; do
    # shellcheck disable=SC2086
    simulate --seeds 1,2 $options -o json | jq 'del(.policies[].seconds, .policies[].placements_per_second)' > "$DIR/first.json"
    # shellcheck disable=SC2086
    simulate --seeds 1,2 $options -o json | jq 'del(.policies[].seconds, .policies[].placements_per_second)' > "$DIR/second.json"
    cmp "$DIR/first.json" "$DIR/second.json"
  done
}

@test "bad input is told, all of it, with 64" {
  write_trace
  fails_with 64 simulate --policy fdg,tranch --seeds 9-1 --inflate -2
  [[ $output == *"did you mean 'fgd'?"* && $output == *"did you mean 'tranche'?"* ]]
  [[ $output == *"'9-1'"* && $output == *"-2 is not above 0"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" simulate --nodes "$DIR/none" --pods "$DIR/neither" --policy fdg
  [[ $output == *"no policy 'fdg'"*"$DIR/none"*"$DIR/neither"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" simulate --pods "$DIR/pods.csv"
  [[ $output == *"--nodes"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" simulate --nodes "$DIR/pods.csv" --pods "$DIR/pods.csv"
  [[ $output == *"has no column 'gpu'"* ]]
  sed -i 's/^a3,8000/a3,-8000/' "$DIR/pods.csv"
  fails_with 64 simulate
  [[ $output == *"pods.csv:4: cpu_milli is -8000"* ]]
  truncate -s 100M "$DIR/pods.csv"
  fails_with 64 simulate
  [[ $output == *"larger than"* ]]
}

@test "by the clock: waiting, failures, cost and energy, as a page, CSV and JSON" {
  write_trace
  fails_with 64 simulate --timeline
  [[ $output == *"creation_time"* ]]
  fails_with 64 simulate --patience 5m
  [[ $output == *"--timeline only"* ]]
  simulate --timeline --departures --arrivals 1500 --patience 30m --wait-slo 1m --mtbf 40h --price-per-hour 2 \
    --idle-watts 60 --busy-watts 300 --html "$DIR/out.html" -o json > "$DIR/out.json"
  jq -e '.policies | length == 2 and all(.finished + .gave_up + .never_fits == 1500)' "$DIR/out.json"
  jq -e '.policies | all(.cost > 0 and .energy_kwh > 0 and .restarted > 0 and (.timeline | length) > 200)' "$DIR/out.json"
  grep -q '<svg' "$DIR/out.html"
  run ! grep -qE 'https?:|<script|src=' "$DIR/out.html"
  simulate --timeline --departures --arrivals 300 -o csv | head -1 | grep -q '^policy,at_seconds,allocation_percent'
}
