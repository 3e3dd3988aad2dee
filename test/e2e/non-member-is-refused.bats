load common

@test "a member of no group is refused with 77, reading and changing" {
  (( EUID == 0 )) || skip "only root can become somebody else"
  machine H100-SXM5-80GB
  start_daemon
  chmod -R a+rX "$DIR"
  two_sleepers
  nobody() { on_machine setpriv --reuid=65534 --regid=65534 --clear-groups timeout 20 "$TRANCHE_BIN/tranche" "$@"; }
  fails_with 77 nobody status
  fails_with 77 nobody apply -f "$DIR/two.yaml" --yes
  [[ $output == *"group 'tranche'"* ]]
  fails_with 77 nobody down --yes
  # Also through a socket that somebody opened to all.
  chmod 0666 "$M/tranche/run/tranche.sock"
  fails_with 77 nobody status
  fails_with 77 nobody stop a
  [[ $(tranche status -o json | jq '.replicas | length') == 0 ]]
}

@test "root's workloads do not run as root unless that is said" {
  (( EUID == 0 )) || skip "only root can try"
  machine H100-SXM5-80GB
  start_daemon
  two_sleepers
  before=$(layout)
  run tranche apply -f "$DIR/two.yaml" --yes
  [[ $status -eq 77 || $status -eq 64 ]]
  [[ $output == *allow_root* || $output == *allow-root* ]]
  [[ $(layout) == "$before" ]]
}
