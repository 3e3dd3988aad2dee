load common

instances() { nvml | jq -c '[.gpus[0].mig_instances[] | [.profile, .placement.start]] | sort'; }
start_of() {
  tranche status -o json | jq -r --arg w "$1" '.replicas[] | select(.workload == $w) | .slice.placement_start'
}

# One small slice in each half of the GPU: room enough for a 4g.40gb, but not in one piece.
fragmented() {
  machine H100-SXM5-80GB
  start_daemon
  spec one <<'SPEC'
version: 1
workloads:
  - {name: a, isolation: hardware, memory: 8GiB, command: [sleep, "1001"]}
SPEC
  tranche mig create 0 3g.40gb@4 --yes
  apply -f "$DIR/one.yaml"
  local at
  at=$(start_of a)
  [[ $at -lt 4 ]]
  tranche mig destroy 0 3g.40gb@4 --yes
  local slot others=
  for slot in 0 1 2 3; do
    if [[ $slot != "$at" ]]; then others+=${others:+,}1g.10gb@$slot; fi
  done
  tranche mig create 0 "$others" --yes
  cp "$DIR/one.yaml" "$DIR/two.yaml"
  echo '  - {name: b, isolation: hardware, memory: 8GiB, command: [sleep, "1001"]}' >>"$DIR/two.yaml"
  apply -f "$DIR/two.yaml"
  [[ $(start_of b) -ge 4 ]]
  tranche mig destroy 0 "$others" --yes
}

@test "it says who restarts so that a larger slice fits, and apply does it" {
  fragmented
  fails_with 3 tranche mig create 0 4g.40gb --yes
  before=$(instances)
  pid=$(pid_of b)
  run tranche defrag 4g.40gb --out "$DIR/plan.json"
  echo "$output"
  [[ $status == 0 && $output == *"room for a 4g.40gb on gpu0 at slots 0-3 costs one restart: a/0 to gpu0 1g.10gb@"* ]]
  [[ $(instances) == "$before" ]]
  tranche apply "$DIR/plan.json" "${ROOT[@]}"
  eventually is_state a healthy
  [[ $(start_of a) -ge 4 && $(pid_of b) == "$pid" ]]
  run tranche defrag 4g.40gb
  [[ $output == *"gpu0 has room for a 4g.40gb at slots 0-3 as it is"* ]]
  tranche mig create 0 4g.40gb --yes
}

@test "where no moves help it says why" {
  fragmented
  fails_with 3 tranche defrag 7g.80gb
  [[ $output == *"no moves make room for a 7g.80gb"* ]]
}
