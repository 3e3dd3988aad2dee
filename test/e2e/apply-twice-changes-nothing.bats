load common

@test "the second apply of a spec changes nothing" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  pids="$(pid_of a) $(pid_of b)"
  uuids=$(nvml | jq -c '[.gpus[].mig_instances[].compute_instances[].uuid]')
  run tranche plan -f "$DIR/two.yaml" --detailed-exitcode
  [[ $status -eq 0 && $output == *"No changes"* ]]
  run apply -f "$DIR/two.yaml"
  [[ $status -eq 0 && $output == *"Nothing had to be done"* ]]
  [[ "$(pid_of a) $(pid_of b)" == "$pids" ]]
  [[ $(nvml | jq -c '[.gpus[].mig_instances[].compute_instances[].uuid]') == "$uuids" ]]
}

@test "a changed workload restarts, the other does not notice" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  a=$(pid_of a)
  b=$(pid_of b)
  sed -i '/name: b/s/"1001"/"1002"/' "$DIR/two.yaml"
  apply -f "$DIR/two.yaml"
  [[ $(pid_of a) == "$a" ]]
  [[ $(pid_of b) != "$b" && $(tr '\0' ' ' <"/proc/$(pid_of b)/cmdline") == "sleep 1002 " ]]
}

@test "a workload that is gone from the spec is stopped, and only its instance destroyed" {
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  a=$(pid_of a)
  kept=$(tranche status -o json | jq -r '.replicas[] | select(.workload == "a") | .device_uuid')
  sed -i '/name: b/,$d' "$DIR/two.yaml"
  apply -f "$DIR/two.yaml"
  [[ $(pid_of a) == "$a" ]]
  [[ $(nvml | jq -r '[.gpus[].mig_instances[].compute_instances[].uuid] | join(" ")') == "$kept" ]]
}
