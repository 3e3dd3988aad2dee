load common

@test "a workload that dies is started again, and the other stays" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  a=$(pid_of a)
  b=$(pid_of b)
  kill -9 "$b"
  restarted() { local now; now=$(pid_of b); [[ $now != null && $now != "$b" ]] && is_state b healthy; }
  eventually restarted
  [[ $(pid_of a) == "$a" ]]
  [[ $(tranche status -o json | jq '.replicas[] | select(.workload == "b") | .restarts') -ge 1 ]]
}

@test "stop, restart and logs" {
  machine H100-SXM5-80GB
  start_daemon
  spec talker <<'SPEC'
version: 1
workloads:
  - {name: talker, isolation: hardware, memory: 4GiB, command: [bash, -c, 'echo hello from $0; exec sleep 1000', talker]}
SPEC
  apply -f "$DIR/talker.yaml"
  said() { tranche logs talker | grep -q "hello from talker"; }
  eventually said
  pid=$(pid_of talker)
  tranche stop talker
  ! kill -0 "$pid" 2>/dev/null
  is_state talker stopped
  [[ $(nvml | jq '.gpus[0].mig_instances | length') == 1 ]]
  tranche restart talker
  eventually is_state talker healthy
  fails_with 64 tranche logs talkre
  [[ $output == *"did you mean 'talker'?"* ]]
}
