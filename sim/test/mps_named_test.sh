#!/usr/bin/env bash
# nvidia-cuda-mps-control of a simulated machine, protocol 3: mps_named_test.sh TRANCHE_SIM GPU_SHARER
set -euo pipefail
sim=$1 sharer=$2
scratch=$(mktemp -d)
# With so long a name that a namespace's may be too long for a socket.
m=$scratch/m pipe=$scratch/pipe_directory_of_the_daemon log=$scratch/log
export CUDA_MPS_PIPE_DIRECTORY=$pipe CUDA_MPS_LOG_DIRECTORY=$log
uid=$(id -u) another=$((uid + 1000))
failed=0

control() { "$sim" exec "$m" -- nvidia-cuda-mps-control "$@"; }
lines() { printf '%s\n' "$@" | "$sim" exec "$m" -- nvidia-cuda-mps-control; }
daemon() { cat "$pipe/nvidia-cuda-mps-control.pid"; }
trap '[[ ! -f $pipe/nvidia-cuda-mps-control.pid ]] || kill -9 "$(daemon)" || true; rm -rf "$scratch"' EXIT
is() { [[ $2 == "$3" ]] || { echo "FAILED: $1: '$2', not '$3'"; failed=1; }; }
# like WHAT SAID PATTERN
like() { [[ $2 =~ $3 ]] || { echo "FAILED: $1: '$2' is not like '$3'"; failed=1; }; }
# refuses WHAT TEXT ARGUMENTS...: the program ends with 1 and says the text on stderr, and nothing else.
refuses() {
  local what=$1 text=$2 code=0 out
  shift 2
  out=$(control "$@" 2>"$scratch/stderr") || code=$?
  is "$what: its exit code" "$code" 1
  is "$what: its stdout" "$out" ""
  [[ $(cat "$scratch/stderr") == *"$text"* ]] || { echo "FAILED: $what: '$(cat "$scratch/stderr")' has no '$text'"; failed=1; }
}
does() { control "$@" || { echo "FAILED: $*"; failed=1; }; }
eventually() {
  for _ in $(seq 100); do
    if "$@"; then return 0; fi
    sleep 0.05
  done
  echo "FAILED: never: $*"
  failed=1
}
servers() { control server list --format=csv,noheader; }
is_ready() { [[ $(control server get "$1" status 2>/dev/null) == Ready ]]; }
is_gone() { [[ $(servers) != *"$1,"* ]]; }
clients_of() { control client list --server="$1" --format=csv,noheader; }
has_clients() { [[ $(clients_of "$1" | wc -l) -ge ${2:-1} ]]; }
has_ended() { ! kill -0 "$1" 2>/dev/null; }
# client PLACE [VARIABLE=VALUE...]: runs in the background for long; $! is its process.
client() {
  local place=$1
  shift
  env "$@" CUDA_MPS_PIPE_DIRECTORY="$pipe$place" "$sim" exec "$m" -- "$sharer" sync 1000 132 60000 >/dev/null 2>"$scratch/told" &
}
ends() {
  kill -9 "$@" || true
  wait "$@" 2>/dev/null || true
}
# sees PLACE [VARIABLE=VALUE...]: GPUs, SMs, MPS, and the MiB that are free ("all" but what others have) of a client
# there; or its error.
sees() {
  local place=$1
  shift
  { env "$@" CUDA_MPS_PIPE_DIRECTORY="$pipe$place" "$sim" exec "$m" -- "$sharer" see 0 0 0 2>&1 || true; } |
    awk 'NF == 4 && $4 > 70000 { $4 = "all" } { print }'
}
# idler PLACE: a client that does nothing for long; $! is its process.
idler() { CUDA_MPS_PIPE_DIRECTORY=$pipe$1 "$sim" exec "$m" -- "$sharer" see 0 0 60000 >/dev/null 2>&1 & }

"$sim" create "$scratch/old" --gpu H100-SXM5-80GB --driver 580.95 >/dev/null
is "an older driver does not know it" \
  "$("$sim" exec "$scratch/old" -- nvidia-cuda-mps-control -d -p 3 2>&1 | head -1)" "Unknown option '-p'"
"$sim" create "$m" --gpu H100-SXM5-80GB:2 --driver 615.71 >/dev/null
mapfile -t uuids < <("$sim" show "$m" -o json | sed -n 's/.*"uuid": "\(GPU[^"]*\)".*/\1/p')
refuses "nobody is there" "Cannot find MPS control daemon process" server list

# Protocol 2 has no commands, and protocol 3 no lines.
does -d
refuses "a command of protocol 3" "runs protocol 2" server list
refuses "its end" "echo quit" -q
pid=$(daemon)
lines quit
eventually has_ended "$pid"
does -d -p 3
like "lines" "$(lines get_server_list 2>&1 || true)" "runs protocol 3"
is "are refused" "$(lines get_server_list >/dev/null 2>&1 || echo $?)" 1
is "it follows the daemon, whatever is said" "$(control -p 2 server list --format=csv,noheader && echo followed)" followed

# Servers.
does server create training --allowed-devices="${uuids[0]:0:12},1"
does server create other --allowed-devices=1 --uid="$uid"
refuses "twice" "already" server create other
for name in Big a-b "$(printf 'a%.0s' {1..65})"; do refuses "no name: $name" "no name of a server" server create "$name"; done
refuses "neither name nor uid" "a name, or --uid" server create
refuses "no uid" "no user id" server create --uid=me
refuses "an unknown option" "Unknown option '--colour'" server create c --colour=red
refuses "an option without its value" "needs a value" server create c --uid
refuses "neither true nor false" "neither true nor false" server create c --locality-domains=perhaps
refuses "an unknown verb" "Unknown verb 'frob'" server frob
refuses "no verb" "needs a verb" server
refuses "an unknown module" "Unknown module 'frob'" frob list
refuses "too much" "Too many arguments" server get other pid uid
refuses "too little" "Too few arguments" server get other
like "help of a module" "$(control server help)" "server create .*server delete"
like "help of a verb" "$(control server delete help)" "^nvidia-cuda-mps-control server delete NAME \[--force\]$"
like "help of all" "$(control -h)" "context-share"
eventually is_ready training
eventually is_ready other
pid=$(control server get training pid)
is "the list" "$(control server list training --format=csv)" "name,uid,pid,status,pipe-directory,allowed-devices,context-ids
training,$uid,$pid,Ready,$pipe/training,\"${uuids[0]:0:12},1\",-"
like "for people" "$(control server list)" "^NAME +UID +PID +STATUS +PIPE-DIRECTORY"
is "a field" "$(control server get training pipe-directory)" "$pipe/training"
refuses "an unknown field" "Unknown field 'colour'" server get training colour
refuses "an unknown server" "no server 'none'" server get none pid
refuses "an unknown format" "Unknown format" server list --format=json
like "a process of its own" "$(cat "/proc/$pid/comm")" "nvidia-cuda-mps"
is "each has one" "$([[ $pid != "$(control server get other pid)" ]] && echo yes)" yes
for place in "" /training /training/default /other; do
  [[ -S $pipe$place/control ]] || { echo "FAILED: no socket in '$place'"; failed=1; }
done
[[ -s $log/training/server.log && -s $log/control.log ]] || { echo "FAILED: no logs"; failed=1; }

# Namespaces, and their limits.
does namespace create batch --server=training
refuses "twice" "already" namespace create batch --server=training
refuses "of no server" "--server" namespace create second
refuses "of an unknown one" "no server 'none'" namespace create second --server=none
refuses "no name" "no name of a namespace" namespace create UP --server=training
refuses "nothing to set" "at least one" namespace set batch --server=training
refuses "all that is wrong" "'4X' is no memory limit (a whole number with G, M or K); '0' is no active thread percentage" \
  namespace set batch --server=training --pinned-memory-limit=4X --active-thread-percentage=0
refuses "no priority" "no client priority" namespace set batch --server=training --client-priority=2
does namespace set batch --server=training --pinned-memory-limit=4G --active-thread-percentage=30
does server set training active-thread-percentage=50
refuses "nothing to set" "at least one" server set training
is "as they were set" "$(control namespace list --server=training --format=csv,noheader)" "default,training,Ready,-,50.00,-,$pipe/training/default
batch,training,Ready,4G,30.00,-,$pipe/training/batch"
is "a field" "$(control namespace get batch training pinned-memory-limit)" 4G
is "what was set stays" "$(control namespace set batch --server=training client-priority=1 && control namespace get batch training active-thread-percentage)" 30.00
is "of all servers" "$(control namespace list default --format=csv,noheader | cut -d, -f2 | xargs)" "training other"
refuses "an unknown namespace" "no namespace 'none'" namespace get none training name
refuses "no socket has such a long name" "too long" namespace create "$(printf 'a%.0s' {1..64})" --server=training
for i in $(seq 62); do does namespace create "n$i" --server=training; done
refuses "there are only so many" "as many namespaces as there may be: 64" namespace create n63 --server=training
for i in $(seq 62); do does namespace delete "n$i" --server=training; done
[[ ! -e $pipe/training/n1 ]] || { echo "FAILED: the directory of a deleted namespace"; failed=1; }

# Clients are held to what their namespace says: the server's limits bind only its default.
is "in the default namespace" "$(sees /training)" "2 66 1 all"
is "... by its own directory" "$(sees /training/default/)" "2 66 1 all"
is "in another, with the context's own memory" "$(sees /training/batch)" "2 38 1 3572"
is "its percentage is what counts" "$(sees /training/batch CUDA_MPS_ACTIVE_THREAD_PERCENTAGE=80)" "2 38 1 3572"
is "its memory may be lowered" "$(sees /training/batch CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=2G)" "2 38 1 1524"
is "but not raised" "$(sees /training/batch CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=0=8G)" "2 38 1 3572"
is "a GPU that is not seen drops all of it" "$(sees /training/batch CUDA_MPS_PINNED_DEVICE_MEM_LIMIT=7=2G)" "2 38 1 all"
does namespace create free --server=training
is "one without limits has everything" "$(sees /training/free)" "2 132 1 all"
is "a server shows what it serves" "$(sees /other)" "1 132 1 all"
is "a wrong directory is plain CUDA" "$(sees /none)" "2 132 0 all"
is "a wrong namespace is, too" "$(sees /training/none)" "2 132 0 all"

# Who is where.
client /training/batch
one=$!
eventually has_clients training
client /other
two=$!
eventually has_clients other
rows="$one,training,0,batch,$sharer sync 1000 132 60000"
is "a server's" "$(clients_of training)" "$rows"
is "all" "$(control client list --all --format=csv)" "$(printf '%s\n' "pid,server,device,namespace,cmd" "$rows" "$two,other,1,default,$sharer sync 1000 132 60000" | { read -r head; echo "$head"; sort -n; })"
refuses "not both" "--server or --all" client list --server=training --all
is "its namespace" "$(control client get $one maws-ns)" batch
is "its GPU" "$(control client get $two device)" 1
like "its bus" "$(control client get $two pci-id)" "^[0-9A-F]{8}:[0-9A-F]{2}:[0-9A-F]{2}\.0$"
like "its pid namespace" "$(control client get $one linux-ns)" "^[0-9]+$"
refuses "no client" "no client 1" client get 1 cmd
refuses "a server in use" "has clients: $one (--force" server delete training
refuses "a namespace in use" "has clients: $one (--force" namespace delete batch --server=training
refuses "a part of its server" "is a part of its server" namespace delete default --server=training --force
refuses "a partition where somebody is" "There are clients" sm-partition create a --server=training --device=0 --chunks=1
does client terminate $two
wait $two || true
like "what it was told" "$(cat "$scratch/told")" ": 810"
refuses "nobody" "no client 1" client terminate 1
does namespace delete batch --server=training --force
wait $one || true
is "its clients are gone with it" "$(clients_of training)" ""

# Faults are of one server.
client /other
two=$!
eventually has_clients other
other_told=$scratch/told.other
mv "$scratch/told" "$other_told"
client /training/free
one=$!
eventually has_clients training
idler /training
idle=$!
eventually has_clients training 2
"$sim" fault "$m" --gpu 0 --xid 31 --pid $one
wait $one || true
like "the client's" "$(cat "$scratch/told")" ": 700"
is "a fault" "$(control server get training status)" Fault
is "is not the other's" "$(control server get other status)" Ready
is "until all that it hit have ended, nobody comes" "$(sees /training)" "context: 807"
ends $idle
is "then it is over" "$(control server get training status)" Ready

# A server that is killed leaves the list, and its clients are told.
kill -9 "$(control server get other pid)"
wait $two || true
like "its client" "$(cat "$other_told")" ": 806"
is "is gone" "$(servers | cut -d, -f1)" training
eventually test ! -e "$pipe/other"

# A server of a GPU that is not there is accepted, and ends; its clients run without MPS.
does server create absent --allowed-devices=0,GPU-00000000
eventually is_gone absent
is "its clients have everything" "$(sees /absent)" "2 132 0 all"
like "its log says why" "$(cat "$log/absent/server.log")" "No such device: 0,GPU-00000000"

# An exclusive GPU has one server.
"$sim" exec "$m" -- nvidia-smi -i 0 -c EXCLUSIVE_PROCESS >/dev/null
does server create second --allowed-devices=0
eventually is_gone second
is "the first one goes on" "$(sees /training)" "2 66 1 all"
is "without MPS there is nothing" "$(sees /second)" "context: 46"
"$sim" exec "$m" -- nvidia-smi -i 0 -c DEFAULT >/dev/null

# Static partitions.
shown=$(control sm-partition create large --server=training --device="${uuids[0]:0:12}" --chunks=4 --include-remainder=true)
like "made" "$shown" "^SM partition 'large' created on device ${uuids[0]} \(sm-count=36\)
CUDA_MPS_SM_PARTITION=${uuids[0]}/[A-Za-z0-9+/]{36}$"
large=${shown#*CUDA_MPS_SM_PARTITION=}
refuses "of the same name" "There is an SM partition 'large'" sm-partition create large --server=training --device=0 --chunks=1
refuses "another one's" "remainder" sm-partition create small --server=training --device=0 --chunks=1 --include-remainder=true
refuses "too much" "Only 12 chunks are free on device ${uuids[0]}" sm-partition create small --server=training --device=0 --chunks=13
refuses "no number" "no number of chunks" sm-partition create small --server=training --device=0 --chunks=some
refuses "no device" "no device '7'" sm-partition create small --server=training --device=7 --chunks=1
refuses "of nothing" "--server=NAME and --device=DEVICE" sm-partition create small --chunks=1
refuses "domains exclude them" "exclude" server set training --locality-domains=true
is "the list" "$(control sm-partition list --server=training --device=0 --all --format=csv)" "server,device,name,chunks,sm-count,include-remainder,status,visible-uuid
training,${uuids[0]:0:12},large,4,36,true,created,${large#*/}
training,${uuids[0]:0:12},-,12,96,-,unallocated,-"
is "only what is made" "$(control sm-partition list --format=csv,noheader | wc -l)" 1
is "who names it has it" "$(sees /training CUDA_MPS_SM_PARTITION="$large")" "2 36 1 all"
is "who names none has nothing there" "$(sees /training)" "context: 915"
is "but on another GPU" "$(sees /training CUDA_VISIBLE_DEVICES=1)" "1 66 1 all"
client /training CUDA_MPS_SM_PARTITION="$large"
one=$!
eventually has_clients training
refuses "in use" "has clients" sm-partition delete large --server=training --device=0
ends $one
refuses "none such" "no SM partition 'none'" sm-partition delete none --server=training --device=0
does sm-partition delete large --server=training --device=0
is "all is free again" "$(sees /training)" "2 66 1 all"
does server create domains --locality-domains=true
refuses "domains" "locality domains" sm-partition create a --server=domains --device=0 --chunks=1
does server delete domains
is "the devices" "$(control device list --server=training --format=csv,noheader | cut -d, -f1,2,4,6,7,8)" "0,training,${uuids[0]},132,16,-
1,training,${uuids[1]},132,16,-"
like "their titles" "$(control device list --format=csv | head -1)" "^Ordinal,Server,PCI ID,Device UUID,Name,Total SMs,Total Chunks,Attributes$"

# Features.
like "features" "$(control feature describe memacct)" "memacct  enabled \(default\)  memacct  -"
does feature disable memacct
is "switched" "$(control feature describe memacct --format=csv,noheader)" "memacct,disabled,memacct,-"
refuses "an unknown one" "Unknown feature 'magic'" feature enable magic
does memacct set audit_log=true
is "set" "$(control memacct describe --format=csv,noheader)" "audit_log,true"

# Programs that name no server have that of their user, which is made for them; nobody has another user's.
is "made for it" "$(sees "")" "2 132 1 all"
like "by its name" "$(servers)" "uid_$uid,$uid,[0-9]+,Ready"
is "made for another user" "$(sees "" TRANCHE_SIM_UID=$another)" "2 132 1 all"
like "by its name" "$(servers)" "uid_$another,$another,[0-9]+,Ready"
is "not permitted" "$(sees /training TRANCHE_SIM_UID=$another)" "context: 800"

# With force a server takes its clients along. -q ends everything.
client /training
one=$!
eventually has_clients training
does server delete training --force
wait $one || true
like "what it was told" "$(cat "$scratch/told")" ": 810"
client ""
one=$!
eventually has_clients "uid_$uid"
pid=$(daemon) server=$(control server get "uid_$uid" pid)
does -q
wait $one || true
like "what it was told" "$(cat "$scratch/told")" ": 806"
eventually has_ended "$pid"
eventually has_ended "$server"
is "nothing is left" "$(ls "$pipe")" ""

# One file says it all, once; a file with a mistake starts nothing.
cat >"$scratch/mps.toml" <<TOML
schema_version = "1.0"
[servers.inference]
allowed_devices = "0"
pinned_memory_limit = "20G"
[servers.inference.namespaces.small]
pinned_memory_limit = "2G"
active_thread_percentage = "25"
[[servers.inference.devices]]
uuid = "${uuids[0]}"
[[servers.inference.devices.sm_partitions]]
name = "half"
chunks = 8
[servers.batch]
allowed_devices = "1"
uid = $another
TOML
sed 's/uid = /user = /' "$scratch/mps.toml" >"$scratch/odd.toml"
refuses "a mistake" "odd.toml:15: unknown key 'servers.batch.user'" -d -p 3 -a "$scratch/odd.toml"
sed 's/chunks = 8/chunks = 17/' "$scratch/mps.toml" >"$scratch/odd.toml"
refuses "too much" "Only 16 chunks are free" -d -p 3 -a "$scratch/odd.toml"
refuses "nobody is there" "Cannot find" server list
CUDA_MPS_PROTOCOL_VERSION=3 does -d --apply "$scratch/mps.toml"
eventually is_ready inference
eventually is_ready batch
is "its servers" "$(servers | cut -d, -f1,2,6)" "batch,$another,1
inference,$uid,0"
is "its namespaces" "$(control namespace list --server=inference --format=csv,noheader | cut -d, -f1,4,5)" "default,20G,-
small,2G,25.00"
is "its partitions" "$(control sm-partition list --format=csv,noheader | cut -d, -f1,3-7)" "inference,half,8,64,false,created"

# Its death ends the servers, and programs run as without MPS.
client /batch TRANCHE_SIM_UID=$another
one=$!
eventually has_clients batch
server=$(control server get batch pid)
kill -9 "$(daemon)"
wait $one || true
like "what it was told" "$(cat "$scratch/told")" ": 806"
eventually has_ended "$server"
is "without MPS" "$(sees /inference)" "2 132 0 all"
rm -r "$pipe"

# One server for everybody is root's.
does -d -p 3 -m
refuses "another one's" "of uid 0" server create mine --uid=1000
is "everybody" "$(sees "" TRANCHE_SIM_UID=$another)" "2 132 1 all"
is "has the same" "$(servers | cut -d, -f1,2)" "uid_0,0"
pid=$(daemon)
does -q
eventually has_ended "$pid"
exit "$failed"
