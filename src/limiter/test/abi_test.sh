#!/usr/bin/env bash
# The ABI that a library of ours shows to the programs it is loaded into: exactly the listed exports, nothing of
# glibc newer than 2.28, no library but libc's own.
#   abi_test.sh LIBRARY SYMBOL_LIST
set -euo pipefail
library=$1 list=$2

diff <(nm -D --defined-only "$library" | awk '{ print $3 }' | sort) \
  <({ grep -oE '^CUDA_SYMBOL\([A-Za-z0-9_]+' "$list" | cut -d'(' -f2; echo tranche_limiter_marker; } | sort) ||
  { echo "the exports are not the list"; exit 1; }

newest=$(objdump -T "$library" | grep -oE 'GLIBC_[0-9.]+' | sort -uV | tail -1)
[[ $(printf '%s\n' "$newest" GLIBC_2.28 | sort -V | tail -1) == GLIBC_2.28 ]] || { echo "needs $newest"; exit 1; }

needed=$(objdump -p "$library" | awk '$1 == "NEEDED" { print $2 }' | sort | tr '\n' ' ')
[[ $needed == "libc.so.6 libdl.so.2 libpthread.so.0 " ]] || { echo "needs $needed"; exit 1; }

# What would change the program it is in.
if nm -D --undefined-only "$library" | grep -wE 'exit|_exit|abort|signal|sigaction|umask|fprintf|printf|write|perror|__cxa_throw|_Znwm|malloc'; then
  echo "calls what it must not"
  exit 1
fi
