#!/usr/bin/env bash
# The machine in place of the host's /proc, /sys and /dev: root_test.sh TRANCHE_SIM
set -euo pipefail
sim=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
m=$scratch/m
failed=0
on() { "$sim" exec "$m" --root -- "$@"; }
is() { [[ $2 == "$3" ]] || { echo "FAILED: $1: '$2', not '$3'"; failed=1; }; }
has() { [[ $2 == *"$3"* ]] || { echo "FAILED: $1: '$2' has no '$3'"; failed=1; }; }
hosts() { ls /dev /sys/module /sys/bus/pci/devices /proc/driver 2>/dev/null | sort | sha256sum; }

"$sim" create "$m" --gpu H100-SXM5-80GB:2 >/dev/null
before=$(hosts)
if ! on true 2>"$scratch/why"; then
  # Where it may not be, that is said, with what to do, and it is no success.
  code=0
  on true 2>/dev/null || code=$?
  (( code != 0 )) || { echo "FAILED: ends with 0"; exit 1; }
  grep -q -- "--root wants mount namespaces" "$scratch/why" || { cat "$scratch/why"; exit 1; }
  echo "root_test: skipped: $(head -n 1 "$scratch/why")"
  exit 0
fi

is "the driver is loaded" "$(on sh -c 'cut -d" " -f1 /proc/modules' | grep ^nvidia | sort | xargs)" "nvidia nvidia_drm nvidia_modeset nvidia_uvm"
has "its version" "$(on cat /proc/driver/nvidia/version)" "580.95"
has "its numbers" "$(on cat /proc/devices)" "195 nvidia"
is "its version, as a module" "$(on cat /sys/module/nvidia/version)" "580.95.05"
is "GPUs on the bus" "$(on sh -c 'cat /sys/bus/pci/devices/*/vendor' | grep -c 0x10de)" 2
is "their driver" "$(basename "$(on readlink -f /sys/bus/pci/devices/0000:18:00.0/driver)")" nvidia
is "their nodes" "$(on sh -c 'ls -d /dev/nvidia[0-9] /dev/nvidiactl' | xargs)" "/dev/nvidia0 /dev/nvidia1 /dev/nvidiactl"
is "the host's devices are there" "$(on sh -c 'echo x >/dev/null; echo y >/dev/stdout; ls -d /dev/pts /dev/shm' | xargs)" "y /dev/pts /dev/shm"
is "the host's modules, too" "$(on ls /sys/module | grep -vc ^nvidia)" "$(ls /sys/module | grep -vc ^nvidia)"
is "the program's own exit code" "$(on sh -c 'exit 7' || echo $?)" 7
if (( EUID == 0 )); then is "as device nodes" "$(on stat -c '%F %t %T' /dev/nvidia1)" "character special file c3 1"; fi

# What a change of the machine shows at once, also one from outside.
on nvidia-smi -i 0 -mig 1 >/dev/null
"$sim" exec "$m" -- nvidia-smi mig -i 0 -cgi 19 -C >/dev/null
is "an instance" "$(on sh -c 'cat /proc/driver/nvidia/capabilities/gpu0/mig/gi*/ci0/access' | head -n 1)" "DeviceFileMinor: 121"
is "and its nodes" "$(on ls /dev/nvidia-caps | xargs)" "nvidia-cap1 nvidia-cap120 nvidia-cap121 nvidia-cap2"
is "without its driver" "$(on sh -c 'modprobe -r nvidia_uvm nvidia_drm; ls /proc/driver | xargs; nvidia-smi -L >/dev/null || echo $?; grep -c nvidia /proc/modules; modprobe nvidia; ls /proc/driver/nvidia | head -n 1')" $'nvidia nvidia-caps\n9\n0\ncapabilities'

# Nothing of it is outside, and without --root there is nothing.
is "the host is as it was" "$(hosts)" "$before"
is "nothing without --root" "$("$sim" exec "$m" -- sh -c 'ls -d /dev/nvidiactl 2>/dev/null || echo none')" "$(ls -d /dev/nvidiactl 2>/dev/null || echo none)"
exit "$failed"
