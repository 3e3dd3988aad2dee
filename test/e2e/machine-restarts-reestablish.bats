load common

three_up() {
  machine H100-SXM5-80GB
  start_daemon
  three_models
  apply -f "$DIR/three.yaml" >/dev/null
}
all_healthy() {
  [[ $(tranche status -o json | jq '[.replicas[] | select(.state == "healthy")] | length') == 3 ]]
}
uuids() { nvml | jq -cS '[.gpus[].mig_instances[].compute_instances[].uuid] | sort'; }

@test "after a reboot, which takes instances and MIG mode, the plan is made again" {
  three_up
  before=$(layout)
  old=$(uuids)
  stop_daemon
  sim reboot "$M"
  [[ $(layout) == '[{"at":[],"mode":false}]' ]]
  start_daemon
  eventually all_healthy
  [[ $(layout) == "$before" ]]
  [[ $(uuids) != "$old" ]]
  curl -fsS --max-time 20 "$(router)/mistral/v1/models" | jq -e '.data[0].id == "mistral-7b"'
}

@test "a reboot under a running daemon is noticed" {
  three_up
  before=$(layout)
  old=$(uuids)
  sim reboot "$M"
  made_again() { [[ $(layout) == "$before" && $(uuids) != "$old" ]]; }
  eventually made_again
  eventually all_healthy
}

@test "after a GPU reset the plan is made again" {
  three_up
  before=$(layout)
  stop_daemon
  for pid in $(sim show "$M" -o json | jq -r '.. | .pid? // empty'); do kill -9 "$pid"; done
  eventually sim reset "$M" --gpu 0
  start_daemon
  eventually all_healthy
  [[ $(layout) == "$before" ]]
}

@test "after a driver reload the plan is made again" {
  three_up
  before=$(layout)
  stop_daemon
  for pid in $(sim show "$M" -o json | jq -r '.. | .pid? // empty'); do kill -9 "$pid"; done
  eventually sim reload "$M"
  start_daemon
  eventually all_healthy
  [[ $(layout) == "$before" ]]
}
