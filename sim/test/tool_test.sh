#!/usr/bin/env bash
# The command line of tranche-sim: tool_test.sh TRANCHE_SIM
set -euo pipefail
sim=$1
scratch=$(mktemp -d)
pid=
trap '[[ -z $pid ]] || kill "$pid" 2>/dev/null || true; rm -rf "$scratch"' EXIT
m=$scratch/machine

fail() { echo "tool_test: $*" >&2; exit 1; }
# expect CODE TEXT COMMAND...: runs it; it must end with that code and say that text.
expect() {
  local code=$1 text=$2 got=0 output
  shift 2
  output=$("$@" 2>&1) || got=$?
  [[ $got == "$code" ]] || fail "'$*' ended with $got, not $code: $output"
  [[ $output == *"$text"* ]] || fail "'$*' said '$output', not '$text'"
}

expect 64 "did you mean 'H100-SXM5-80GB'?" "$sim" create "$m" --gpu H100-SMX5-80GB
expect 64 "no number of GPUs" "$sim" create "$m" --gpu L40S:many
expect 64 "at most 16 GPUs" "$sim" create "$m" --gpu L40S:16 --gpu T4
expect 64 "a machine without GPUs" "$sim" create "$m"
expect 64 "no driver '12' can be simulated" "$sim" create "$m" --gpu T4 --driver 12
expect 64 "did you mean 'h100-sxm'?" "$sim" create "$m" --machine h100-sxn
expect 64 "" "$sim" create
expect 64 "" "$sim" frobnicate
expect 0 "tranche-sim" "$sim" --help
expect 69 "no simulated machine" "$sim" show "$m"

expect 0 "2 GPUs, driver 580.95" "$sim" create "$m" --gpu H100-SXM5-80GB:2 --driver 580.95
expect 64 "holds a simulated machine already" "$sim" create "$m" --gpu T4
expect 0 "MIG off" "$sim" show "$m"
expect 0 '"model": "H100-SXM5-80GB"' "$sim" show "$m" -o json

# Programs: found, environment set, arguments untouched, their exit code passed on.
expect 0 "$m" "$sim" exec "$m" -- sh -c 'echo "$TRANCHE_SIM_DIR"'
expect 0 "$m/tranche" "$sim" exec "$m" sh -c 'echo "$TRANCHE_STATE_DIR"'
expect 0 "lib/sim" "$sim" exec "$m" -- sh -c 'echo "$LD_LIBRARY_PATH"'
expect 0 "[--gpu] [a b]" "$sim" exec "$m" -- printf '[%s] [%s]' --gpu "a b"
expect 7 "" "$sim" exec "$m" -- sh -c 'exit 7'
expect 127 "cannot run" "$sim" exec "$m" -- no-such-program-here
mkdir -m 0 "$scratch/shut"
expect 127 "cannot run" env PATH="$scratch/shut:$PATH" "$sim" exec "$m" -- no-such-program-here
expect 126 "cannot run" "$sim" exec "$m" -- "$scratch"
expect 64 "exec wants" "$sim" exec "$m"
expect 69 "no simulated machine" "$sim" exec "$scratch/none" -- true

# A process that holds memory, until its time is over.
pid=$("$sim" attach "$m" --gpu 1 --memory 2GiB --load 0.5)
expect 0 "2 GiB  load 50%" "$sim" show "$m"
expect 6 "pid $pid (sim-workload)" "$sim" reset "$m" --gpu 1
expect 6 "stop them first" "$sim" reload "$m"
kill "$pid"
pid=
for _ in $(seq 3000); do
  [[ $("$sim" show "$m") == *sim-workload* ]] || break
  sleep 0.01
done
expect 0 "" "$sim" reset "$m" --gpu 1
expect 0 "" "$sim" attach "$m" --gpu 0 --memory 1GiB --for 1ms
expect 3 "are free" "$sim" attach "$m" --gpu 0 --memory 200GiB
expect 64 "no GPU 7" "$sim" attach "$m" --gpu 7 --memory 1GiB
expect 64 "no MIG device '3'" "$sim" attach "$m" --gpu 0:3 --memory 1GiB
expect 64 "" "$sim" attach "$m" --gpu 0 --memory 2
expect 64 "" "$sim" attach "$m" --gpu 0 --memory 1GiB --load 2

# A reboot ends what holds a GPU.
pid=$("$sim" attach "$m" --gpu 0 --memory 1GiB)
expect 0 "" "$sim" reboot "$m"
for _ in $(seq 3000); do
  kill -0 "$pid" 2>/dev/null || break
  sleep 0.01
done
! kill -0 "$pid" 2>/dev/null || fail "process $pid survived the reboot"
pid=

expect 64 "no fault is named" "$sim" fault "$m" --gpu 0
expect 64 "which GPU?" "$sim" fault "$m" --lost
expect 64 "not CALL=MILLISECONDS" "$sim" fault "$m" --slow nvmlInit
expect 64 "no GPU 5: the machine has GPUs 0 to 1" "$sim" fault "$m" --gpu 5 --lost
expect 0 "" "$sim" fault "$m" --gpu 0 --lost
expect 0 "LOST" "$sim" show "$m"
expect 1 "a reset does not reach it" "$sim" reset "$m" --gpu 0
cp "$m/lib/libnvidia-ml.so.1" "$scratch/before"
expect 0 "" "$sim" fault "$m" --slow nvmlDeviceGetName=5 --missing-symbol nvmlDeviceGetName
expect 0 "missing: nvmlDeviceGetName" "$sim" show "$m"
cmp -s "$m/lib/libnvidia-ml.so.1" "$scratch/before" && fail "no library without the symbol"
expect 0 "" "$sim" fault "$m" --clear
cmp -s "$m/lib/libnvidia-ml.so.1" "$scratch/before" || fail "the library without the symbol is still there"
[[ $("$sim" show "$m") != *LOST* ]] || fail "still lost"

expect 0 "" "$sim" mps "$m" --pipe /run/mps --active-thread-percentage 40
expect 64 "another MPS server has the pipe directory" "$sim" mps "$m" --pipe /run/mps
expect 64 "between 1 and 100" "$sim" mps "$m" --pipe /other --active-thread-percentage 0
expect 0 "MPS server in /run/mps, for user" "$sim" show "$m"
expect 0 "" "$sim" mps "$m" --pipe /run/mps --stop
[[ $("$sim" show "$m") != *MPS* ]] || fail "the MPS server is still there"
expect 69 "runs on the host's time" "$sim" clock "$m"
expect 0 "" "$sim" create "$scratch/clock" --gpu A30 --clock virtual
expect 0 "0 processes" "$sim" clock "$scratch/clock" --wait-for 1

# What was made can be made again from its own description.
expect 0 "2 GPUs" "$sim" create "$scratch/copy" --machine "$m/machine.yaml"
expect 0 "h100-node" "$sim" models
echo "tool_test: ok"
