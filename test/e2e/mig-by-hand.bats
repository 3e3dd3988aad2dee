load common

instances() { nvml | jq -c '[.gpus[0].mig_instances[] | [.profile, .placement.start]] | sort'; }

@test "instances are listed, made and unmade by hand, within the rules of MIG" {
  machine H100-SXM5-80GB L40S
  start_daemon
  run tranche mig list
  [[ $output == *"There are no MIG instances"*"gpu0 has room for"*"; MIG mode is off"* ]]
  tranche mig create 0 3g.40gb,1g.10gb@6 --yes
  [[ $(instances) == '[["1g.10gb",6],["3g.40gb",0]]' ]]
  run tranche mig list -o json
  [[ $(jq -c '.gpus[0] | [.mig_enabled, (.instances | length), .fits["4g.40gb"], .fits["1g.10gb"]]' <<<"$output") == '[true,2,0,2]' ]]
  fails_with 3 tranche mig create 0 4g.40gb --yes
  [[ $output == *"4g.40gb"* ]]
  fails_with 3 tranche mig create 0 1g.10gb@6 --yes
  fails_with 64 tranche mig create 0 3g.4gb --yes
  [[ $output == *"did you mean '3g.40gb'?"* ]]
  fails_with 1 tranche mig create 1 3g.40gb --yes
  fails_with 64 tranche mig destroy 0 2g.20gb --yes
  [[ $output == *"it has 3g.40gb@0, 1g.10gb@6"* ]]
  fails_with 64 tranche mig destroy 0 3g.40gb
  [[ $output == *"add --yes"* ]]
  [[ $(instances) == '[["1g.10gb",6],["3g.40gb",0]]' ]]
  tranche mig destroy 0 3g.40gb --yes
  [[ $(instances) == '[["1g.10gb",6]]' ]]
  tranche mig destroy 0 all --yes
  [[ $(instances) == '[]' ]]
}

@test "what is made by hand is nobody's, and what belongs to a workload is not taken by hand" {
  machine H100-SXM5-80GB
  start_daemon
  tranche mig create 0 3g.40gb@4 --yes
  two_sleepers
  apply -f "$DIR/two.yaml"
  run tranche mig list
  [[ $output == *"3g.40gb@4"*"not ours"* && $output == *"a/0"* ]]
  fails_with 6 tranche mig destroy 0 all --yes
  [[ $output == *"belongs to workload"* ]]
  tranche down --yes
  [[ $(instances) == '[["3g.40gb",4]]' ]]
}

@test "an instance that a process uses is not destroyed" {
  machine H100-SXM5-80GB
  start_daemon
  tranche mig create 0 3g.40gb@4 --yes
  pid=$(sim attach "$M" --gpu 0:0 --memory 1GiB --for 60s 3>&-)
  fails_with 6 tranche mig destroy 0 all --yes
  [[ $output == *"$pid"* ]]
  [[ $(instances) == '[["3g.40gb",4]]' ]]
  kill "$pid"
}

@test "assert and export are as those of mig-parted" {
  machine H100-SXM5-80GB:2
  start_daemon
  tranche mig create 0 3g.40gb,3g.40gb --yes
  tranche mig create 1 3g.40gb,3g.40gb --yes
  tranche mig export >"$DIR/now.yaml"
  cat "$DIR/now.yaml"
  [[ $(on_machine python3 -c 'import sys; print(open(sys.argv[1]).read().count("devices: all"))' "$DIR/now.yaml") == 1 ]]
  run tranche mig assert -f "$DIR/now.yaml"
  [[ $status == 0 && $output == *"Selected MIG configuration currently applied"* ]]
  run tranche mig assert -f "$DIR/now.yaml" -c current
  [[ $status == 0 ]]
  tranche mig destroy 1 3g.40gb@4 --yes
  fails_with 1 tranche mig assert -f "$DIR/now.yaml"
  [[ $output == *"gpu1 has 1 x 3g.40gb; wanted: 2 x 3g.40gb"*"Assertion failure: selected configuration not currently applied"* ]]
  run tranche mig assert -m -f "$DIR/now.yaml"
  [[ $status == 0 ]]
  run tranche mig assert --valid-config -f "$DIR/now.yaml"
  [[ $status == 0 ]]
  run tranche mig export -o json
  [[ $(jq -c '."mig-configs".current | map(.devices)' <<<"$output") == '[[1],[0]]' ]]
  spec two <<'CONFIG'
version: v1
mig-configs:
  all-balanced:
  - {device-filter: ["0x233010DE"], devices: all, mig-enabled: true, mig-devices: {"1g.10gb": 2, "2g.20gb": 1, "3g.40gb": 1}}
  all-disabled:
  - {devices: all, mig-enabled: false}
CONFIG
  fails_with 1 tranche mig assert -f "$DIR/two.yaml"
  [[ $output == *"several configurations"*"all-balanced, all-disabled"* ]]
  fails_with 1 tranche mig assert -f "$DIR/two.yaml" -c all-balancd
  [[ $output == *"did you mean 'all-balanced'?"* ]]
  fails_with 1 tranche mig assert -f "$DIR/two.yaml" -c all-disabled
  for gpu in 0 1; do
    tranche mig destroy "$gpu" all --yes
    tranche mig create "$gpu" 1g.10gb,1g.10gb,2g.20gb,3g.40gb --yes
  done
  run on_machine env MIG_PARTED_CONFIG_FILE="$DIR/two.yaml" MIG_PARTED_SELECTED_CONFIG=all-balanced "$TRANCHE_BIN/tranche" mig assert
  [[ $status == 0 ]]
  echo "version: v2" >"$DIR/wrong.yaml"
  fails_with 1 tranche mig assert -f "$DIR/wrong.yaml"
  fails_with 1 tranche mig assert -f "$DIR/none.yaml"
  fails_with 1 tranche mig assert
}
