load common

@test "a hardware XID takes the slice's workload out of the route; an application XID does not" {
  machine H100-SXM5-80GB
  start_daemon
  three_models
  apply -f "$DIR/three.yaml" >/dev/null
  url=$(router)
  curl -fsS --max-time 20 "$url/phi/health"
  gi=$(nvml | jq '.gpus[0].mig_instances[0].id')
  victim=$(tranche status -o json | jq -r --arg at "$(nvml | jq '.gpus[0].mig_instances[0].placement.start')" \
    '.replicas[] | select(.slice.placement_start == ($at | tonumber)) | .workload')
  sim fault "$M" --gpu 0 --xid 31 --gi "$gi" --ci 0
  sim fault "$M" --gpu 0 --xid 94 --gi "$gi" --ci 0
  eventually is_state "$victim" faulted
  out() { ! curl -fsS --max-time 5 "$url/$victim/health" 2>/dev/null; }
  eventually out
  for other in phi mistral qwen; do
    [[ $other == "$victim" ]] || { is_state "$other" healthy; curl -fsS --max-time 20 "$url/$other/health"; }
  done
}
