#!/usr/bin/env bash
# nvidia-smi and modprobe of a simulated machine: smi_test.sh TRANCHE_SIM
set -euo pipefail
sim=$1
scratch=$(mktemp -d)
pid=
trap '[[ -z $pid ]] || kill -9 "$pid" 2>/dev/null || true; rm -rf "$scratch"' EXIT
m=$scratch/m
failed=0

smi() { "$sim" exec "$m" -- nvidia-smi "$@"; }
# expect CODE TEXT COMMAND...: it must end with that code, and a line of what it says is that text.
expect() {
  local code=$1 text=$2 got=0 output
  shift 2
  output=$("$@" 2>&1) || got=$?
  [[ $got == "$code" ]] || { echo "FAILED: '$*' ended with $got, not $code: $output"; failed=1; }
  grep -qxF -- "$text" <<<"$output" || { echo "FAILED: '$*' has no line '$text':"; echo "$output"; failed=1; }
}
# says TEXT COMMAND...: it says that somewhere.
says() {
  local text=$1 output
  shift
  output=$("$@" 2>&1) || true
  [[ $output == *"$text"* ]] || { echo "FAILED: '$*' said '$output', not '$text'"; failed=1; }
}
is() { [[ $2 == "$3" ]] || { echo "FAILED: $1: '$2', not '$3'"; failed=1; }; }

"$sim" create "$m" --gpu H100-SXM5-80GB --gpu L40S >/dev/null
uuid() { smi -i "$1" --query-gpu=uuid --format=csv,noheader; }
bus() { smi -i "$1" --query-gpu=pci.bus_id --format=csv,noheader; }
first=$(uuid 0) second=$(uuid 1) first_bus=$(bus 0)

# The commands that are printed in guides, in their order.
expect 0 "NVIDIA H100 80GB HBM3, Disabled" smi -i 0 --query-gpu=name,mig.mode.current --format=csv,noheader
expect 0 "name, memory.total [MiB]" smi --query-gpu=name,memory.total --format=csv
expect 0 "81559" smi -i 0 --query-gpu=memory.total --format=csv,noheader,nounits
expect 0 "81559 MiB, [N/A]" smi -i 0 --query-gpu=memory.total,fan.speed --format=csv,noheader
expect 0 "$first" smi -i "${first_bus#0000}" --query-gpu=gpu_uuid --format=csv,noheader
expect 2 'Field "nonsense" is not a valid field to query.' smi --query-gpu=nonsense --format=csv
expect 2 '"--format=" switch is missing, or is not csv[,noheader][,nounits].' smi --query-gpu=name
expect 6 "No devices were found" smi -i 7 -L
expect 6 "No MIG-enabled devices found." smi mig -lgip
expect 0 "Enabled MIG Mode for GPU $first_bus" smi -i 0 -mig 1
expect 0 "NVIDIA H100 80GB HBM3, Enabled" smi -i "$first" --query-gpu=name,mig.mode.current --format=csv,noheader
expect 0 "Unable to enable MIG Mode for GPU $(bus 1): Not Supported" smi -i 1 -mig 1
expect 0 "|   0  MIG 2g.20gb         14     3/3        19.62      No     32     2     0   |" smi mig -lgip
expect 0 "GPU  0 Profile ID 14 Placements: {0,2,4}:2" smi mig -lgipp
expect 6 "No GPU instances found: Not Found" smi mig -lgi
expect 0 "Successfully created compute instance ID  0 on GPU  0 GPU instance ID  5 using profile MIG 2g.20gb (ID  1)" \
  smi mig -cgi 14,14,14 -C
expect 0 "|   0  MIG 2g.20gb           14        5          4:2     |" smi mig -lgi
expect 0 "|   0      3       MIG 2g.20gb          1         0          0:2     |" smi mig -lci -gi 3
says "  MIG 2g.20gb     Device  2: (UUID: MIG-" smi -L
expect 0 "GPU 1: NVIDIA L40S (UUID: $second)" smi -L
expect 0 "|  No running processes found                                                             |" smi
says "NVIDIA-SMI 580" smi
says "<current_mig>Enabled</current_mig>" smi -q -x
is "every line of the summary is as wide" "$(smi | tail -n +2 | sed '/^$/d' | awk '{print length}' | sort -u)" 91

# By name, at a place, and what does not work.
expect 23 "Failed to create GPU instances: Insufficient Resources" smi mig -cgi 3g.40gb -C
expect 0 "Successfully destroyed compute instance ID  0 from GPU  0 GPU instance ID  5" smi mig -dci -gi 5
expect 0 "Successfully destroyed GPU instance ID  5 from GPU  0" smi mig -dgi -gi 5
expect 19 "Failed to destroy GPU instances: In use by another client" smi mig -dgi
expect 0 "Successfully created GPU instance ID 12 on GPU  0 using profile MIG 1g.10gb (ID 19)" smi mig -cgi 1g.10gb:5
expect 0 "|   0     12       MIG 1g.10gb          0*     1/1           16        1     0     0   |" smi mig -lcip -gi 12
expect 0 "Successfully created compute instance ID  0 on GPU  0 GPU instance ID 12 using profile MIG 1g.10gb (ID  0)" \
  smi mig -cci -gi 12
pid=$("$sim" attach "$m" --gpu 0:0 --memory 2GiB)
expect 19 "Failed to destroy compute instances: In use by another client" smi mig -dci -gi 3
expect 0 "$pid, 2048 MiB" smi --query-compute-apps=pid,used_memory --format=csv,noheader
expect 19 "  GPU $first_bus: In use by another client" smi -i 0 -r
kill -9 "$pid"
pid=

# Time slices belong to a GPU, and are lost with the driver; so are instances, and here MIG mode.
expect 0 "Successfully set timeslice config to Short for GPU $(bus 1)" smi compute-policy -i 1 --set-timeslice=1
expect 0 "|   1     Timeslice        Short    |" smi compute-policy -l
expect 0 "|   0     Timeslice        Default  |" smi compute-policy --list
expect 0 "Successfully set timeslice config to Long for GPU $(bus 1)" smi compute-policy -i "$second" --set-timeslice 3
says "Long" smi compute-policy -l -i "$second"
expect 2 "Invalid timeslice config 4: it is 0 (default), 1 (short), 2 (medium) or 3 (long)" smi compute-policy --set-timeslice=4
expect 4 "Failed to set timeslice: Insufficient Permissions" env TRANCHE_SIM_UID=1234 \
  "$sim" exec "$m" -- nvidia-smi compute-policy --set-timeslice=1
expect 0 "Set compute mode to EXCLUSIVE_PROCESS for GPU $(bus 1)." smi -i 1 -c EXCLUSIVE_PROCESS
modprobe() { "$sim" exec "$m" -- modprobe "$@"; }
expect 1 "modprobe: FATAL: Module nvidia is in use." modprobe -r nvidia
expect 1 "modprobe: FATAL: Module i915 not found." modprobe i915
pid=$("$sim" attach "$m" --gpu 1 --memory 1GiB)
expect 1 "modprobe: FATAL: Module nvidia_uvm is in use." modprobe -r nvidia-uvm
kill -9 "$pid"
pid=
modprobe -r nvidia_uvm nvidia_drm
expect 9 "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. Make sure that the latest NVIDIA driver is installed and running." smi
modprobe nvidia
expect 0 "|   1     Timeslice        Default  |" smi compute-policy -l
expect 0 "Default, Disabled, [N/A]" smi -i 0 --query-gpu=compute_mode,mig.mode.current,fan.speed --format=csv,noheader
says "CUDA Version: 13.0" smi
exit "$failed"
