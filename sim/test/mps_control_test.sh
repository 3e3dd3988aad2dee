#!/usr/bin/env bash
# nvidia-cuda-mps-control of a simulated machine: mps_control_test.sh TRANCHE_SIM GPU_SHARER
set -euo pipefail
sim=$1 sharer=$2
scratch=$(mktemp -d)
m=$scratch/m
export CUDA_MPS_PIPE_DIRECTORY=$scratch/pipe CUDA_MPS_LOG_DIRECTORY=$scratch/log
failed=0

on() { "$sim" exec "$m" -- "$@"; }
control() { printf '%s\n' "$@" | on nvidia-cuda-mps-control; }
daemon() { cat "$scratch/pipe/nvidia-cuda-mps-control.pid"; }
trap '[[ ! -f $scratch/pipe/nvidia-cuda-mps-control.pid ]] || kill -9 "$(daemon)" || true; rm -rf "$scratch"' EXIT
# says WHAT TEXT COMMAND...: what it says, on either channel, holds the text.
says() {
  local what=$1 text=$2 out
  shift 2
  out=$("$@" 2>&1) || true
  [[ $out == *"$text"* ]] || { echo "FAILED: $what: '$out' has no '$text'"; failed=1; }
}
is() { [[ $2 == "$3" ]] || { echo "FAILED: $1: '$2', not '$3'"; failed=1; }; }
# like WHAT SAID PATTERN
like() { [[ $2 =~ $3 ]] || { echo "FAILED: $1: '$2' is not like '$3'"; failed=1; }; }
eventually() {
  for _ in $(seq 100); do
    if "$@"; then return 0; fi
    sleep 0.05
  done
  echo "FAILED: never: $*"
  failed=1
}
has_clients() { [[ -n $(control "get_client_list $(control get_server_list)") ]]; }
has_no_server() { [[ -z $(control get_server_list) ]]; }
has_ended() { ! kill -0 "$1" 2>/dev/null; }

"$sim" create "$m" --gpu H100-SXM5-80GB:2 --driver 615.36 >/dev/null
says "nobody answers" "Cannot find MPS control daemon process" control get_server_list
is "nor is that a success" "$(control quit >/dev/null 2>&1 && echo yes || echo no)" no
says "its version" "CUDA MPS Version 13" on nvidia-cuda-mps-control -v

# Settings are for the next server, which the first client brings about.
CUDA_VISIBLE_DEVICES=1 on nvidia-cuda-mps-control -d
says "one is enough" "already running" on nvidia-cuda-mps-control -d
is "no client, no server" "$(control get_server_list)" ""
is "a default" "$(control 'set_default_active_thread_percentage 40' get_default_active_thread_percentage)" $'40.0\n40.0'
is "memory" "$(control 'set_default_device_pinned_mem_limit 0 10G' 'get_default_device_pinned_mem_limit 0')" 10G
says "no bytes" "Invalid" control "set_default_device_pinned_mem_limit 0 1073741824"
says "no fractions" "Invalid" control "set_default_device_pinned_mem_limit 0 1.5G"
is "a GPU that is not there: not a word" "$(control 'set_default_device_pinned_mem_limit 7 1G')" ""
says "nonsense" "Unknown command" control frobnicate
"$sim" exec "$m" -- "$sharer" sync 1000 132 60000 >/dev/null 2>"$scratch/told" &
eventually has_clients
server=$(control get_server_list)
is "the client" "$(control "get_client_list $server")" "$!"
is "its state" "$(control "get_server_status $server")" ACTIVE
is "what it was given" "$(control "get_active_thread_percentage $server" "get_device_pinned_mem_limit $server 0")" $'40.0\n10G'
says "clients of a device" "GPU-" control get_device_client_list
says "no such server" "not found" control "get_client_list 1"
says "a server is a process" "nvidia-cuda-mps" cat "/proc/$server/comm"
says "of its GPU alone" "nvidia-cuda-mps" "$sim" show "$m"

# A client that is terminated fails, and disturbs nobody.
control "terminate_client $server $!"
wait $! || true
says "what it was told" "810" cat "$scratch/told"
is "the server is there" "$(control get_server_list)" "$server"

# A server that dies takes its clients along; the next client has another.
"$sim" exec "$m" -- "$sharer" sync 1000 132 60000 >/dev/null 2>"$scratch/told" &
eventually has_clients
kill -9 "$server"
wait $! || true
says "its server is gone" "806" cat "$scratch/told"
eventually has_no_server
"$sim" exec "$m" -- "$sharer" sync 1000 132 60000 >/dev/null 2>&1 &
eventually has_clients
is "another server" "$([[ $(control get_server_list) != "$server" ]] && echo yes)" yes

# It waits for its clients, and takes no more; or waits for so long.
pid=$(daemon)
control quit
says "no more clients" "807" on "$sharer" sync 1000 132 1
kill -0 "$pid" || { echo "FAILED: it did not wait"; failed=1; }
kill -9 $!
wait $! 2>/dev/null || true
eventually has_ended "$pid"
says "its log" "Starting control daemon" cat "$scratch/log/control.log"

# Without its daemon a pipe directory is nobody's: programs run as if there were no MPS.
on nvidia-cuda-mps-control -d
"$sim" exec "$m" -- "$sharer" sync 1000 132 60000 >/dev/null 2>"$scratch/told" &
eventually has_clients
kill -9 "$(daemon)"
wait $! || true
says "its client" "806" cat "$scratch/told"
on "$sharer" sync 1000 132 1 >/dev/null || { echo "FAILED: not even without MPS"; failed=1; }

# Partitions are made of chunks, and nobody runs outside them.
CUDA_VISIBLE_DEVICES=0 on nvidia-cuda-mps-control -d -S
uuid=$("$sim" show "$m" -o json | sed -n 's/.*"uuid": "\(GPU[^"]*\)".*/\1/p' | head -1)
is "the GPU, by whole chunks" "$(control lspart | awk 'NR > 2 { $1 = $1; print }')" "${uuid:0:12} - 16 0 128 0 -"
made=$(control "sm_partition add $uuid 4")
like "made" "$made" "^Partition $uuid/[A-Za-z0-9+/]{36} created$"
one=${made#*/} one=${one% created}
made=$(control "sm_partition add ${uuid:0:9} 12")
like "and another, by a part of its UUID" "$made" "^Partition $uuid/[A-Za-z0-9+/]{36} created$"
two=${made#*/} two=${two% created}
says "no more chunks" "Not enough" control "sm_partition add $uuid 1"
says "no such GPU" "Invalid GPU" control "sm_partition add GPU-0000 1"
says "in none" "915" on "$sharer" sync 1000 132 1
CUDA_MPS_SM_PARTITION=$uuid/$one "$sim" exec "$m" -- "$sharer" sync 1000 132 60000 >/dev/null 2>&1 &
eventually has_clients
is "what there is, and who is where" "$(control lspart | awk 'NR > 2 { $1 = $1; print }')" "${uuid:0:12} - 0 16 0 128 -
${uuid:0:12} $one - 4 - 32 Yes
${uuid:0:12} $two - 12 - 100 -"
says "not while somebody is in it" "in use" control "sm_partition rm $uuid $one"
kill -9 $!
wait $! 2>/dev/null || true
is "removed" "$(control "sm_partition rm ${uuid:0:9} $one")" "Partition $uuid/$one removed"
says "only once" "not found" control "sm_partition rm $uuid $one"
says "its name is no other one's" "915" env CUDA_MPS_SM_PARTITION="$uuid/$one" "$sim" exec "$m" -- "$sharer" sync 1000 132 1
like "its place is taken again" "$(control "sm_partition add $uuid 2")" "created"
control "quit -t 1"
"$sim" create "$scratch/old" --gpu H100-SXM5-80GB --driver 580.95 >/dev/null
says "an old one knows none" "usage" "$sim" exec "$scratch/old" -- nvidia-cuda-mps-control -d -S
exit "$failed"
