load common

@test "plan -o json has the pinned keys, and only JSON on stdout" {
  machine H100-SXM5-80GB
  tranche plan -f "$TRANCHE_SOURCE/examples/three-models.yaml" -o json 2>/dev/null >"$DIR/plan.json"
  jq -e '.format_version == "1.0" and .feasible and (.placements | length) == 3 and .unplaced == [] and
         (.machine_fingerprint | startswith("m1:")) and
         all(.placements[]; .workload and .gpu_uuid and .gpu_model == "H100-SXM5-80GB" and .mechanism == "mig" and
             (.profile | test("^[12]g[.]")) and (.placement_start | type) == "number" and
             .memory_bytes >= .needed_bytes and .needed_bytes > 0 and .compute_fraction > 0 and
             (.guarantee | .memory == "hardware" and .compute == "hardware" and .fault == "hardware" and .access != null) and
             (.reasons | length) > 0) and
         all(.steps[]; .action and .target and .why != null)' "$DIR/plan.json"
}

@test "the same plan twice is the same, byte for byte" {
  machine H100-SXM5-80GB
  tranche inventory -o json >"$DIR/machine.json"
  for i in 1 2; do
    "$TRANCHE_BIN/tranche" plan -f "$TRANCHE_SOURCE/examples/three-models.yaml" --machine "$DIR/machine.json" \
      --out "$DIR/plan$i.json"
  done
  cmp "$DIR/plan1.json" "$DIR/plan2.json"
}

@test "an error with -o json is JSON on stdout" {
  for arguments in "plan -f /no/such/file" "statsu" "plan --no-such-flag" "status --socket /no/such/socket"; do
    # shellcheck disable=SC2086
    run bash -c "\"$TRANCHE_BIN/tranche\" $arguments -o json 2>/dev/null"
    [[ $status -eq 64 || $status -eq 69 ]]
    jq -e '.error.code and .error.message' <<<"$output"
  done
}
