#pragma once

// Functions of bash that the scripts share which start MPS servers.

namespace tranche::exporting {

// nvidia-smi names the server too, and clients of it.
inline constexpr const char* kNobodyElse = R"(
# nobody_else GPU: stops while programs compute on it, which would be locked out of it.
nobody_else() {
  local others
  others=$(nvidia-smi -i "$1" --query-compute-apps=pid,process_name --format=csv,noheader)
  others=$(awk '/^[0-9]+,/ && !/nvidia-cuda-mps-server/' <<<"$others")
  [[ -n $others ]] || return 0
  printf 'Nothing was changed. These programs compute on %s, which is to be for MPS alone; end them first:\n%s\n' "$1" "$others" >&2
  exit 1
}
)";

// `mps` reaches the daemon. Its answer is "Partition GPU/ID created", or what is in the middle.
inline constexpr const char* kSmPartition = R"(
# sm_partition GPU SMS: makes a static partition of at least so many SMs; prints what
# CUDA_MPS_SM_PARTITION says of it. How large a chunk is, the GPU's own row in the list says.
sm_partition() {
  local chunks made
  chunks=$(echo lspart | mps | awk -v gpu="$1" -v sms="$2" '
    $2 == "-" && index(gpu, $1) == 1 && $5 + $6 > 0 { print int((sms * ($3 + $4) + $5 + $6 - 1) / ($5 + $6)) }')
  [[ -n $chunks ]] || { echo "MPS does not divide the SMs of $1" >&2; return 1; }
  made=$(echo "sm_partition add $1 $chunks" | mps)
  made=${made#Partition } made=${made% created}
  case $made in
    *' '* | '') echo "no partition of $chunks chunks on $1: $made" >&2; return 1 ;;
    GPU-*) echo "$made" ;;
    *) echo "$1/$made" ;;
  esac
}
)";

}  // namespace tranche::exporting
