load common

# On a simulated GPU kernels do nothing but take their time, so no number here says anything: that
# each step is there, and that those which need no kernel find the limiter right, does.
@test "gpu-check builds the limiter alone, runs through, and its file has every step" {
  machine H100-SXM5-80GB
  local out=$DIR/gpu.json
  local ccache=()
  if command -v ccache >/dev/null; then
    ccache=(CMAKE_C_COMPILER_LAUNCHER=ccache CMAKE_CXX_COMPILER_LAUNCHER=ccache)
  fi
  run on_machine env "${ccache[@]}" GPU_CHECK_BUILD="$BATS_FILE_TMPDIR/build" "$TRANCHE_SOURCE/scripts/gpu-check" "$out" --fast
  echo "$output"
  [[ $status -eq 0 ]]
  [[ $(jq -r '[.steps[].step] | join(" ")' "$out") == "device nvml facts time_slices overhead memory shares_30_70 \
limits_alone torch latency kill_storm shares_10_90 shares_3x33_with_pauses mps" ]]
  [[ $(jq -r '.simulated' "$out") == yes* ]]
  jq -e '[.steps[] | select(.status == "failed" or (.status == "skipped" and (.reason // "") == ""))] == []' "$out"
  # Ten families, none over the limit; nothing left of those that were killed.
  jq -e '[.steps[] | select(.step == "memory").values[] | select(.what == "of_the_gpu_over_the_limit")]
         | length == 10 and all(.met)' "$out"
  jq -e '[.steps[] | select(.step == "kill_storm").values[] | select(.met != null)] | all(.met)' "$out"
  jq -e '[.steps[] | select(.step == "shares_30_70").values[] | select(.what == "error_of_ratio")] | length == 6' "$out"
  jq -e '.steps[] | select(.step == "nvml").document.gpus | length == 1' "$out"
}

@test "gpu-check without a driver says so, and its file too" {
  run env LD_LIBRARY_PATH= GPU_CHECK_BUILD="$BATS_FILE_TMPDIR/build" "$TRANCHE_SOURCE/scripts/gpu-check" \
    "$DIR/gpu.json" --fast
  echo "$output"
  [[ $status -eq 69 ]]
  [[ $(jq -r '.steps[0].status + " " + .steps[0].reason' "$DIR/gpu.json") == "failed no driver"* ]]
  jq -e '[.steps[1:][] | .status == "skipped"] | all' "$DIR/gpu.json"
}
