load common

capacity() { jq -r --arg t "$1" '.tiers[] | select(.tier == $t) | .slices' <<<"$output"; }
gpus_of() {
  tranche status -o json | jq -c --arg w "$1" '[.replicas[] | select(.workload == $w) | .gpu_index] | unique'
}

@test "the example is planned on paper, with what each tier holds" {
  run on_paper "$TRANCHE_SOURCE/examples/tiers.yaml"
  [[ $status == 0 ]]
  [[ $(capacity production) == 8 && $(capacity staging) == 4 && $(capacity development) == 8 ]]
  run "$TRANCHE_BIN/tranche" plan -f "$TRANCHE_SOURCE/examples/tiers.yaml"
  [[ $output == *"Tiers"*"production"*"4 GPUs, 4g.40gb and 3g.40gb on each"* ]]
  [[ $output == *"development: oversubscribed 4 times: each keeps to its memory by the limiter"* ]]
}
on_paper() { "$TRANCHE_BIN/tranche" plan -f "$1" -o json; }

@test "eight H100 at 4g are eight slices, sixteen only as 4g and 3g, and 32 in time slices" {
  spec eight <<'SPEC'
version: 1
fleet: [{gpu: H100-SXM5-80GB, count: 8}]
tiers:
  - {name: production, mechanism: mig, profile: 4g.40gb, gpus: [{gpu: H100-SXM5-80GB}]}
workloads:
  - {name: a, tier: production, memory: 30GiB, command: [sleep, "1"]}
SPEC
  run on_paper "$DIR/eight.yaml"
  [[ $(capacity production) == 8 ]]
  [[ $(jq -r '.tiers[0].notes[0]' <<<"$output") == "16 slices only as 4g.40gb and 3g.40gb: no other 4g.40gb fits beside it on one GPU" ]]
  [[ $(jq -r '.tiers[0].used' <<<"$output") == 1 ]]
  sed -i 's/profile: 4g.40gb/profile: [4g.40gb, 3g.40gb]/' "$DIR/eight.yaml"
  run on_paper "$DIR/eight.yaml"
  [[ $(capacity production) == 16 ]]
  sed -i 's/mechanism: mig, profile: .*\], gpus/mechanism: time-slicing, oversubscription: 4, gpus/' "$DIR/eight.yaml"
  run on_paper "$DIR/eight.yaml"
  [[ $(capacity production) == 32 ]]
  [[ $output == *"neither memory nor a share of the GPU's time is guaranteed"* ]]
}

three_tiers() {
  spec tiers <<'SPEC'
version: 1
tiers:
  - {name: production, mechanism: mig, isolation: hardware, profile: [4g.40gb, 3g.40gb], gpus: [{gpu: H100-SXM5-80GB}]}
  - {name: development, mechanism: time-slicing, oversubscription: 2, gpus: [{index: 1}]}
workloads:
  - {name: prod, tier: production, memory: 20GiB, command: [sleep, "1001"]}
  - {name: dev, tier: development, memory: 2GiB, replicas: 2, command: [sleep, "1001"]}
SPEC
}

@test "workloads go to their tier's GPUs, whose layout stays as it is fixed" {
  machine H100-SXM5-80GB L40S:2
  start_daemon
  three_tiers
  apply -f "$DIR/tiers.yaml"
  # The whole layout is there, whoever holds what of it.
  [[ $(nvml | jq -c '[.gpus[0].mig_instances[] | [.profile, .placement.start]] | sort') == '[["3g.40gb",4],["4g.40gb",0]]' ]]
  [[ $(gpus_of prod) == "[0]" && $(gpus_of dev) == "[1]" ]]
  run tranche status -o json
  [[ $(jq -c '[.tiers[] | [.tier, .slices, .used]]' <<<"$output") == '[["production",2,1],["development",2,2]]' ]]
  run tranche plan -f "$DIR/tiers.yaml" --detailed-exitcode
  [[ $status == 0 ]]

  # One more finds its slice there, without any change of layout.
  sed -i 's/memory: 20GiB,/memory: 20GiB, replicas: 2,/' "$DIR/tiers.yaml"
  run tranche plan -f "$DIR/tiers.yaml" -o json
  [[ $(jq -c '[.steps[].action | select(test("instance")) ] | unique' <<<"$output") == '["keep_instance"]' ]]
  apply -f "$DIR/tiers.yaml"

  # A third of either finds none, although there is a GPU that is in no tier.
  sed -i 's/replicas: 2/replicas: 3/' "$DIR/tiers.yaml"
  fails_with 3 tranche plan -f "$DIR/tiers.yaml"
  tranche down --yes
  [[ $(nvml | jq '[.gpus[].mig_instances[]] | length') == 0 ]]
}

@test "a tier that is not there, and more isolation than a tier gives, are refused with advice" {
  three_tiers
  sed -i 's/tier: development, memory/tier: developmnt, memory/; s/prod, tier: production/prod, tier: development, isolation: hardware/' "$DIR/tiers.yaml"
  fails_with 64 "$TRANCHE_BIN/tranche" plan -f "$DIR/tiers.yaml"
  [[ $output == *"there is no tier 'developmnt'"*"did you mean 'development'?"* ]]
  [[ $output == *"'prod' asks for more isolation than tier 'development' gives"*"or use tier: production"* ]]
}

@test "a spec of tiers alone says what they hold, and lays them out for whoever comes" {
  machine H100-SXM5-80GB:2
  start_daemon
  spec pools <<'SPEC'
version: 1
tiers:
  - {name: production, mechanism: mig, profile: 3g.40gb, gpus: [{gpu: H100-SXM5-80GB}]}
SPEC
  run tranche plan -f "$DIR/pools.yaml" -o json
  [[ $(capacity production) == 4 ]]
  apply -f "$DIR/pools.yaml"
  [[ $(nvml | jq '[.gpus[].mig_instances[]] | length') == 4 ]]
  # A pool is no place for programs that no tier knows.
  fails_with 125 tranche run --memory 4GiB -- true
  tranche down --yes
  [[ $(layout) == '[{"at":[],"mode":false},{"at":[],"mode":false}]' ]]
}
