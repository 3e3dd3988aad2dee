#!/usr/bin/env bash
# The ABI that a library of ours shows to the programs it is loaded into: exactly the listed exports, nothing of
# glibc newer than 2.28, no library but libc's own.
#   abi_test.sh LIBRARY (SYMBOL_LIST | NAME)...
# A SYMBOL_LIST has lines of CUDA_SYMBOL(name...) or NVML_SYMBOL(name). Spare exports have no name yet; there are 256
# of them or none.
set -euo pipefail
library=$1
shift

listed() {
  echo tranche_limiter_marker
  local list
  for list in "$@"; do
    if [[ $list == *.inc ]]; then
      grep -oE '^(CUDA|NVML)_SYMBOL\([A-Za-z0-9_]+' "$list" | cut -d'(' -f2
    else
      echo "$list"
    fi
  done
}
exported=$(nm -D --defined-only "$library" | awk '{ print $3 }' | sort)
diff <(grep -v '^tranche_nvml_spare_' <<<"$exported") <(listed "$@" | sort -u) ||
  { echo "the exports are not the list"; exit 1; }
spares=$(grep -c '^tranche_nvml_spare_' <<<"$exported" || true)
[[ $spares == 0 || ($spares == 256 && $library == *libnvidia-ml*) ]] || { echo "$spares spare exports"; exit 1; }

newest=$(objdump -T "$library" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
[[ $(printf '%s\n' "$newest" GLIBC_2.28 | sort -V | tail -1) == GLIBC_2.28 ]] || { echo "needs $newest"; exit 1; }

needed=$(objdump -p "$library" | awk '$1 == "NEEDED" { print $2 }' | sort | tr '\n' ' ')
[[ $needed == "libc.so.6 libdl.so.2 libpthread.so.0 " ]] || { echo "needs $needed"; exit 1; }

# What would change the program it is in.
if nm -D --undefined-only "$library" |
   grep -wE 'exit|_exit|abort|raise|kill|signal|sigaction|umask|setenv|putenv|setlocale|chdir|atexit|fprintf|printf|puts|write|perror|syslog|__cxa_throw|_Znwm|malloc|calloc|free'; then
  echo "calls what it must not"
  exit 1
fi
# Nothing that has to be writable and executable, and no text that the loader writes to.
if objdump -p "$library" | grep -E 'TEXTREL|RWE|rwx'; then
  echo "has pages that are written and executed"
  exit 1
fi
