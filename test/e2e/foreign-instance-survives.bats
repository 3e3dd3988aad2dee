load common

@test "somebody else's instance survives apply and down" {
  machine H100-SXM5-80GB
  make_foreign_instance 19
  uuid=$(nvml | jq -r '.gpus[0].mig_instances[0].compute_instances[0].uuid')
  start_daemon
  two_sleepers
  apply -f "$DIR/two.yaml"
  [[ $(nvml | jq '.gpus[0].mig_instances | length') == 3 ]]
  tranche down --yes
  [[ $(nvml | jq -r '[.gpus[0].mig_instances[].compute_instances[].uuid] | join(" ")') == "$uuid" ]]
}
