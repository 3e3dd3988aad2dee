load common

# NVML and cuMemGetInfo tell a program of a slice the same numbers, and only of its own.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
GIB=$((1 << 30))
limited() { tranche run --local --memory 4GiB -- "$@"; }
# fact NAME: the rest of that line of $output
fact() { sed -n "s/^$1 //p" <<<"$output"; }
same() {
  local name value
  for name in "$@"; do
    value=$(fact "$name")
    [[ $value == "$(fact "$1")" ]] || { echo "$1 is $(fact "$1"), $name is $value"; return 1; }
  done
}

@test "memory is the limit and what the slice holds, the same by NVML and CUDA" {
  machine H100-SXM5-80GB
  local program
  for program in nvml_view nvml_view_linked; do
    run limited "$TENANTS/$program" 100
    echo "$output"
    [[ $status -eq 0 && $(fact v1_code) == 0 && $(fact v2_code) == 0 ]]
    [[ $(fact cuda_total) == $((4 * GIB)) && $(fact v2_used) == $((4 * GIB - $(fact cuda_free))) ]]
    same cuda_total v1_total v2_total
    same cuda_free v1_free v2_free
    same v1_used v2_used
    [[ $(fact v2_reserved) == 0 ]]
  done
}

# Whether the question was right is for the driver to say.
@test "a wrong struct version, no room, no device, no init: the driver's own answers" {
  machine H100-SXM5-80GB
  run on_machine "$TENANTS/nvml_view" 100
  [[ $status -eq 0 ]]
  local name answers=()
  local asked=(v2_wrong_version details_wrong_version null no_device processes_asked after_shutdown)
  for name in "${asked[@]}"; do answers+=("$(fact $name)"); done
  run limited "$TENANTS/nvml_view" 100
  echo "$output" "${answers[@]}"
  local i
  for i in "${!asked[@]}"; do [[ -n ${answers[i]} && $(fact "${asked[i]}") == "${answers[i]}" ]]; done
  [[ $(fact v2_wrong_version) == 25 && $(fact after_shutdown) == 1 ]]
}

@test "neighbours on the GPU are not shown: neither their processes, nor their memory, nor their load" {
  machine H100-SXM5-80GB
  sim attach "$M" --gpu 0 --memory 20GiB --load 0.5 --for 60s >"$DIR/neighbour" 2>/dev/null 3>&-
  run on_machine "$TENANTS/nvml_view"
  echo "$output"
  [[ $(fact processes_v1) == "0 1" && $(fact utilization) == "0 50" && $(fact samples) == "0 1" ]]
  [[ $(fact v2_used) -ge $((20 * GIB)) ]]
  run limited "$TENANTS/nvml_view"
  echo "$output"
  [[ $status -eq 0 && $(fact processes_v1) == "0 0" && $(fact details) == "0 0" ]]
  [[ $(fact utilization) == "0 0" && $(fact samples) == "6 0" ]]
  [[ $(fact v2_used) == 0 && $(fact v2_free) == $((4 * GIB)) ]]
  run limited "$TENANTS/nvml_view" 100
  echo "$output"
  [[ $(fact processes_v1) == "0 1" && $(fact process) == "self $(fact v2_used) -1" ]]
}

@test "the processes of one slice see each other, and their memory adds up" {
  machine H100-SXM5-80GB
  run limited sh -c '
    mkfifo "$2"
    "$1/cuda_fill" dlopen linear 10 20 hold <"$2" >"$2.out" &
    exec 9>"$2"
    until [ -s "$2.out" ]; do sleep 0.05; done
    "$1/nvml_view" 100
    exec 9>&-
    wait' - "$TENANTS" "$DIR/in"
  echo "$output"
  [[ $status -eq 0 && $(fact processes_code) == 0 && $(fact processes_asked) == "7 2" ]]
  local sum=0 who bytes
  while read -r who bytes _; do sum=$((sum + bytes)); done < <(fact process)
  [[ $(fact process | wc -l) == 2 && $(fact process | grep -c '^other ') == 1 && $sum == $(fact v2_used) ]]
}

@test "a GPU of which the slice has no part is shown as it is" {
  machine H100-SXM5-80GB:2
  local other
  other=$(sim show "$M" -o json | jq -r '.gpus[1].uuid')
  run limited env VIEW_UUID="$other" "$TENANTS/nvml_view" 100
  echo "$output"
  [[ $status -eq 0 && $(fact v1_total) -gt $((70 * GIB)) && $(fact processes_v1) == "0 0" ]]
}

@test "a MIG device that is the slice's shows the limit, its GPU shows what it has" {
  machine A100-SXM4-40GB
  make_foreign_instance 9
  local uuid
  uuid=$(nvml | jq -r '.gpus[0].mig_instances[0] | (.compute_instances[0].uuid // .uuid)')
  [[ $uuid == MIG-* ]]
  "$TENANTS/make_slice" "$DIR/slice" 2048 "$uuid"
  local path="$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim"
  run on_machine env LD_LIBRARY_PATH="$path" TRANCHE_SLICE_FILE="$DIR/slice" VIEW_UUID="$uuid" "$TENANTS/nvml_view"
  echo "$output"
  [[ $status -eq 0 && $(fact v1_total) == $((2 * GIB)) && $(fact v2_total) == $((2 * GIB)) ]]
  [[ $(fact v2_free) == $((2 * GIB)) ]]
  run on_machine env LD_LIBRARY_PATH="$path" TRANCHE_SLICE_FILE="$DIR/slice" "$TENANTS/nvml_view"
  echo "$output"
  [[ $status -eq 0 && $(fact v1_total) -gt $((30 * GIB)) ]]
}

# Unknown is never 0.
@test "of a slice that is named but not there nothing is said" {
  machine H100-SXM5-80GB
  run on_machine env "LD_LIBRARY_PATH=$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim" \
    TRANCHE_SLICE_FILE="$DIR/none" "$TENANTS/nvml_view"
  echo "$output"
  [[ $status -eq 0 && $(fact v1_code) == 27 && $(fact v2_code) == 27 && $(fact processes_code) == 27 ]]
}

@test "without a slice the library is the driver's, as if it were not there" {
  machine H100-SXM5-80GB
  run on_machine "$TENANTS/nvml_view" 100
  local bare=$output
  run on_machine env "LD_LIBRARY_PATH=$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim" "$TENANTS/nvml_view" 100
  echo "$output"
  [[ $status -eq 0 && $output == "$bare" ]]
}

@test "watching takes no place in the slice from those who work" {
  machine H100-SXM5-80GB
  run limited sh -c '
    "$1/nvml_view" >/dev/null
    od -An -t u8 -j 24 -N 8 "$TRANCHE_SLICE_FILE"' - "$TENANTS"
  echo "$output"
  [[ $status -eq 0 ]]
  # slots_used
  [[ $output -eq 0 ]]
}

# Programs look at what a driver's library has to learn how old it is.
@test "functions that the driver lacks are not there" {
  machine H100-SXM5-80GB
  cat >"$DIR/has.py" <<'PYTHON'
import ctypes, sys
nvml = ctypes.CDLL("libnvidia-ml.so.1")
print(*[name for name in sys.argv[1:] if hasattr(nvml, name)])
PYTHON
  local asked=(nvmlInit_v2 nvmlDeviceGetMemoryInfo nvmlDeviceGetMemoryInfo_v2 nvmlDeviceGetName nvmlNoSuchThing)
  run limited python3 "$DIR/has.py" "${asked[@]}"
  [[ $output == "nvmlInit_v2 nvmlDeviceGetMemoryInfo nvmlDeviceGetMemoryInfo_v2 nvmlDeviceGetName" ]]
  sim fault "$M" --gpu 0 --missing-symbol nvmlDeviceGetMemoryInfo_v2
  run limited python3 "$DIR/has.py" "${asked[@]}"
  echo "$output"
  [[ $output == "nvmlInit_v2 nvmlDeviceGetMemoryInfo nvmlDeviceGetName" ]]
}
