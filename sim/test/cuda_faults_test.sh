#!/usr/bin/env bash
# Functions of libcuda.so.1 that fail, or are not there, as the machine says.
#   cuda_faults_test.sh TRANCHE_SIM GPU_SHARER
set -euo pipefail
sim=$1 sharer=$2
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
m=$scratch/m
failed=0
# says WHAT TEXT COMMAND...: the command's output holds the text.
says() {
  local what=$1 text=$2 out
  shift 2
  out=$("$@" 2>&1) || true
  [[ $out == *"$text"* ]] || { echo "FAILED: $what: $out"; failed=1; }
}
run() { "$sim" exec "$m" -- "$sharer" "$@"; }

"$sim" create "$m" --gpu H100-SXM5-80GB >/dev/null
"$sim" fault "$m" --fail cuLaunchKernel=719@3
says "the third launch fails" "launch: 719" run deep 1 132 1000
says "the machine says so" "fails: cuLaunchKernel answers 719, call 3" "$sim" show "$m"
"$sim" fault "$m" --fail cuCtxCreate_v2=2
says "every context fails" "context: 2" run sync 1 132 1
says "a mistyped name" "did you mean" "$sim" fault "$m" --fail cuLaunchKernal=719
says "no code" "is not CALL=CODE" "$sim" fault "$m" --fail cuLaunchKernel
says "no such call" "is not CALL=CODE" "$sim" fault "$m" --fail cuLaunchKernel=719@0
"$sim" fault "$m" --clear
says "cleared" "" run sync 1 132 1
run sync 1 132 1 >/dev/null || { echo "FAILED: still failing"; failed=1; }

"$sim" fault "$m" --missing-symbol cuStreamCreate
says "a symbol is gone" "no cuStreamCreate" run sync 1 132 1
says "cuGetProcAddress does not know it" "cuStreamCreate: 500 1" run look cuStreamCreate 0 0
says "and knows others" "cuStreamDestroy: 0 0" run look cuStreamDestroy 0 0
"$sim" fault "$m" --clear
says "it is back" "cuStreamCreate: 0 0" run look cuStreamCreate 0 0
exit "$failed"
