load common

# What a program can see of itself and of the driver is the same with the limiter and without: answers, errno, signal
# handlers and mask, umask, descriptors, environment, folder, locale, rounding, limits, threads. The one difference that
# there is: with the limiter a memory mapping more (the slice). No descriptor of ours stays open.
TENANTS=${TRANCHE_TENANTS:-$TRANCHE_BIN/../test/tenants}

bare() { on_machine "$TENANTS/manners"; }
shimmed() { tranche run --local --memory 70GiB "$@" -- "$TENANTS/manners"; }
preloaded() {
  tranche run --local --memory 70GiB "$@" -- env LD_LIBRARY_PATH="$M/lib:$TRANCHE_BIN/../lib/sim" \
    LD_PRELOAD="$TRANCHE_BIN/../lib/libtranche-limiter.so" "$TENANTS/manners"
}
# It ends with 7 when it got to its end.
record() {
  local name=$1
  shift
  run "$@"
  [[ $status -eq 7 ]] || { echo "$name: $status"; echo "$output"; return 1; }
  echo "$output" >"$DIR/$name"
  [[ $(grep -c '^ *[0-9]* CUDA' "$DIR/$name") -gt 60 ]]
}

@test "a program behaves with the shims as without them" {
  machine H100-SXM5-80GB
  record bare bare
  record shimmed shimmed
  diff "$DIR/bare" "$DIR/shimmed"
}

@test "and with the preloaded library" {
  machine H100-SXM5-80GB
  record bare bare
  record preloaded preloaded
  diff "$DIR/bare" "$DIR/preloaded"
}

# The limiter then measures every launch, and has a thread of its own for it.
@test "and when its share of the GPU's time is held, too" {
  machine H100-SXM5-80GB
  record bare bare
  record shimmed shimmed --compute 50%
  diff "$DIR/bare" "$DIR/shimmed"
  record preloaded preloaded --compute 50%
  diff "$DIR/bare" "$DIR/preloaded"
}

@test "nothing of the process is changed, and no descriptor stays open" {
  machine H100-SXM5-80GB
  record shimmed shimmed
  run grep -E 'differs|descriptor|signals reached the program: 0' "$DIR/shimmed"
  [[ $status -eq 1 ]] || { echo "$output"; return 1; }
}

@test "standard output and standard error are the program's alone" {
  machine H100-SXM5-80GB
  tranche run --local --memory 4GiB -- "$TENANTS/cuda_fill" dlopen linear 10 >"$DIR/out" 2>"$DIR/err"
  [[ $(wc -l <"$DIR/out") == 1 && ! -s $DIR/err ]] || { cat "$DIR/out" "$DIR/err"; return 1; }
}
