load common

# The probe that gpu-check runs on real GPUs: what it reads must be right, and it must leave no trace.
@test "nvml_probe writes what NVML says and leaves the machine as it was" {
  machine H100-SXM5-80GB T4
  sim show "$M" >"$DIR/before"
  on_machine "$TRANCHE_BIN/nvml_probe" >"$DIR/nvml.json"
  sim show "$M" >"$DIR/after"
  diff "$DIR/before" "$DIR/after"
  [[ $(jq -r '.gpus[0].name' "$DIR/nvml.json") == "NVIDIA H100 80GB HBM3" ]]
  [[ $(jq '[.gpus[0].gpu_instance_profiles[] | select(.v2_code == 0)] | length' "$DIR/nvml.json") -ge 7 ]]
  # Both versions of the struct say the same.
  [[ $(jq '[.gpus[0].gpu_instance_profiles[] | select(.v2.sm != .v3.sm or .v2.memory_mib != .v3.memory_mib)] | length' \
    "$DIR/nvml.json") -eq 0 ]]
  # A GPU without MIG says so, with a code rather than a zero.
  [[ $(jq '.gpus[1] | has("mig_mode_current")' "$DIR/nvml.json") == false ]]
  [[ $(jq '.gpus[1].mig_mode_code' "$DIR/nvml.json") == 3 ]]
  jq -e '.symbols | index("nvmlInit_v2")' "$DIR/nvml.json"
}

@test "nvml_probe without a driver ends with 69" {
  fails_with 69 "$TRANCHE_BIN/nvml_probe" --library "$DIR/libnvidia-ml.so.1"
}
