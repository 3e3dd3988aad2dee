#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/units.h"
#include "model/guarantee.h"
#include "model/machine.h"
#include "model/mechanism.h"

namespace tranche {

// How far a fact may be believed, as in the data files: high = header, kernel source or two transcripts;
// medium = one transcript or vendor page; low = inference.
enum class Confidence { kLow, kMedium, kHigh };

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
  bool mig_capable = false;
  int mig_memory_slots = 0;
  int mig_compute_slices = 0;
  int mig_max_instances = 0;
  std::string mig_min_driver;        // "525.85.12"
  bool vgpu_capable = false;
  std::vector<MigProfile> mig_profiles;
  Confidence confidence = Confidence::kMedium;  // of memory and SM count
  std::string note;
};

// The beliefs behind one row of the MIG table, for `catalog mig -o json`.
struct MigProfileSource {
  std::string profile;
  std::string source;
  Confidence confidence = Confidence::kMedium;
  std::string note;
};

struct CatalogMechanism {
  Mechanism mechanism = Mechanism::kExclusive;
  std::string summary;
  Guarantees guarantees;     // the best it can give; the machine may give less
  std::string gate;          // in words: which GPUs and drivers
  int max_tenants = 0;       // 0 = no fixed number
  std::vector<std::string> traps;
  std::string source;
  Confidence confidence = Confidence::kMedium;
};

// Architecture fields of an LLM, enough to size it.
struct CatalogModel {
  std::string name;            // "llama-3.1-8b"
  std::vector<std::string> aliases;  // "meta-llama/Llama-3.1-8B-Instruct"
  double parameters = 0;       // total, incl. embeddings
  double active_parameters = 0;
  double embedding_parameters = 0;  // what weight quantisation leaves in 16 bits: embeddings and head
  int layers = 0, hidden = 0, heads = 0, kv_heads = 0, head_dim = 0, vocab = 0;
  int max_position = 0;
  int full_attention_layers = 0;   // = layers without sliding windows
  int sliding_window = 0;          // 0 = none
  int mla_kv_dim = 0;              // kv_lora_rank + qk_rope_head_dim; 0 = not MLA
  double expert_parameters = 0;    // in MoE experts; what MXFP4 quantises
  std::string dtype;               // of the published checkpoint
  std::string note;
};

// Facts as data. Immutable after loading; safe from any thread.
class Catalog {
 public:
  // The embedded data. Fails only if the build embedded broken YAML, which a test excludes.
  static Result<std::shared_ptr<const Catalog>> Load();

  const std::vector<CatalogGpu>& gpus() const { return gpus_; }
  const std::vector<CatalogMechanism>& mechanisms() const { return mechanisms_; }
  const std::vector<CatalogModel>& models() const { return models_; }
  // Beside gpus()[i].mig_profiles[k].
  std::vector<MigProfileSource> SourcesOf(const std::string& gpu_key) const;

  // By key or alias, case ignored. The error suggests the nearest key.
  Result<const CatalogGpu*> FindGpu(const std::string& name) const;
  Result<const CatalogModel*> FindModel(const std::string& name) const;
  // By what NVML says, PCI id first; nullptr when unknown.
  const CatalogGpu* IdentifyGpu(const std::string& nvml_name, const std::string& pci_device_id) const;
  const CatalogMechanism& FindMechanism(Mechanism mechanism) const;

 private:
  std::vector<CatalogGpu> gpus_;
  std::vector<CatalogMechanism> mechanisms_;
  std::vector<CatalogModel> models_;
  std::vector<std::pair<std::string, std::vector<MigProfileSource>>> sources_;
};

}  // namespace tranche
