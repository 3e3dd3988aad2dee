load common

# A window that is open, or one that opens in two hours, by the clock of this host.
window() {
  date -u -d "$1" +'%H:%M'
}
spec_with() {
  spec s <<SPEC
version: 1
maintenance:
  - {from: "$(window "$1")", to: "$(window "$2")", time_zone: UTC}
workloads:
  - {name: a, isolation: hardware, memory: 8GiB, command: [sleep, "1001"]}
SPEC
}

@test "outside of the windows a plan that changes a layout is refused, and says when one opens" {
  machine H100-SXM5-80GB
  start_daemon
  spec_with "+2 hours" "+3 hours"
  fails_with 6 tranche apply -f "$DIR/s.yaml" --yes "${ROOT[@]}"
  [[ $output == *"no maintenance window is open"*"the next one opens at"* ]]
  [[ $(layout) == '[{"at":[],"mode":false}]' ]]
  # With --wait it waits, here in vain.
  fails_with 6 tranche apply -f "$DIR/s.yaml" --yes --wait --timeout 2s "${ROOT[@]}"
  [[ $output == *"Waiting: "* ]]

  # While one is open it goes through.
  spec_with "-1 hour" "+1 hour"
  apply -f "$DIR/s.yaml"
  before=$(layout)

  # What changes no layout does so at any time.
  spec_with "+2 hours" "+3 hours"
  sed -i 's/"1001"/"1002"/' "$DIR/s.yaml"
  apply -f "$DIR/s.yaml"
  [[ $(layout) == "$before" ]]
  [[ $(tr '\0' ' ' <"/proc/$(pid_of a)/cmdline") == "sleep 1002 " ]]
  # And one more slice does not.
  sed -i 's/memory: 8GiB/replicas: 2, memory: 8GiB/' "$DIR/s.yaml"
  fails_with 6 tranche apply -f "$DIR/s.yaml" --yes "${ROOT[@]}"
  [[ $(layout) == "$before" ]]
}

@test "--wait waits until one opens" {
  machine H100-SXM5-80GB
  start_daemon
  # A window begins with a minute, so this is the soonest that can be waited for.
  spec_with "+1 minute" "+30 minutes"
  run on_machine timeout 120 "$TRANCHE_BIN/tranche" apply -f "$DIR/s.yaml" --yes --wait "${ROOT[@]}"
  [[ $status == 0 && $output == *"Waiting: "*"no maintenance window is open"*"Done"* ]]
  is_state a healthy
}

@test "a time zone that this machine does not know opens no window, and is said" {
  machine H100-SXM5-80GB
  start_daemon
  spec_with "-1 hour" "+1 hour"
  sed -i 's/time_zone: UTC/time_zone: Europe\/Atlantis/' "$DIR/s.yaml"
  fails_with 64 tranche apply -f "$DIR/s.yaml" --yes "${ROOT[@]}"
  [[ $output == *"time zone Europe/Atlantis: this machine does not know it"* ]]
}

@test "--wait lets leases end first" {
  machine H100-SXM5-80GB
  start_daemon
  spec whole <<'SPEC'
version: 1
workloads:
  - {name: whole, mechanism: exclusive, isolation: hardware, memory: 70GiB, command: [sleep, "1001"]}
SPEC
  tranche run --memory 4GiB -- sleep 1001 3>&- &
  eventually eval '[[ $(tranche status -o json | jq ".leases | length") == 1 ]]'
  fails_with 3 tranche apply -f "$DIR/whole.yaml" --yes "${ROOT[@]}"
  tranche apply -f "$DIR/whole.yaml" --yes --wait "${ROOT[@]}" 3>&- >"$DIR/applied" 2>&1 &
  local applying=$!
  eventually grep -q "Waiting: whole/0 does not fit yet; leases: run-1" "$DIR/applied"
  kill "$(tranche status -o json | jq '.leases[0].pid')"
  wait "$applying" || { cat "$DIR/applied"; return 1; }
  is_state whole healthy
}
