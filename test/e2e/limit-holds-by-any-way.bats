load common

# However a program comes to the driver, and however its processes come to be, together they hold no more than
# the slice. Of 4 GiB a first context leaves room for 357 times 10 MiB, a second one for 304 in both.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
ONE=357 TWO=304
limited() { tranche run --local --memory 4GiB -- "$@"; }
ways() { limited env LD_LIBRARY_PATH="$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim:$TENANTS" "$TENANTS/cuda_ways" "$@"; }
fill() { limited "$@" "$TENANTS/cuda_fill" dlopen linear 10; }
filled() { [[ $status -eq 0 && $output == "$1 2 "* ]] || { echo "$output"; return 1; }; }
root() { (( EUID == 0 )) || skip "needs root"; }

@test "dlsym in the global scope" {
  machine H100-SXM5-80GB
  run ways take default
  [[ $status -eq 0 && $output == "$ONE 2" ]] || { echo "$output"; return 1; }
}

@test "a library that needs the driver and is opened with RTLD_DEEPBIND" {
  machine H100-SXM5-80GB
  run ways take plugin
  [[ $status -eq 0 && $output == "$ONE 2" ]] || { echo "$output"; return 1; }
}

@test "dlmopen: a link namespace of its own, alone and beside the first one" {
  machine H100-SXM5-80GB
  run ways take dlmopen
  [[ $status -eq 0 && $output == "$ONE 2" ]] || { echo "$output"; return 1; }
  run ways take twice
  [[ $status -eq 0 && $output == "60 $((TWO - 60)) 2" ]] || { echo "$output"; return 1; }
}

@test "fork, vfork and posix_spawn: the child has what its parent leaves" {
  machine H100-SXM5-80GB
  local way
  for way in fork vfork spawn; do
    run ways hold $way "$TENANTS/cuda_fill" dlopen linear 10
    filled $((TWO - 60)) || { echo "$way"; return 1; }
  done
}

@test "exec gives back what the program before it held" {
  machine H100-SXM5-80GB
  run ways hold exec "$TENANTS/cuda_fill" dlopen linear 10
  filled $ONE
}

@test "a child that was forked before all else shares with its parent, both asking at once" {
  machine H100-SXM5-80GB
  run ways hold fork-first
  local child code parent last
  read -r child code parent last <<<"$output"
  [[ $status -eq 0 && $((parent + child)) == "$TWO" && $code == 2 && $last == 2 ]] || { echo "$output"; return 1; }
}

@test "a child of a process that uses the driver breaks nothing, neither itself nor the account" {
  machine H100-SXM5-80GB
  run ways hold fork-after
  [[ $status -eq 0 && $output == "$ONE 2" ]] || { echo "$output"; return 1; }
}

@test "a program that clears its environment stays in its slice" {
  machine H100-SXM5-80GB
  run limited python3 - <<'PYTHON'
import ctypes, os
cuda = ctypes.CDLL("libcuda.so.1")
for name in list(os.environ):
    if name.startswith("TRANCHE_SLICE"):
        del os.environ[name]
context, pointer, device = ctypes.c_void_p(), ctypes.c_uint64(), ctypes.c_int()
assert cuda.cuInit(0) == 0 and cuda.cuDeviceGet(ctypes.byref(device), 0) == 0
assert cuda.cuDevicePrimaryCtxRetain(ctypes.byref(context), device) == 0
assert cuda.cuCtxSetCurrent(context) == 0
count = 0
while cuda.cuMemAlloc_v2(ctypes.byref(pointer), ctypes.c_size_t(10 << 20)) == 0:
    count += 1
print(count)
PYTHON
  [[ $status -eq 0 && $output == "$ONE" ]] || { echo "$output"; return 1; }
}

@test "a pid namespace, with a neighbour of the same slice outside of it" {
  root
  unshare --pid --mount --mount-proc --fork true 2>/dev/null || skip "no pid namespaces here"
  machine H100-SXM5-80GB
  run fill unshare --pid --mount --mount-proc --fork
  filled $ONE
  run ways hold fork "$(command -v unshare)" --pid --mount --mount-proc --fork "$TENANTS/cuda_fill" dlopen linear 10
  filled $((TWO - 60))
}

# A killed process in another pid namespace is as dead as any, though its pid means nothing here.
@test "what a process held that was killed in a pid namespace comes back" {
  root
  unshare --pid --mount --mount-proc --fork true 2>/dev/null || skip "no pid namespaces here"
  machine H100-SXM5-80GB
  run limited sh -c '
    mkfifo "$2"
    unshare --pid --mount --mount-proc --fork --kill-child "$1/cuda_fill" dlopen linear 10 60 hold <"$2" >"$2.out" &
    first=$!
    exec 9>"$2"
    until [ -s "$2.out" ]; do sleep 0.05; done
    "$1/cuda_fill" dlopen linear 10
    kill -9 $first
    wait $first
    # Until the namespace is gone.
    for try in $(seq 100); do
      "$1/cuda_fill" dlopen linear 10 >"$2.last"
      case $(cat "$2.last") in 357\ *) break ;; esac
      sleep 0.1
    done
    cat "$2.last"' - "$TENANTS" "$DIR/in" 3>&-
  echo "$output"
  [[ ${lines[0]} == "$((TWO - 60)) 2 "* && ${lines[-1]} == "$ONE 2 "* ]]
}

@test "a root file system that is read-only, but for the slice's folder and the machine's" {
  root
  unshare --mount true 2>/dev/null || skip "no mount namespaces here"
  machine H100-SXM5-80GB
  run fill unshare --mount sh -c 'mount --bind "$0" "$0" && mount -o remount,bind,ro / && ! touch /tranche-touched 2>/dev/null && exec "$@"' "$DIR"
  filled $ONE
}

@test "uid 1000" {
  root
  setpriv --reuid=1000 --regid=1000 --clear-groups test -x "$TRANCHE_BIN/tranche" 2>/dev/null || skip "another user cannot read the build"
  machine H100-SXM5-80GB
  chown -R 1000:1000 "$DIR"
  run setpriv --reuid=1000 --regid=1000 --clear-groups env HOME="$DIR" \
    "$TRANCHE_BIN/tranche-sim" exec "$M" -- timeout 60 "$TRANCHE_BIN/tranche" run --local --memory 4GiB -- \
    sh -c '[ "$(id -u)" = 1000 ] && exec "$@"' - "$TENANTS/cuda_fill" dlopen linear 10
  filled $ONE
}
