#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/units.h"
#include "model/guarantee.h"
#include "model/machine.h"
#include "model/mechanism.h"

namespace tranche {

// How far a fact may be believed, as in the data files: high = header, kernel source or two
// transcripts; medium = one transcript or vendor page; low = inference.
enum class Confidence { kLow, kMedium, kHigh };

const char* ConfidenceName(Confidence confidence);  // "high"

// How a GPU instance may be divided into compute instances.
struct MigComputeProfile {
  std::string name;             // "2c.4g"; "4g" for the whole instance
  int gpu_instance_slices = 0;  // the size of GPU instance it is offered in
  int id = 0;                   // what `nvidia-smi mig -cci` takes: NVML_COMPUTE_INSTANCE_PROFILE_*
  int compute_slices = 0;
  int max_instances = 0;  // per GPU instance
  int sm_count = 0;       // 0 in CatalogGpu's table; ComputeProfilesOf() fills it in

  bool operator==(const MigComputeProfile&) const = default;
};

struct CatalogGpu {
  std::string key;  // "H100-SXM5-80GB": the identity in specs
  std::vector<std::string> aliases;
  std::vector<std::string> nvml_names;      // any of these in NVML is this GPU
  std::vector<std::string> pci_device_ids;  // "0x233010DE"
  std::string architecture;
  std::string compute_capability;
  std::optional<int> sm_count;
  std::optional<Bytes> memory;       // as NVML reports the total
  std::optional<double> bandwidth;   // bytes per second
  std::optional<double> fp16_flops;  // dense, per second
  std::optional<double> int8_ops;    // dense, per second
  std::optional<Bytes> l2_cache;
  std::optional<int> tdp_watts;
  bool mig_capable = false;
  int mig_memory_slots = 0;
  int mig_compute_slices = 0;
  int mig_max_instances = 0;
  std::string mig_min_driver;  // "525.85.12"; "" when not documented
  bool vgpu_capable = false;
  std::vector<MigProfile> mig_profiles;
  std::vector<MigComputeProfile> mig_compute_profiles;
  std::string mig_note;
  Confidence confidence = Confidence::kMedium;  // of memory and SM count
  Confidence identity_confidence = Confidence::kMedium;
  Confidence speed_confidence = Confidence::kMedium;  // of bandwidth and everything per second
  std::string note;
};

// The beliefs behind one row of the MIG table, for `catalog mig -o json`.
struct MigProfileSource {
  std::string profile;
  std::string source;
  Confidence confidence = Confidence::kMedium;
  std::string note;                         // says of an estimate how it was made
  std::vector<std::string> estimated = {};  // of "memory", "sm"; these are low, whatever the rest
};

// Lifts single axes of a mechanism where a condition holds that only the machine can tell.
struct StrongerGuarantee {
  Guarantees guarantees;  // axes that it does not lift are kNone
  std::string when;
};

struct CatalogMechanism {
  Mechanism mechanism = Mechanism::kExclusive;
  std::string summary;
  Guarantees guarantees;                    // the best it can give; the machine may give less
  Guarantees floor;                         // what every machine that passes the gate gives
  std::vector<StrongerGuarantee> stronger;  // the way from the floor to the best
  std::string gate;                         // in words: which GPUs and drivers
  int max_tenants = 0;                      // 0 = no fixed number
  std::vector<std::string> traps;
  std::string source;
  Confidence confidence = Confidence::kMedium;
};

// Architecture fields of an LLM, enough to size it.
struct CatalogModel {
  std::string name;                  // "llama-3.1-8b"
  std::vector<std::string> aliases;  // "meta-llama/Llama-3.1-8B-Instruct"
  double parameters = 0;             // total, incl. embeddings
  double active_parameters = 0;
  double embedding_parameters =
      0;  // what weight quantisation leaves in 16 bits: embeddings and head
  int layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
  int max_position = 0;
  int full_attention_layers = 0;  // = layers without sliding windows
  int sliding_window = 0;         // 0 = none
  int mla_kv_dim = 0;             // kv_lora_rank + qk_rope_head_dim; 0 = not MLA
  double expert_parameters = 0;   // in MoE experts; what MXFP4 quantises
  // The fields that the counts above come from; 0 where the model has no such part.
  int intermediate = 0;  // of a dense feed-forward layer
  bool tied_embeddings = false;
  int experts = 0, experts_per_token = 0, shared_experts = 0, expert_intermediate = 0;
  int dense_layers = 0;  // of a mixture-of-experts model: layers without experts
  int q_lora_rank = 0, kv_lora_rank = 0, qk_nope_head_dim = 0, qk_rope_head_dim = 0, v_head_dim = 0;
  int mlp_matrices = 3;          // gate, up and down; 2 where there is no gate
  int stateless_layers = 0;      // linear attention or state space: no KV cache by the token
  double vision_parameters = 0;  // of an encoder beside the language model
  std::string dtype;             // of the published checkpoint
  // Modules that a quantised checkpoint leaves in 16 bits, as its config.json names them. Beside
  // the embedding and the head, which none quantises but GGUF.
  std::vector<std::string> unquantised;
  std::string note;
};

// The files that a catalog is made of.
struct CatalogText {
  std::string_view gpus, mig, mechanisms, models;
};

// Facts as data. Immutable after loading; safe from any thread.
class Catalog {
 public:
  // The embedded data. Fails only if the build embedded broken YAML, which a test excludes.
  static Result<std::shared_ptr<const Catalog>> Load();
  // From other text of the same form. Strict: an unknown key, a value out of range, a table that
  // contradicts itself or gpus.yaml is an error; the message lists all of them, with
  // file:line:column.
  static Result<std::shared_ptr<const Catalog>> Parse(const CatalogText& text);

  const std::vector<CatalogGpu>& gpus() const { return gpus_; }
  const std::vector<CatalogMechanism>& mechanisms() const { return mechanisms_; }
  const std::vector<CatalogModel>& models() const { return models_; }
  // Beside gpus()[i].mig_profiles[k].
  std::vector<MigProfileSource> SourcesOf(const std::string& gpu_key) const;

  // By key, alias or NVML name; case, spaces, '-' and '_' are ignored. The error lists what an
  // ambiguous word may mean, or suggests the nearest key.
  Result<const CatalogGpu*> FindGpu(const std::string& name) const;
  Result<const CatalogModel*> FindModel(const std::string& name) const;
  // By what NVML says, PCI id first; nullptr when unknown.
  const CatalogGpu* IdentifyGpu(const std::string& nvml_name,
                                const std::string& pci_device_id) const;
  const CatalogMechanism& FindMechanism(Mechanism mechanism) const;

 private:
  std::vector<CatalogGpu> gpus_;
  std::vector<CatalogMechanism> mechanisms_;
  std::vector<CatalogModel> models_;
  std::vector<std::pair<std::string, std::vector<MigProfileSource>>> sources_;
};

// What can be made inside an instance of `profile` (of this GPU), with SM counts: a compute
// instance that takes all slices has the SMs of its GPU instance, a smaller one those of the plain
// GPU instance of that many slices.
std::vector<MigComputeProfile> ComputeProfilesOf(const CatalogGpu& gpu, const MigProfile& profile);

// Of a profile's name as drivers write it, "1g.24gb+me.all".
struct MigProfileName {
  int compute_slices = 0;
  int gigabytes = 0;
  MigVariant variant = MigVariant::kPlain;
};
Result<MigProfileName> ParseMigProfileName(std::string_view name);

}  // namespace tranche
