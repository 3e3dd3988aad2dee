#include "catalog/catalog.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <fstream>
#include <map>
#include <set>
#include <sstream>

namespace tranche {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::UnorderedElementsAre;

std::shared_ptr<const Catalog> Loaded() {
  static const auto catalog = Catalog::Load();
  if (!catalog) ADD_FAILURE() << catalog.error().message;
  return catalog ? *catalog : nullptr;
}

const CatalogGpu& GpuOf(const std::string& name) {
  const auto found = Loaded()->FindGpu(name);
  if (!found) ADD_FAILURE() << found.error().message;
  static const CatalogGpu kNone;
  return found ? **found : kNone;
}

const MigProfile& ProfileOf(const CatalogGpu& gpu, const std::string& name) {
  for (const MigProfile& profile : gpu.mig_profiles) {
    if (profile.name == name) return profile;
  }
  ADD_FAILURE() << gpu.key << " has no " << name;
  static const MigProfile kNone;
  return kNone;
}

TEST(CatalogTest, EmbeddedDataLoads) {
  const auto catalog = Catalog::Load();
  ASSERT_TRUE(catalog) << catalog.error().message;
}

TEST(CatalogTest, KeysOfGpus) {
  std::set<std::string> mig, plain;
  for (const CatalogGpu& gpu : Loaded()->gpus()) (gpu.mig_capable ? mig : plain).insert(gpu.key);
  EXPECT_THAT(plain, UnorderedElementsAre("T4", "V100-SXM2-16GB", "A10", "L4", "L40S", "A40",
                                          "RTX4090", "RTX5090"));
  EXPECT_THAT(mig,
              UnorderedElementsAre("A30", "A100-PCIE-40GB", "A100-SXM4-40GB", "A100-PCIE-80GB",
                                   "A100-SXM4-80GB", "H100-PCIE-80GB", "H100-SXM5-80GB",
                                   "H100-NVL-94GB", "H200-SXM5-141GB", "H200-NVL", "GH200-480GB",
                                   "GH200-144GB", "B200-180GB", "GB200", "GB200-189GB", "B300",
                                   "GB300", "RTX-PRO-6000-SERVER", "RTX-PRO-6000-WORKSTATION",
                                   "RTX-PRO-6000-MAXQ", "RTX-PRO-5000", "RTX-PRO-4500"));
}

TEST(CatalogTest, UnknownIsNeverZero) {
  for (const CatalogGpu& gpu : Loaded()->gpus()) {
    SCOPED_TRACE(gpu.key);
    if (gpu.memory) {
      EXPECT_GT(gpu.memory->value, 0u);
    }
    if (gpu.sm_count) {
      EXPECT_GT(*gpu.sm_count, 0);
    }
    if (gpu.bandwidth) {
      EXPECT_GT(*gpu.bandwidth, 0);
    }
    for (const MigProfile& profile : gpu.mig_profiles) {
      EXPECT_GT(profile.memory.value, 0u) << profile.name;
      EXPECT_GT(profile.sm_count, 0) << profile.name;
    }
  }
}

// The whole of a GPU and its parts must add up, whatever the file says.
TEST(CatalogTest, MigTablesAreConsistent) {
  for (const CatalogGpu& gpu : Loaded()->gpus()) {
    SCOPED_TRACE(gpu.key);
    if (!gpu.mig_capable) {
      EXPECT_TRUE(gpu.mig_profiles.empty());
      continue;
    }
    ASSERT_FALSE(gpu.mig_profiles.empty());
    EXPECT_EQ(Loaded()->SourcesOf(gpu.key).size(), gpu.mig_profiles.size());
    int most = 0;
    for (const MigProfile& profile : gpu.mig_profiles) {
      SCOPED_TRACE(profile.name);
      ASSERT_FALSE(profile.placements.empty());
      most = std::max(most, profile.max_instances);
      // As many as the driver allows fit beside each other, in memory, SMs and slices.
      EXPECT_LE(profile.memory.value * profile.max_instances, gpu.memory->value);
      EXPECT_LE(profile.compute_slices * profile.max_instances, gpu.mig_compute_slices);
      EXPECT_LE(profile.placements.front().size * profile.max_instances, gpu.mig_memory_slots);
      EXPECT_LE(profile.sm_count * profile.max_instances, *gpu.sm_count);
      // The size in the name is that of its slots, give or take the rounding of drivers.
      const auto name = ParseMigProfileName(profile.name);
      ASSERT_TRUE(name);
      const double gib = static_cast<double>(profile.memory.value) / (1 << 30);
      EXPECT_GT(name->gigabytes, gib);
      EXPECT_LT(name->gigabytes, gib * 1.25);
      EXPECT_FALSE(ComputeProfilesOf(gpu, profile).empty());
    }
    EXPECT_EQ(gpu.mig_max_instances, most);
    // The whole-GPU profile has all slices and slots, and id 0 on every GPU that was ever printed.
    const auto whole = std::find_if(gpu.mig_profiles.begin(), gpu.mig_profiles.end(),
                                    [](const MigProfile& profile) { return profile.id == 0; });
    ASSERT_NE(whole, gpu.mig_profiles.end());
    EXPECT_EQ(whole->compute_slices, gpu.mig_compute_slices);
    EXPECT_THAT(whole->placements, ElementsAre(MigPlacement{0, gpu.mig_memory_slots}));
  }
}

// From nvidia-smi transcripts: id, memory, SMs.
TEST(CatalogTest, TranscribedRows) {
  struct Row {
    const char *gpu, *profile;
    int id, nvml, mib, sm;
  };
  for (const Row& row :
       std::initializer_list<Row>{{"A100-SXM4-40GB", "1g.5gb", 19, 0, 4864, 14},
                                  {"A100-PCIE-40GB", "1g.10gb", 15, 9, 9856, 14},
                                  {"A100-PCIE-80GB", "3g.40gb", 9, 2, 40448, 42},
                                  {"A100-SXM4-80GB", "7g.80gb", 0, 4, 81152, 98},
                                  {"A30", "2g.12gb+me", 6, 8, 11968, 28},
                                  {"H100-SXM5-80GB", "2g.20gb", 14, 1, 20096, 32},
                                  {"H100-SXM5-80GB", "3g.40gb", 9, 2, 40448, 60},
                                  {"H100-SXM5-80GB", "1g.20gb", 15, 9, 20096, 26},
                                  {"H100-PCIE-80GB", "4g.40gb", 5, 3, 40448, 62},
                                  {"H100-NVL-94GB", "1g.12gb+me", 20, 7, 11008, 16},
                                  {"H200-NVL", "2g.35gb", 14, 1, 33024, 32},
                                  {"GH200-144GB", "1g.36gb", 15, 9, 36096, 26},
                                  {"B200-180GB", "2g.45gb", 14, 1, 45312, 36},
                                  {"GB200", "1g.47gb", 15, 9, 46592, 32},
                                  {"RTX-PRO-6000-SERVER", "1g.24gb+me.all", 65, 15, 24192, 46},
                                  {"RTX-PRO-6000-SERVER", "4g.96gb+gfx", 32, 12, 97408, 188}}) {
    SCOPED_TRACE(std::string(row.gpu) + " " + row.profile);
    const MigProfile& profile = ProfileOf(GpuOf(row.gpu), row.profile);
    EXPECT_EQ(profile.id, row.id);
    EXPECT_EQ(profile.nvml_profile, row.nvml);
    EXPECT_EQ(profile.memory, MiB(row.mib));
    EXPECT_EQ(profile.sm_count, row.sm);
  }
}

TEST(CatalogTest, EstimatesSayHowAndAreLow) {
  int estimates = 0;
  for (const CatalogGpu& gpu : Loaded()->gpus()) {
    for (const MigProfileSource& source : Loaded()->SourcesOf(gpu.key)) {
      EXPECT_FALSE(source.source.empty());
      if (source.estimated.empty()) continue;
      ++estimates;
      EXPECT_EQ(source.confidence, Confidence::kLow) << gpu.key << " " << source.profile;
      EXPECT_THAT(source.note, HasSubstr("estimated")) << gpu.key << " " << source.profile;
    }
  }
  EXPECT_GT(estimates, 0);
  // Nobody has seen a transcript of these.
  for (const char* key : {"B300", "GB300", "GH200-480GB"}) {
    for (const MigProfileSource& source : Loaded()->SourcesOf(key)) {
      EXPECT_THAT(source.estimated, testing::Contains("memory")) << key << " " << source.profile;
    }
  }
}

TEST(CatalogTest, ComputeProfilesHaveSms) {
  const auto sms = [](const std::string& gpu, const std::string& profile) {
    std::map<std::string, int> result;
    for (const auto& compute : ComputeProfilesOf(GpuOf(gpu), ProfileOf(GpuOf(gpu), profile))) {
      result[compute.name] = compute.sm_count;
    }
    return result;
  };
  using Sms = std::map<std::string, int>;
  EXPECT_EQ(sms("A100-SXM4-40GB", "7g.40gb"),
            (Sms{{"1c.7g", 14}, {"2c.7g", 28}, {"3c.7g", 42}, {"4c.7g", 56}, {"7g", 98}}));
  EXPECT_EQ(sms("H100-SXM5-80GB", "7g.80gb"),
            (Sms{{"1c.7g", 16}, {"2c.7g", 32}, {"3c.7g", 60}, {"4c.7g", 64}, {"7g", 132}}));
  EXPECT_EQ(sms("H100-SXM5-80GB", "1g.20gb"), (Sms{{"1g", 26}}));
  EXPECT_EQ(sms("A30", "4g.24gb"), (Sms{{"1c.4g", 14}, {"2c.4g", 28}, {"4g", 56}}));
  EXPECT_EQ(sms("RTX-PRO-6000-SERVER", "2g.48gb"), (Sms{{"1c.2g", 46}, {"2g", 94}}));
}

TEST(CatalogTest, FindsGpusAsPeopleWriteThem) {
  for (const auto& [written, key] :
       std::map<std::string, std::string>{{"h100", "H100-SXM5-80GB"},
                                          {"H100-SXM", "H100-SXM5-80GB"},
                                          {"h100-80gb", "H100-SXM5-80GB"},
                                          {"H100 80GB HBM3", "H100-SXM5-80GB"},
                                          {"h100-pcie", "H100-PCIE-80GB"},
                                          {"H100_NVL", "H100-NVL-94GB"},
                                          {"a100-40", "A100-SXM4-40GB"},
                                          {"A100-80GB", "A100-SXM4-80GB"},
                                          {"l40s", "L40S"},
                                          {"rtx6000pro", "RTX-PRO-6000-SERVER"},
                                          {"NVIDIA A100 80GB PCIe", "A100-PCIE-80GB"},
                                          {"h200", "H200-SXM5-141GB"},
                                          {"rtx 4090", "RTX4090"},
                                          {"nvidia-t4", "T4"},
                                          {"b200", "B200-180GB"}}) {
    const auto found = Loaded()->FindGpu(written);
    ASSERT_TRUE(found) << written << ": " << found.error().message;
    EXPECT_EQ((*found)->key, key) << written;
  }
}

TEST(CatalogTest, AmbiguousWordsListTheCandidates) {
  const auto found = Loaded()->FindGpu("a100");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  for (const char* key : {"A100-PCIE-40GB", "A100-SXM4-40GB", "A100-PCIE-80GB", "A100-SXM4-80GB"}) {
    EXPECT_THAT(found.error().hint, HasSubstr(key));
  }
  EXPECT_THAT(Loaded()->FindGpu("v100").error().hint, HasSubstr("V100-SXM2-16GB"));
  EXPECT_THAT(Loaded()->FindGpu("H100-SMX5-80GB").error().hint, HasSubstr("'H100-SXM5-80GB'"));
  EXPECT_FALSE(Loaded()->FindGpu("zzzzzz").error().hint.empty());
  EXPECT_FALSE(Loaded()->FindGpu(""));
}

TEST(CatalogTest, IdentifiesByPciIdThenName) {
  const auto key = [](const CatalogGpu* gpu) { return gpu == nullptr ? "none" : gpu->key; };
  EXPECT_EQ(key(Loaded()->IdentifyGpu("NVIDIA H200", "0x233510DE")), "H200-SXM5-141GB");
  EXPECT_EQ(key(Loaded()->IdentifyGpu("some new name", "0x233510de")), "H200-SXM5-141GB");
  EXPECT_EQ(key(Loaded()->IdentifyGpu("NVIDIA H100 80GB HBM3", "")), "H100-SXM5-80GB");
  EXPECT_EQ(key(Loaded()->IdentifyGpu("A100-SXM4-40GB", "0xFFFF10DE")), "A100-SXM4-40GB");
  EXPECT_EQ(key(Loaded()->IdentifyGpu("NVIDIA H20", "0x232910DE")), "none");
  EXPECT_EQ(key(Loaded()->IdentifyGpu("", "")), "none");
}

TEST(CatalogTest, Mechanisms) {
  for (Mechanism mechanism : kAllMechanisms) {
    const CatalogMechanism& found = Loaded()->FindMechanism(mechanism);
    EXPECT_EQ(found.mechanism, mechanism);
    EXPECT_TRUE(found.guarantees.Satisfies(found.floor));
    EXPECT_FALSE(found.traps.empty());
  }
  using enum Guarantee;
  const auto floor = [](Mechanism mechanism) { return Loaded()->FindMechanism(mechanism).floor; };
  const Guarantees hardware{kHardware, kHardware, kHardware, kNone},
      process{kCooperative, kCooperative, kNone, kNone};
  // Which asks each satisfies on every machine, as the design's table has it.
  EXPECT_TRUE(floor(Mechanism::kExclusive).Satisfies(hardware));
  EXPECT_TRUE(floor(Mechanism::kMig).Satisfies(hardware));
  EXPECT_FALSE(floor(Mechanism::kVgpu).Satisfies(hardware));
  EXPECT_TRUE(Loaded()->FindMechanism(Mechanism::kVgpu).guarantees.Satisfies(hardware));
  EXPECT_TRUE(floor(Mechanism::kMps).Satisfies(process));
  EXPECT_TRUE(floor(Mechanism::kFraction).Satisfies(process));
  EXPECT_FALSE(floor(Mechanism::kTimeSlicing).Satisfies(process));
  EXPECT_EQ(Loaded()->FindMechanism(Mechanism::kMps).guarantees.fault, kNone);
  EXPECT_EQ(Loaded()->FindMechanism(Mechanism::kMps).max_tenants, 48);
}

// The published total must follow from the fields; biases and norms are below half a percent.
TEST(CatalogTest, ModelTotalsFollowFromTheirFields) {
  ASSERT_GE(Loaded()->models().size(), 70u);
  for (const CatalogModel& m : Loaded()->models()) {
    SCOPED_TRACE(m.name);
    const double hidden = m.hidden;
    double attention = hidden * m.head_dim * (2.0 * m.heads + 2.0 * m.kv_heads);
    if (m.mla_kv_dim > 0) {
      const double to_q = m.q_lora_rank > 0 ? m.q_lora_rank : hidden;
      attention = hidden * m.q_lora_rank +
                  to_q * m.heads * (m.qk_nope_head_dim + m.qk_rope_head_dim) +
                  hidden * m.mla_kv_dim +
                  double(m.kv_lora_rank) * m.heads * (m.qk_nope_head_dim + m.v_head_dim) +
                  double(m.heads) * m.v_head_dim * hidden;
    }
    const int expert_layers = m.experts > 0 ? m.layers - m.dense_layers : 0;
    const double dense = m.mlp_matrices * hidden * m.intermediate * (m.layers - expert_layers);
    const double router = hidden * m.experts * expert_layers;
    const double expert = 3.0 * hidden * m.expert_intermediate;
    double total = m.layers * attention + dense + router + m.expert_parameters +
                   m.embedding_parameters + expert * m.shared_experts * expert_layers;
    total += m.vision_parameters;
    EXPECT_NEAR(total / m.parameters, 1.0, 0.005);
    if (m.experts > 0) {
      const double active =
          total - m.expert_parameters + expert * m.experts_per_token * expert_layers;
      EXPECT_NEAR(active / m.active_parameters, 1.0, 0.20);
    } else {
      EXPECT_EQ(m.active_parameters, m.parameters);
    }
    EXPECT_LE(m.full_attention_layers, m.layers);
  }
}

TEST(CatalogTest, FindsModels) {
  for (const auto& [written, name] :
       std::map<std::string, std::string>{{"phi-4", "phi-4"},
                                          {"microsoft/phi-4", "phi-4"},
                                          {"Qwen/Qwen3-8B", "qwen3-8b"},
                                          {"Qwen3-8B", "qwen3-8b"},
                                          {"mistral-7b", "mistral-7b"},
                                          {"mistralai/Mistral-7B-Instruct-v0.3", "mistral-7b"},
                                          {"meta-llama/Llama-3.1-8B-Instruct", "llama-3.1-8b"},
                                          {"llama-3.1-70b", "llama-3.1-70b"}}) {
    const auto found = Loaded()->FindModel(written);
    ASSERT_TRUE(found) << written;
    EXPECT_EQ((*found)->name, name);
  }
  EXPECT_THAT(Loaded()->FindModel("mistrl-7b").error().hint, HasSubstr("mistral-7b"));
  EXPECT_THAT(Loaded()->FindModel("my-own-model").error().hint,
              HasSubstr("tranche catalog models"));
}

TEST(CatalogTest, ProfileNames) {
  const auto name = ParseMigProfileName("1g.24gb+me.all");
  ASSERT_TRUE(name);
  EXPECT_EQ(name->compute_slices, 1);
  EXPECT_EQ(name->gigabytes, 24);
  EXPECT_EQ(name->variant, MigVariant::kAllMedia);
  EXPECT_EQ(ParseMigProfileName("3g.39gb")->variant, MigVariant::kPlain);
  EXPECT_EQ(ParseMigProfileName("1g.5gb+me")->variant, MigVariant::kMedia);
  EXPECT_EQ(ParseMigProfileName("2g.48gb-me")->variant, MigVariant::kNoMedia);
  EXPECT_EQ(ParseMigProfileName("2g.48gb+gfx")->variant, MigVariant::kGraphics);
  for (const char* wrong :
       {"", "g.5gb", "1g", "1g.gb", "0g.5gb", "1g.5gb+", "1g.5gb+me ", "1g.99999gb", "-1g.5gb"}) {
    const auto parsed = ParseMigProfileName(wrong);
    ASSERT_FALSE(parsed) << wrong;
    EXPECT_THAT(parsed.error().message, HasSubstr(fmt::format("'{}'", wrong)));
  }
}

// ---- broken data ----

std::string FileText(const std::string& name) {
  std::ifstream file(std::string(TRANCHE_SOURCE_DIR) + "/src/catalog/data/" + name);
  std::stringstream text;
  text << file.rdbuf();
  return text.str();
}

// The data with one passage replaced; the passage must be there.
std::string ErrorAfter(const std::string& file, const std::string& from, const std::string& to) {
  std::map<std::string, std::string> files;
  for (const char* name : {"gpus.yaml", "mig.yaml", "mechanisms.yaml", "models.yaml"})
    files[name] = FileText(name);
  std::string& text = files[file];
  const size_t at = text.find(from);
  if (at == std::string::npos) return "passage not found: " + from;
  text.replace(at, from.size(), to);
  const auto parsed = Catalog::Parse({.gpus = files["gpus.yaml"],
                                      .mig = files["mig.yaml"],
                                      .mechanisms = files["mechanisms.yaml"],
                                      .models = files["models.yaml"]});
  return parsed ? "" : parsed.error().message;
}

TEST(CatalogTest, FilesOnDiskAreThoseEmbedded) {
  EXPECT_EQ(ErrorAfter("gpus.yaml", "gpus:", "gpus:"), "");
}

TEST(CatalogTest, BrokenDataIsRefused) {
  struct Case {
    const char *file, *from, *to, *says;
  };
  for (const Case& c : std::initializer_list<Case>{
           {"gpus.yaml", "vgpu: true", "vgpus: true", "unknown key 'vgpus'"},
           {"gpus.yaml", "vgpu: true", "vgpu: yes", "true or false"},
           {"gpus.yaml", "sm: 40", "sm: 0", "'sm' must be a whole number from 1"},
           {"gpus.yaml", "sm: 40", "sm: forty", "'sm' must be"},
           {"gpus.yaml", "mib: 15360", "mib: 15360.5", "'mib' must be"},
           {"gpus.yaml", "bandwidth_gbs: 320", "bandwidth_gbs: .nan", "'bandwidth_gbs' must be"},
           {"gpus.yaml", "0x1EB810DE", "1EB810DE", "not like"},
           {"gpus.yaml", "0x1EB810DE", "0x233510DE", "is taken"},
           {"gpus.yaml", "confidence: high", "confidence: certain", "low, medium or high"},
           {"gpus.yaml", "aliases: [tesla-t4", "aliases: [h100", "means both"},
           {"gpus.yaml", "    mig: {max_instances: 4, min_driver: \"460.73.01\"}\n", "",
            "A30, which is no MIG GPU"},
           {"gpus.yaml", "gpus:", "gpus: [", "gpus.yaml:"},
           {"mig.yaml", "id: 19,", "id: 20,", "this id is taken"},
           {"mig.yaml", "name: 1g.5gb,  ", "name: 2g.5gb,  ", "disagrees with the name"},
           {"mig.yaml", "name: 1g.5gb,  ", "name: small,  ", "not a MIG profile name"},
           {"mig.yaml", "at: [0,4], size: 4", "at: [0,5], size: 4", "leave the GPU"},
           {"mig.yaml", "at: [0,4], size: 4", "at: [4,0], size: 4", "must ascend"},
           {"mig.yaml", "engines: [1,0,0,0,0]", "engines: [1,0,0,0]", "copy, decoder"},
           {"mig.yaml", "max: 1, mib:   4864", "max: 8, mib:   4864", "'max' must be"},
           {"mig.yaml", "mib:  40192", "mib:  90192", "more memory than A100-SXM4-40GB"},
           {"mig.yaml", "gpus: [A30]", "gpus: [A30, A100-PCIE-40GB]", "has a table already"},
           {"mig.yaml", "gpus: [A30]", "gpus: []", "no table for A30"},
           {"mig.yaml", "compute_profiles: a30", "compute_profiles: a31", "names no set"},
           {"mig.yaml", "note: 'from R470'", "estimated: [memory]", "needs the table to say how"},
           {"mig.yaml", "{of: 2g, name: 1c.2g, id: 0, slices: 1, max: 2}",
            "{of: 2g, name: 1c.2g, id: 0, slices: 1, max: 3}", "do not fit into 2g"},
           {"mechanisms.yaml", "  mps:", "  mpss:", "missing 'mps'"},
           {"mechanisms.yaml", "fault: none", "fault: some", "must be none"},
           {"mechanisms.yaml", "{access: kernel, when", "{access: none, when", "lifts nothing"},
           {"models.yaml", "parameters_b: 8.03,", "parameters_b: 0.8,", "exceed"},
           {"models.yaml", "kv_heads: 8,", "kv_heads: 7,", "must divide"},
           {"models.yaml", "layers: 32,", "layers: 32, layerz: 1,", "did you mean 'layers'"},
       }) {
    const std::string error = ErrorAfter(c.file, c.from, c.to);
    EXPECT_THAT(error, HasSubstr(c.says)) << c.file << ": " << c.from << " -> " << c.to;
    if (std::string(c.says).find("means both") == std::string::npos) {
      EXPECT_THAT(error, HasSubstr(c.file));
    }
  }
}

TEST(CatalogTest, AllMistakesAtOnce) {
  const std::string error =
      ErrorAfter("gpus.yaml", "chip: {architecture: turing, compute_capability: \"7.5\", sm: 40}",
                 "chip: {architectur: turing, sm: 0}");
  for (const char* part : {"missing 'architecture'", "missing 'compute_capability'",
                           "unknown key 'architectur'", "'sm'"}) {
    EXPECT_THAT(error, HasSubstr(part));
  }
}

}  // namespace
}  // namespace tranche
