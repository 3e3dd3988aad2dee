load common

size() { "$TRANCHE_BIN/tranche" size "$@"; }
# A pipe would hide how `size` ended.
answer() { size "$@" -o json >"$DIR/answer.json"; }
answered() { jq -e "$1" "$DIR/answer.json"; }

@test "the pinned keys, for one GPU, with no daemon and no GPU" {
  size --model llama-3.1-8b --precision bf16 --context 16000 --concurrency 4 --gpu H100 \
    --tensor-parallel 2 --engine vllm --utilization 0.9 -o json >"$DIR/size.json"
  jq -e '[.weights_bytes, .kv_bytes_per_token, .kv_cache_bytes, .kv_tokens, .activation_bytes, .overhead_bytes,
          .total_bytes] | all(type == "number" and . > 0)' "$DIR/size.json"
  jq -e '.fits == true and .kv_bytes_per_token == 65536' "$DIR/size.json"
  jq -e '.weights_bytes + .kv_cache_bytes + .activation_bytes + .overhead_bytes == .total_bytes' "$DIR/size.json"
  jq -e '.flags | index("--tensor-parallel-size") != null' "$DIR/size.json"
}

@test "what does not fit says why, in JSON too, and exits with 3" {
  fails_with 3 size --model llama-3.3-70b --precision fp8 --context 16000 --gpu H100
  [[ $output == *"Does not fit:"* ]]
  fails_with 3 answer --model llama-3.3-70b --precision fp8 --context 16000 --gpu H100
  answered '.fits == false and .because != ""'
}

@test "an unknown model offers the nearest, and every mistake is told at once" {
  fails_with 64 size --model llama-3.1-9b --gpu H100
  [[ $output == *"did you mean 'llama-3.1-8b'"* ]]
  fails_with 64 size --context 0 --utilization 3 --engine vlm
  [[ $output == *--context* && $output == *--utilization* && $output == *"'vllm'"* && $output == *"nothing to size"* ]]
}

@test "a config.json, alone or in its folder" {
  mkdir "$DIR/my-model"
  cat >"$DIR/my-model/config.json" <<'JSON'
{"model_type": "llama", "hidden_size": 4096, "intermediate_size": 14336, "num_attention_heads": 32,
 "num_hidden_layers": 32, "num_key_value_heads": 8, "vocab_size": 128256, "max_position_embeddings": 131072,
 "tie_word_embeddings": false, "torch_dtype": "bfloat16"}
JSON
  for path in "$DIR/my-model" "$DIR/my-model/config.json"; do
    answer --model "$path" --gpu H100
    answered '.model == "my-model" and .model_source == "config.json" and (.weights_bytes / 16060522496 - 1 | fabs < 0.001)'
  done
}

@test "headers of weights are read and the weights are not" {
  python3 - "$DIR" <<'PYTHON'
import json, struct, sys
folder = sys.argv[1]
rows = {"model.embed_tokens.weight": [32000, 4096], "model.layers.0.self_attn.q_proj.weight": [4096, 4096],
        "model.layers.0.self_attn.k_proj.weight": [1024, 4096], "model.layers.31.mlp.gate_proj.weight": [14336, 4096]}
header, at = {}, 0
for name, shape in rows.items():
    size = 2 * shape[0] * shape[1]
    header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, at + size]}
    at += size
text = json.dumps(header).encode()
with open(folder + "/m.safetensors", "wb") as file:
    file.write(struct.pack("<Q", len(text)) + text)
    file.truncate(8 + len(text) + at)
# Lies: a header as long as the file can never be, and a file of 100 MB that is no header at all.
with open(folder + "/long.safetensors", "wb") as file:
    file.write(struct.pack("<Q", 2**63) + b"{")
with open(folder + "/zeros.safetensors", "wb") as file:
    file.truncate(100_000_000)
with open(folder + "/nested.json", "wb") as file:
    file.write(b"[" * 100_000)
with open(folder + "/zeros.gguf", "wb") as file:
    file.truncate(100_000_000)
with open(folder + "/big.json", "wb") as file:
    file.truncate(100_000_000)
with open(folder + "/many.gguf", "wb") as file:
    file.write(b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + struct.pack("<Q", 1) + b"a" + struct.pack("<IIQ", 9, 8, 2**40))
    file.truncate(100_000_000)
PYTHON
  answer --model "$DIR/m.safetensors" --gpu H100
  answered '.weights_bytes == (32000 + 4096 + 1024 + 14336) * 4096 * 2'
  for file in long.safetensors zeros.safetensors nested.json zeros.gguf big.json many.gguf; do
    fails_with 64 timeout 20 "$TRANCHE_BIN/tranche" size --model "$DIR/$file" --gpu H100
    [[ $output == *"$file"* ]]
  done
  fails_with 64 size --model "$DIR/none.gguf"
}

@test "the table of models, precisions and GPUs" {
  run size --compare --weights-only --model 7B,70B --precision fp16,int4 --gpu H100-PCIe-80GB,A100-80,L40S
  [[ $status -eq 0 ]]
  [[ ${#lines[@]} -ge 5 && ${lines[0]} == *H100-PCIE-80GB*A100-SXM4-80GB*L40S* ]]
  [[ ${lines[3]} == 70B*fp16*"does not fit"* ]]
}

@test "calibrate: one measurement says how a program shares; more correct the coefficients" {
  printf 'program,seconds\nmine,0.05\n' >"$DIR/one.csv"
  "$TRANCHE_BIN/tranche" calibrate "$DIR/one.csv" -o json >"$DIR/answer.json"
  answered '.measurements_used == 0 and (.programs[0].predictions | length) > 3'
  cat >"$DIR/more.csv" <<'CSV'
program,batch,mechanism,slice,tenants,seconds
mine,64,,,1,0.050
mine,128,,,1,0.100
mine,64,mig,1g.10gb,1,0.400
mine,128,mig,1g.10gb,1,0.800
mine,64,time-slicing,,2,0.130
CSV
  "$TRANCHE_BIN/tranche" calibrate "$DIR/more.csv" --out "$DIR/mine.yaml" -o json >"$DIR/answer.json"
  answered '.measurements_used == 3 and .coefficients.mig_cost["1"] > 6 and .coefficients.time_slicing_overhead > 1.11'
  grep -q more.csv "$DIR/mine.yaml"
  answer --model qwen3-8b --gpu A100-80 --coefficients "$DIR/mine.yaml"
  answered '.speed.one.tokens_per_second > 1'
  answered '.speed.coefficients | endswith("mine.yaml")'
  # What is in the configuration is used by everything that predicts, and named.
  mkdir -p "$DIR/state/etc"
  sed 's/bandwidth_efficiency: {value: [0-9.]*/bandwidth_efficiency: {value: 0.35/' "$DIR/mine.yaml" >"$DIR/state/etc/coefficients.yaml"
  TRANCHE_STATE_DIR="$DIR/state" "$TRANCHE_BIN/tranche" size --model qwen3-8b --gpu A100-80 -o json >"$DIR/kept.json"
  jq -e '.speed.coefficients | endswith("etc/coefficients.yaml")' "$DIR/kept.json"
  echo 'nonsense: 1' >"$DIR/state/etc/coefficients.yaml"
  TRANCHE_STATE_DIR="$DIR/state" fails_with 64 "$TRANCHE_BIN/tranche" size --model qwen3-8b --gpu A100-80
  [[ $output == *coefficients.yaml* && $output == *calibrate* ]]
  printf 'program,seconds\n,1\nx,-2\nx,nan\n' >"$DIR/bad.csv"
  fails_with 64 "$TRANCHE_BIN/tranche" calibrate "$DIR/bad.csv"
  [[ $output == *bad.csv:2* && $output == *bad.csv:3* && $output == *bad.csv:4* ]]
}

@test "everything that is wrong is told at once" {
  fails_with 64 size --model lama-3.1-8b --gpu H1000 --precision fp7 --context 0 --utilization 2
  [[ $output == *"--context is 0"* && $output == *"--utilization"* && $output == *"did you mean 'llama-3.1-8b'"* ]]
  [[ $output == *"did you mean 'H100-SXM5-80GB'"* && $output == *"no precision 'fp7'"* ]]
}
