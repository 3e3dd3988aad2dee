load common

@test "three models are applied, healthy, routed and answer as themselves; down restores" {
  machine H100-SXM5-80GB
  before=$(layout)
  start_daemon
  three_models
  apply -f "$DIR/three.yaml" -o json 2>"$DIR/progress" >"$DIR/receipt.json"
  jq -e '.outcome == "done" and ([.status.replicas[] | select(.state == "healthy")] | length) == 3' "$DIR/receipt.json"
  [[ $(nvml | jq '.gpus[0].mig_instances | length') == 3 ]]
  url=$(router)
  for model in phi mistral qwen; do
    served=$(curl -fsS --max-time 20 "$url/$model/v1/models" | jq -r '.data[0].id')
    [[ $served == *"$model"* ]]
    answered=$(curl -fsS --max-time 20 "$url/$model/v1/completions" -H 'Content-Type: application/json' \
      -d "{\"model\": \"$served\", \"prompt\": \"Why?\", \"max_tokens\": 4}" | jq -r .model)
    [[ $answered == "$served" ]]
  done
  run tranche status
  [[ $output == *"3 healthy"* && $output == *"$url/phi"* ]]
  tranche down --yes
  [[ $(layout) == "$before" ]]
}
