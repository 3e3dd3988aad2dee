load common

@test "a daemon that is stopped leaves the workloads; the next one adopts them" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  a=$(pid_of a)
  stop_daemon
  kill -0 "$a"
  start_daemon
  [[ $(pid_of a) == "$a" ]]
  eventually is_state a healthy
}

@test "a daemon that is killed does no worse" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  a=$(pid_of a)
  stop_daemon -KILL
  start_daemon
  [[ $(pid_of a) == "$a" ]]
  [[ $(tranche status -o json | jq '[.replicas[].restarts] | add') == 0 ]]
}

@test "two daemons do not share a state directory" {
  machine H100-SXM5-80GB
  start_daemon
  fails_with 6 on_machine timeout 20 "$TRANCHE_BIN/tranched" --socket "$DIR/other.sock"
  two_sleepers
  fails_with 6 tranche apply -f "$DIR/two.yaml" --yes --local "${ROOT[@]}"
}
