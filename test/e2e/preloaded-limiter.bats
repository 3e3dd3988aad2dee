load common

# libtranche-limiter.so, for places where files cannot be put before the driver's: LD_PRELOAD alone, with the
# driver's own libraries on the search path.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}
GIB=$((1 << 30))
ONE=357 TWO=304
preloaded() {
  tranche run --local --memory 4GiB -- env REAL_FOLDER="$M/lib" \
    LD_LIBRARY_PATH="$M/lib:$TRANCHE_BIN/../lib/sim:$TENANTS" \
    LD_PRELOAD="$TRANCHE_BIN/../lib/libtranche-limiter.so" "$@"
}
fact() { sed -n "s/^$1 //p" <<<"$output"; }

@test "linked, dlopen, RTLD_DEEPBIND, cuGetProcAddress: the limit holds" {
  machine H100-SXM5-80GB
  local access_mode program
  for access_mode in linked dlopen deepbind proc; do
    program=cuda_fill
    [[ $access_mode == linked ]] && program=cuda_fill_linked
    run preloaded "$TENANTS/$program" $access_mode linear 10
    echo "$access_mode: $output"
    [[ $status -eq 0 && $output == "$ONE 2 "* ]]
  done
}

@test "every family of allocations is held" {
  machine H100-SXM5-80GB
  local family count code used total
  for family in linear small pitch managed async pool vmm vmm-released array mipmap graph; do
    local size=10
    [[ $family == small ]] && size=0.3
    run preloaded "$TENANTS/cuda_fill" dlopen $family $size
    echo "$family: $output"
    read -r count code used total <<<"$output"
    [[ $status -eq 0 && $code == 2 && $total == $((4 * GIB)) && $used -le $total && $count -gt 0 ]]
  done
}

@test "the driver's file by its path, a dependency opened with RTLD_DEEPBIND, RTLD_DEFAULT, dlmopen" {
  machine H100-SXM5-80GB
  local access_mode
  for access_mode in path plugin default dlmopen; do
    run preloaded "$TENANTS/cuda_ways" take $access_mode
    echo "$access_mode: $output"
    [[ $status -eq 0 && $output == "$ONE 2" ]]
  done
  run preloaded "$TENANTS/cuda_ways" take twice
  [[ $status -eq 0 && $output == "60 $((TWO - 60)) 2" ]] || { echo "$output"; return 1; }
}

# The shims alone do not hold a program that names the driver's file with its folder.
@test "together with the shims on the search path it is one limiter, not two" {
  machine H100-SXM5-80GB
  local access_mode
  for access_mode in default path plugin dlmopen; do
    run tranche run --local --memory 4GiB -- env REAL_FOLDER="$M/lib" \
      LD_LIBRARY_PATH="$TRANCHE_BIN/../lib/tranche:$M/lib:$TRANCHE_BIN/../lib/sim:$TENANTS" \
      LD_PRELOAD="$TRANCHE_BIN/../lib/libtranche-limiter.so" "$TENANTS/cuda_ways" take $access_mode
    echo "$access_mode: $output"
    [[ $status -eq 0 && $output == "$ONE 2" ]]
  done
}

@test "fork, vfork, posix_spawn and exec: the limit is the slice's" {
  machine H100-SXM5-80GB
  local way
  for way in fork vfork spawn; do
    run preloaded "$TENANTS/cuda_ways" hold $way "$TENANTS/cuda_fill" dlopen linear 10
    echo "$way: $output"
    [[ $status -eq 0 && $output == "$((TWO - 60)) 2 "* ]]
  done
  run preloaded "$TENANTS/cuda_ways" hold exec "$TENANTS/cuda_fill" dlopen linear 10
  [[ $status -eq 0 && $output == "$ONE 2 "* ]] || { echo "$output"; return 1; }
}

@test "NVML shows the slice, looked up and linked" {
  machine H100-SXM5-80GB
  local program
  for program in nvml_view nvml_view_linked; do
    run preloaded "$TENANTS/$program" 100
    echo "$output"
    [[ $status -eq 0 && $(fact v1_total) == $((4 * GIB)) && $(fact v2_total) == $((4 * GIB)) ]]
    [[ $(fact v1_free) == "$(fact cuda_free)" && $(fact processes_code) == 0 ]]
    [[ $(fact process) == "self $(fact v2_used) -1" ]]
  done
}

# A dlopen of ours that called libc's would be the caller by whose RUNPATH libc looks.
@test "dlopen still finds what only the caller's RUNPATH leads to" {
  machine H100-SXM5-80GB
  mkdir "$DIR/beside"
  echo 'int beside(void) { return 42; }' >"$DIR/beside.c"
  cc -shared -fPIC -o "$DIR/beside/libbeside.so" "$DIR/beside.c"
  cat >"$DIR/caller.c" <<'C'
#include <dlfcn.h>
#include <stddef.h>
int main(void) {
  void* library = dlopen("libbeside.so", RTLD_NOW);
  int (*beside)(void);
  *(void**)&beside = library == NULL ? NULL : dlsym(library, "beside");
  void* apart = dlmopen(LM_ID_NEWLM, "libbeside.so", RTLD_NOW);
  return beside == NULL || apart == NULL ? 1 : beside();
}
C
  cc -D_GNU_SOURCE -o "$DIR/caller" "$DIR/caller.c" -ldl -Wl,--enable-new-dtags,-rpath,"$DIR/beside"
  run "$DIR/caller"
  [[ $status -eq 42 ]]
  run preloaded "$DIR/caller"
  echo "$output"
  [[ $status -eq 42 ]]
}

@test "programs that have nothing to do with GPUs run as ever" {
  machine H100-SXM5-80GB
  run preloaded bash -c 'echo "$BASH_VERSINFO" && python3 -c "import ctypes, json; print(json.dumps(1))" && date >/dev/null && cat </dev/null'
  [[ $status -eq 0 && ${lines[1]} == 1 && ${#lines[@]} -eq 2 ]] || { echo "$output"; return 1; }
}

@test "without a slice nothing is limited" {
  machine H100-SXM5-80GB
  run on_machine env LD_PRELOAD="$TRANCHE_BIN/../lib/libtranche-limiter.so" "$TENANTS/cuda_fill" dlopen linear 1000 20
  [[ $status -eq 0 && $output == "20 0 "* ]] || { echo "$output"; return 1; }
}
