#!/usr/bin/env bash
# Each machine's folder of libraries has the libcuda of its driver: under the driver's version, and without the
# symbols that came later.
#   cuda_generations_test.sh TRANCHE_SIM
set -euo pipefail
sim=$1
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
failed=0
check() {  # check WHAT COMMAND...
  local what=$1
  shift
  "$@" || { echo "FAILED: $what"; failed=1; }
}
has() { nm -D --defined-only "$1" | grep " [TW] $2$" >/dev/null; }
lacks() { ! has "$@"; }

for driver in 535:cuda12020 570:cuda12080 580:cuda13000 615:cuda13040; do
  branch=${driver%%:*} folder=$scratch/${driver%%:*}
  "$sim" create "$folder" --gpu H100-SXM5-80GB --driver "$branch" >/dev/null
  library=$folder/lib/libcuda.so.1
  check "$branch: the link points at the driver's version" \
    test "$(readlink "$library" | cut -d. -f3)" = "$branch"
  check "$branch: has what is older" has "$library" cuCtxCreate_v3
  if [[ $branch == 535 ]]; then
    check "535: lacks what CUDA 12.5 brought" lacks "$library" cuCtxCreate_v4
  else
    check "$branch: has what CUDA 12.5 brought" has "$library" cuCtxCreate_v4
  fi
  if [[ $branch -lt 580 ]]; then
    check "$branch: lacks what CUDA 13.0 brought" lacks "$library" cuMemcpyBatchAsync_v2
  else
    check "$branch: has what CUDA 13.0 brought" has "$library" cuMemcpyBatchAsync_v2
  fi
done
exit "$failed"
