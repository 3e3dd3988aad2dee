load common

# A vGPU host as far as files and its two programs go: the machine's GPU, with virtual functions once sriov-manage
# made them, and nvidia-smi for what is in no file. How capacity shrinks and what the driver refuses is tested in
# src/engine/vgpus_test.cc, on files that behave so.
vgpu_host() {
  machine "${1:-A40}"
  export TRANCHE_VGPU_ROOT=$DIR/root
  BDF=$(nvml | jq -r '.gpus[0].pci_bus_id' | tr 'A-F' 'a-f' | sed 's/^0000//')
  PCI=$DIR/root/sys/bus/pci/devices
  mkdir -p "$PCI/$BDF" "$DIR/root/proc" "$DIR/root/usr/lib/nvidia" "$DIR/root/usr/bin" "$DIR/state"
  echo 0x10de >"$PCI/$BDF/vendor"
  echo 0x030200 >"$PCI/$BDF/class"
  echo 4 >"$PCI/$BDF/sriov_totalvfs"
  printf 'ID    : vGPU Name\n557   : NVIDIA A40-48C\n558   : NVIDIA A40-24C\n559   : NVIDIA A40-12C\n560   : NVIDIA A40-8C\n563   : NVIDIA A40-8Q\n' >"$DIR/state/creatable"
  echo Disabled >"$DIR/state/mixed"
  echo "Best Effort" >"$DIR/state/scheduler"
  cat >"$DIR/root/usr/lib/nvidia/sriov-manage" <<MANAGE
#!/bin/bash
set -e
for i in 4 5 6 7; do
  f=${BDF%.0}.\$i
  if [[ \$1 == -d ]]; then
    rm -rf "$PCI/\$f" "$PCI/$BDF/virtfn\$((i - 4))"
    continue
  fi
  mkdir -p "$PCI/\$f/nvidia" "$PCI/\$f/vfio-dev/vfio\$i"
  ln -sfn "../\$f" "$PCI/$BDF/virtfn\$((i - 4))"
  ln -sfn "../$BDF" "$PCI/\$f/physfn"
  echo 0x10de >"$PCI/\$f/vendor"
  echo 0x030200 >"$PCI/\$f/class"
  echo 0 >"$PCI/\$f/nvidia/current_vgpu_type"
  cp "$DIR/state/creatable" "$PCI/\$f/nvidia/creatable_vgpu_types"
done
echo Disabled >"$DIR/state/mixed"
MANAGE
  cat >"$DIR/root/usr/bin/nvidia-smi" <<SMI
#!/bin/bash
case "\$*" in
  "-q -i $BDF") echo "        vGPU Heterogeneous Mode           : \$(cat "$DIR/state/mixed")" ;;
  "vgpu -i $BDF -s -v") sed -n 's/.* : NVIDIA/        Name : NVIDIA/p' "$DIR/state/creatable" ;;
  "vgpu -i $BDF -ss") echo "    Scheduler Policy : \$(cat "$DIR/state/scheduler")" ;;
  "vgpu -i $BDF -shm 1") echo Enabled >"$DIR/state/mixed" ;;
  "vgpu -i $BDF -shm 0") echo Disabled >"$DIR/state/mixed" ;;
  "vgpu set-scheduler-state -i $BDF -p 1") echo "Best Effort" >"$DIR/state/scheduler" ;;
  "vgpu set-scheduler-state -i $BDF -p 2") echo "Equal Share" >"$DIR/state/scheduler" ;;
  "vgpu set-scheduler-state -i $BDF -p 3") echo "Fixed Share" >"$DIR/state/scheduler" ;;
  *) echo "what is \$*?"; exit 1 ;;
esac
SMI
  chmod +x "$DIR/root/usr/lib/nvidia/sriov-manage" "$DIR/root/usr/bin/nvidia-smi"
}
types() {
  local file
  for file in "$PCI"/*/nvidia/current_vgpu_type; do
    if [[ -e $file ]]; then echo "$(cat "$file")"; fi
  done | grep -v '^0$' | sort | tr '\n' ' '
}

@test "the example is planned, applied, read back, given to libvirt, changed, and taken down" {
  vgpu_host
  start_daemon
  cp "$TRANCHE_SOURCE/examples/vgpu.yaml" "$DIR/vgpu.yaml"
  run tranche plan -f "$DIR/vgpu.yaml"
  echo "$output"
  [[ $status -eq 0 ]]
  [[ $output == *"gpu0 virtual functions, equal-share"* ]]
  [[ $output == *"gpu0 A40-8C for chat/0"* && $output == *"gpu0 A40-8Q for desk/0"* ]]
  [[ $output == *"licences cost"* ]]
  tranche plan -f "$DIR/vgpu.yaml" --explain | grep -q "its machine gets 6.94 GiB at least"
  run tranche plan -f "$DIR/vgpu.yaml" -o json
  jq -e '.placements[0] | .vgpu_type == "A40-8C" and .vgpu.series == "C" and .vgpu.scheduler == "equal-share"
         and .vgpu.guest_memory_bytes < .vgpu.framebuffer_bytes and .vgpu.licence_cost_per_hour > 0
         and .guarantee.compute == "kernel" and .guarantee.fault == "none"' <<<"$output"
  jq -e '.licence_cost_per_hour > 0 and ([.placements[].vgpu.licence_cost_per_hour] | add) - .licence_cost_per_hour < 1e-9' <<<"$output"
  [[ -z $(types) && ! -e $PCI/$BDF/virtfn0 ]]

  apply -f "$DIR/vgpu.yaml"
  [[ $(types) == "560 560 563 " ]]
  [[ $(cat "$DIR/state/scheduler") == "Equal Share" ]]
  fails_with 0 tranche plan -f "$DIR/vgpu.yaml" --detailed-exitcode
  run tranche status -o json
  jq -e '[.replicas[] | select(.state == "healthy" and .slice.mechanism == "vgpu")] | length == 3' <<<"$output"
  run tranche inventory
  echo "$output"
  [[ $output == *"4 virtual functions, one size, equal-share turns"*"A40-8C, for chat/0"* ]]
  run tranche vgpu list
  echo "$output"
  [[ $output == *"workload chat/1"*"equal-share turns"* ]]

  # What libvirt wants for each machine.
  tranche export libvirt -f "$DIR/vgpu.yaml" --out "$DIR/machines" -q
  grep -q "managed='no'" "$DIR/machines/chat-0.xml"
  tranche vgpu xml chat/0 | grep -q "function='0x"
  if command -v virt-xml-validate; then
    for machine in chat-0 chat-1 desk-0; do virt-xml-validate "$DIR/machines/$machine.xml" domain; done
  fi

  # Larger ones: the smaller go, since a GPU has one size.
  sed -i 's/memory: 6GiB/memory: 20GiB/; s/profile: A40-8Q/profile: A40-24C/; s/replicas: 2/replicas: 1/' "$DIR/vgpu.yaml"
  apply -f "$DIR/vgpu.yaml"
  [[ $(types) == "558 558 " ]]

  # What a machine has open stays.
  local id
  id=$(tranche vgpu list -o json | jq -r '.gpus[0].vgpus[0].id')
  mkdir -p "$DIR/root/proc/4242/fd"
  ln -s "/dev/vfio/devices/vfio${id##*.}" "$DIR/root/proc/4242/fd/9"
  fails_with 6 tranche down --yes
  [[ $output == *4242* && $(types) == "558 558 " ]]
  rm -r "$DIR/root/proc/4242"
  fails_with 64 tranche stop chat
  fails_with 6 tranche vgpu destroy "$id" --yes
  [[ $output == *"is that of workload"* ]]

  tranche down --yes
  [[ -z $(types) && ! -e $PCI/$BDF/virtfn0 ]]
  [[ $(tranche status -o json | jq '.replicas | length') == 0 ]]
}

@test "sizes are mixed where that is asked, each with its place" {
  vgpu_host
  start_daemon
  spec mixed <<SPEC
version: 1
workloads:
  - {name: small, mechanism: vgpu, isolation: none, profile: A40-8C, replicas: 2, vgpu: {mixed_sizes: true}}
  - {name: big, mechanism: vgpu, isolation: none, profile: A40-24C, vgpu: {mixed_sizes: true}}
SPEC
  run tranche plan -f "$DIR/mixed.yaml" -o json
  jq -e '[.placements[] | "\(.workload) \(.vgpu.part)/\(.vgpu.parts)"] == ["small 3/4", "small 4/4", "big 1/2"]' <<<"$output"
  apply -f "$DIR/mixed.yaml"
  [[ $(cat "$DIR/state/mixed") == Enabled && $(types) == "558 560 560 " ]]
  sed -i 's/replicas: 2/replicas: 3/' "$DIR/mixed.yaml"
  fails_with 3 tranche plan -f "$DIR/mixed.yaml"
}

@test "the shell script makes the same by hand" {
  vgpu_host
  start_daemon
  tranche export shell -f "$TRANCHE_SOURCE/examples/vgpu.yaml" -q >"$DIR/gpus.sh"
  cat "$DIR/gpus.sh"
  if command -v shellcheck; then shellcheck "$DIR/gpus.sh"; fi
  # With the programs and the files of the host that is made here.
  sed -i "s|/usr/lib/nvidia/sriov-manage|$DIR/root/usr/lib/nvidia/sriov-manage|; s|^nvidia-smi|$DIR/root/usr/bin/nvidia-smi|" "$DIR/gpus.sh"
  run env SYSFS="$DIR/root/sys" bash "$DIR/gpus.sh"
  echo "$output"
  [[ $status -eq 0 && $(types) == "560 560 563 " && $(cat "$DIR/state/scheduler") == "Equal Share" ]]
  [[ $output == *"desk-0 "*":"* ]]
}

@test "a daemon that was killed between two orders ends in the old or the new state" {
  vgpu_host
  start_daemon
  # sriov-manage kills the daemon when it is done, as a power cut might.
  spec one <<SPEC
version: 1
workloads:
  - {name: a, mechanism: vgpu, isolation: none, profile: A40-8C, replicas: 2}
SPEC
  echo "[[ \$1 == -e && -e $DIR/state/kill ]] && { rm $DIR/state/kill; kill -9 $DAEMON; }; exit 0" >>"$DIR/root/usr/lib/nvidia/sriov-manage"
  touch "$DIR/state/kill"
  run tranche apply -f "$DIR/one.yaml" --yes "${ROOT[@]}"
  [[ $status -ne 0 ]]
  wait "$DAEMON" || true
  start_daemon
  [[ -z $(types) && ! -e $PCI/$BDF/virtfn0 ]]
  apply -f "$DIR/one.yaml"
  [[ $(types) == "560 560 " ]]
}

@test "what cannot be is refused in words, and a fleet is planned without any" {
  vgpu_host
  start_daemon
  bad() { printf 'version: 1\nworkloads:\n  - {name: a, mechanism: vgpu, %s}\n' "$1" >"$DIR/bad.yaml"; fails_with "$2" tranche plan -f "$DIR/bad.yaml"; }
  bad 'memory: 6GiB, command: [sleep, "1"]' 64
  [[ $output == *"a virtual machine, which is yours"* ]]
  bad 'memory: 6GiB, route: /a, port: 80' 64
  bad 'profile: 1g.10gb' 64
  [[ $output == *"is to have a vGPU"* ]]
  bad 'profile: A40-8C, vgpu: {series: Q}' 64
  bad 'memory: 6GiB, vgpu: {scheduler: fair}' 64
  [[ $output == *"best-effort"* ]]
  bad 'profile: A40-9C' 3
  [[ $output == *"offers no A40-9C"* ]]
  bad 'memory: 6GiB, isolation: hardware' 3
  printf 'version: 1\nworkloads:\n  - {name: a, memory: 6GiB, command: [sleep, "1"], vgpu: {series: Q}}\n' >"$DIR/bad.yaml"
  fails_with 64 tranche plan -f "$DIR/bad.yaml"
  [[ $output == *"add mechanism: vgpu"* ]]
  # On paper: backed by MIG, kept apart in hardware.
  printf 'version: 1\nfleet: [{gpu: H100-SXM5-80GB, price_per_hour: 2}]\nworkloads:\n  - {name: a, mechanism: vgpu, isolation: hardware, memory: 8GiB, replicas: 7}\n' >"$DIR/fleet.yaml"
  run tranche plan -f "$DIR/fleet.yaml" -o json
  jq -e '[.placements[].vgpu_type] | unique == ["H100XM-1-10C"]' <<<"$output"
  jq -e '.steps[0:2] | map(.action) == ["enable_mig", "set_vgpu_host"]' <<<"$output"
}

@test "functions are not made over what they would destroy" {
  vgpu_host H100-SXM5-80GB
  start_daemon
  tranche mig create 0 3g.40gb --yes
  fails_with 6 tranche vgpu enable 0 --yes
  [[ $output == *"MIG instances"*"3g.40gb"*"--adopt"* && ! -e $PCI/$BDF/virtfn0 ]]
  # Not even so while a program is on it.
  local pid
  pid=$(sim attach "$M" --gpu 0:0 --memory 1GiB --for 60s 3>&-)
  fails_with 6 tranche vgpu enable 0 --yes --adopt
  [[ $output == *"in use by pid $pid"* && ! -e $PCI/$BDF/virtfn0 ]]
  kill "$pid"
  eventually eval '[[ $(nvml | jq "[.gpus[0].processes[]] | length") == 0 ]]'
  tranche vgpu enable 0 --yes --adopt
  [[ -e $PCI/$BDF/virtfn0 ]]
}
