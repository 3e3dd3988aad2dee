# What every end-to-end test stands on: a simulated machine in a folder of its own, a daemon on it when asked
# for, and nothing left behind. ctest says which build is tested; by hand it is the release build.
#
#   machine GPU...        makes the machine; virtual_machine one with a clock of its own
#   start_daemon          starts tranched on it and waits until it answers
#   tranche ...           the command line, on the machine
#   spec NAME <<EOF       writes $DIR/NAME.yaml

TRANCHE_SOURCE=${TRANCHE_SOURCE:-$(cd "$BATS_TEST_DIRNAME/../.." && pwd)}
TRANCHE_BIN=${TRANCHE_BIN:-$TRANCHE_SOURCE/build/release/bin}

common_setup() {
  # Short, since a socket's path may have 107 characters only.
  DIR=$(mktemp -d /tmp/tranche-e2e.XXXXXX)
  M=$DIR/m
  DAEMON=
  export NO_COLOR=1
  unset TRANCHE_STATE_DIR XDG_RUNTIME_DIR
  # Root has to say that its workloads may be root's.
  ROOT=()
  if (( EUID == 0 )); then ROOT=(--allow-root); fi
}

common_teardown() {
  # bats shows it only when the test failed.
  if [[ -e $DIR/daemon.log ]]; then
    echo "the daemon's log:"
    tail -n 30 "$DIR/daemon.log"
  fi
  if [[ -n $DAEMON ]] && kill -0 "$DAEMON" 2>/dev/null; then
    timeout 30 "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranche" down --yes -q >/dev/null 2>&1
    kill "$DAEMON" 2>/dev/null
    wait "$DAEMON" 2>/dev/null
  fi
  # Whatever a failed test left running names the test's folder in its arguments or its environment.
  local process pid
  for process in /proc/[0-9]*; do
    pid=${process#/proc/}
    [[ $pid == "$$" || $pid == "$BASHPID" ]] && continue
    if grep -qsF "$M/" "$process/cmdline" "$process/environ"; then kill -9 "$pid" 2>/dev/null; fi
  done
  rm -rf "$DIR"
}

setup() { common_setup; }
teardown() { common_teardown; }

machine() { make_machine real "$@"; }
# The same with a clock of its own: what programs do there takes the same time however busy the host is.
# The limiter does without NVML there, which takes the host's time: the clock would move on without who waits for it.
virtual_machine() {
  export TRANCHE_REAL_LIBNVIDIA_ML=/nonexistent
  make_machine virtual "$@"
}
make_machine() {
  local arguments=(--clock "$1")
  local gpu
  for gpu in "${@:2}"; do arguments+=(--gpu "$gpu"); done
  "$TRANCHE_BIN/tranche-sim" create "$M" "${arguments[@]}"
}

on_machine() { "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$@"; }
sim() { "$TRANCHE_BIN/tranche-sim" "$@"; }
# No test waits for ever.
tranche() { on_machine timeout 60 "$TRANCHE_BIN/tranche" "$@"; }
nvml() { on_machine timeout 60 "$TRANCHE_BIN/tranche" inventory --socket "$DIR/none" -o json; }

start_daemon() {
  # Not through a function: the process that is waited for and killed must be the daemon itself.
  "$TRANCHE_BIN/tranche-sim" exec "$M" -- "$TRANCHE_BIN/tranched" "$@" 3>&- >>"$DIR/daemon.log" 2>&1 &
  DAEMON=$!
  eventually daemon_answers || { cat "$DIR/daemon.log"; return 1; }
}
daemon_answers() { tranche status >/dev/null 2>&1; }

stop_daemon() {
  kill "${1:--TERM}" "$DAEMON"
  wait "$DAEMON" || true
  DAEMON=
}

# Tries a command until it succeeds, for at most 30 seconds.
eventually() {
  local deadline=$((SECONDS + 30))
  until "$@"; do
    (( SECONDS < deadline )) || { echo "never: $*"; return 1; }
    sleep 0.1
  done
}

spec() { cat >"$DIR/$1.yaml"; }

three_models() { cp "$TRANCHE_SOURCE/examples/three-models.yaml" "$DIR/three.yaml"; }

apply() { tranche apply "$@" --yes --timeout 40s "${ROOT[@]}"; }

# state_of WORKLOAD [REPLICA]
state_of() {
  tranche status -o json | jq -r --arg w "$1" --argjson r "${2:-0}" \
    '.replicas[] | select(.workload == $w and .replica == $r) | .state'
}
pid_of() {
  tranche status -o json | jq -r --arg w "$1" --argjson r "${2:-0}" \
    '.replicas[] | select(.workload == $w and .replica == $r) | .pid'
}
is_state() { [[ $(state_of "$1") == "$2" ]]; }
router() { tranche status -o json | jq -r .router.url; }

# The layout in the terms that a promise is made in: mode, profiles, placements.
layout() {
  nvml | jq -cS '[.gpus[] | {mode: .mig_mode.current, at: [.mig_instances[] | [.profile, .placement.start]] | sort}]'
}

fails_with() {
  local code=$1
  shift
  run "$@"
  [[ $status -eq $code ]] || { echo "exit code $status, not $code:"; echo "$output"; return 1; }
}

# Two workloads that run everywhere.
two_sleepers() {
  spec two <<SPEC
version: 1
workloads:
  - {name: a, isolation: hardware, memory: 8GiB, command: [sleep, "1001"]}
  - {name: b, isolation: hardware, memory: 8GiB, command: [sleep, "1001"]}
SPEC
}

# An instance of that profile id, made by a program that is not ours, as an administrator would.
make_foreign_instance() {
  on_machine python3 - "$1" <<'PYTHON'
import ctypes, sys

nvml = ctypes.CDLL("libnvidia-ml.so.1")
device, instance, compute, status = (ctypes.c_void_p() for _ in range(4))

def check(code):
    if code != 0:
        raise SystemExit(f"NVML says {code}")

check(nvml.nvmlInit_v2())
check(nvml.nvmlDeviceGetHandleByIndex_v2(0, ctypes.byref(device)))
check(nvml.nvmlDeviceSetMigMode(device, 1, ctypes.byref(status)))
check(nvml.nvmlDeviceCreateGpuInstance(device, int(sys.argv[1]), ctypes.byref(instance)))
check(nvml.nvmlGpuInstanceCreateComputeInstance(instance, 0, ctypes.byref(compute)))
PYTHON
}
