load common

# `tranche advise` needs no GPU, no daemon and no rights.

advise() { "$TRANCHE_BIN/tranche" advise "$@" -o json; }
# advised MECHANISM ARGUMENTS...
advised() {
  local mechanism=$1
  shift
  advise "$@" >"$DIR/answer.json"
  jq -e --arg m "$mechanism" '.mechanism == $m' "$DIR/answer.json" >/dev/null || { cat "$DIR/answer.json"; return 1; }
}

@test "the answer is a walk of questions, and says why not the others" {
  advised mig --kind inference --isolation hardware --gpu H100-SXM5-80GB --memory 8GiB
  jq -e '.profile == "1g.10gb" and .tenants_per_gpu == 7 and .accepts != ""' "$DIR/answer.json"
  jq -e '.path | length > 5 and all(.question != "" and .answer != "" and .because != "")' "$DIR/answer.json"
  jq -e '[.rejected[].mechanism] | sort == ["exclusive", "fraction", "mps", "time-slicing", "vgpu"]' "$DIR/answer.json"
  jq -e '.rejected | all(.because != "")' "$DIR/answer.json"
}

@test "isolation, trust and the GPU decide" {
  advised exclusive --isolation hardware --gpu L40S --memory 8GiB
  advised mps --isolation process --trusted --traffic steady --gpu L40S --memory 8GiB
  advised exclusive --isolation process --gpu L40S --memory 8GiB
  advised time-slicing --isolation none --gpu T4 --memory 4GiB
  advised fraction --kind notebook --isolation process --trusted --gpu T4 --memory 4GiB
  advised vgpu --virtual-machines --gpu A40 --memory 8GiB
}

@test "the traps close" {
  trap_of() { jq -e --arg q "$1" '.path[-1] | .name == $q and .trap' "$DIR/answer.json"; }
  advised exclusive --gpu H100-SXM5-80GB --model llama-3.1-70b
  jq -e '.gpus == 2 and .path[-1].name == "fits_gpu"' "$DIR/answer.json"
  advised exclusive --isolation hardware --gpu H100-SXM5-80GB --model llama-3.1-70b --precision int4
  advised exclusive --gpu H100-SXM5-80GB --memory 8GiB --sm-utilization 0.85
  trap_of busy
  advised exclusive --gpu H100-SXM5-80GB --memory 8GiB --tensor-parallel 2
  trap_of several_gpus
  advised exclusive --gpu H100-SXM5-80GB --memory 8GiB --speculative
  trap_of speculative
  advised exclusive --gpu H100-SXM5-80GB --context 131072 --concurrency 16
  trap_of long_context
  advised mig --isolation none --latency-slo 50ms --gpu H100-SXM5-80GB --memory 8GiB
  jq -e '.rejected[] | select(.mechanism == "time-slicing") | .question == "latency"' "$DIR/answer.json"
  advised mps --trusted --traffic steady --mig-locked --gpu H100-SXM5-80GB --memory 8GiB
  advised mps --trusted --traffic steady --resize-often --gpu H100-SXM5-80GB --memory 8GiB
}

@test "--why-not tells everything that speaks against one mechanism" {
  advise --isolation process --latency-slo 50ms --sm-utilization 0.9 --gpu L40S --memory 8GiB --why-not time-slicing >"$DIR/answer.json"
  jq -e '.why_not | .mechanism == "time-slicing" and (.advised | not) and ([.reasons[].name] == ["busy", "isolation", "latency"])' "$DIR/answer.json"
  run "$TRANCHE_BIN/tranche" advise --isolation none --gpu L40S --memory 8GiB --why-not mig
  [[ $status -eq 0 && $output == *"Why not mig?"* && $output == *"has no MIG"* ]]
}

@test "where nothing satisfies, it says why and exits with 3" {
  fails_with 3 "$TRANCHE_BIN/tranche" advise --gpu H100-SXM5-80GB --memory 500GiB
  [[ $output == *"no mechanism on H100-SXM5-80GB satisfies this: 500 GiB"* ]]
  advise --gpu H100-SXM5-80GB --memory 500GiB 2>/dev/null >"$DIR/answer.json" || [[ $? -eq 3 ]]
  jq -e '.mechanism == null and .error.code == "does_not_fit" and (.rejected | length == 6)' "$DIR/answer.json"
}

@test "all mistakes at once, with the nearest word, and 64" {
  fails_with 64 "$TRANCHE_BIN/tranche" advise --kind inferenc --isolation hard --gpu H1000 --memory 8 --sm-utilization 140%
  for word in --kind --isolation --gpu --memory --sm-utilization; do [[ $output == *"$word"* ]]; done
  fails_with 64 "$TRANCHE_BIN/tranche" advise --gpu L4 --model llama-3.1-80b
  [[ $output == *"did you mean 'llama-3.1-8b'"* ]]
  fails_with 64 "$TRANCHE_BIN/tranche" advise
}

@test "the tree itself can be read" {
  run "$TRANCHE_BIN/tranche" advise --tree
  [[ $status -eq 0 && $output == *"(trap)"* && $output == *"rules out mps, fraction"* ]]
  "$TRANCHE_BIN/tranche" advise --tree -o json | jq -e '.questions | length > 10 and all(.source != "" and (.answers | length > 0))'
}
