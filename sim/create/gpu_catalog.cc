#include "sim/create/gpu_catalog.h"

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>

#include "base/suggest.h"
#include "base/yaml.h"

namespace tranche::sim {
namespace {

constexpr uint64_t kMiB = uint64_t{1} << 20;
constexpr uint32_t kCiRev1 = 7;  // NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1
constexpr uint32_t kCiRev1Since = 525;

// Reads a tree that the build itself provides: one mistake is enough to give up, and it names its
// place.
class Tree {
 public:
  explicit Tree(std::string file) : file_(std::move(file)) {}

  const YamlNode* Get(const YamlNode& map, const char* key) {
    const YamlNode* node = map.Find(key);
    if (node == nullptr) Complain(map, std::string("'") + key + "' is missing");
    return node;
  }
  std::string Text(const YamlNode& map, const char* key) {
    const YamlNode* node = Get(map, key);
    return node == nullptr ? "" : node->scalar;
  }
  std::string TextOr(const YamlNode& map, const char* key, const char* fallback) {
    const YamlNode* node = map.Find(key);
    return node == nullptr ? fallback : node->scalar;
  }
  uint32_t Number(const YamlNode& map, const char* key) {
    const YamlNode* node = Get(map, key);
    return node == nullptr ? 0 : Number(*node);
  }
  uint32_t NumberOr(const YamlNode& map, const char* key, uint32_t fallback) {
    const YamlNode* node = map.Find(key);
    return node == nullptr || node->IsNull() ? fallback : Number(*node);
  }
  uint32_t Number(const YamlNode& node) {
    char* end = nullptr;
    unsigned long value = std::strtoul(node.scalar.c_str(), &end, 0);
    if (node.scalar.empty() || *end != 0) Complain(node, "'" + node.scalar + "' is not a number");
    return static_cast<uint32_t>(value);
  }
  std::vector<std::string> Texts(const YamlNode& map, const char* key) {
    std::vector<std::string> texts;
    if (const YamlNode* node = map.Find(key)) {
      for (const YamlNode& item : node->items) texts.push_back(item.scalar);
    }
    return texts;
  }
  void Complain(const YamlNode& at, const std::string& what) {
    if (!status_) return;
    status_ = Fail(ErrorCode::kInvalid, file_ + ":" + std::to_string(at.line) + ": " + what);
  }
  const Status& status() const { return status_; }

 private:
  std::string file_;
  Status status_;
};

Result<YamlNode> Load(std::string_view text, const char* name) {
  auto node = ParseYaml(text);
  if (node) return std::move(*node);
  const YamlError& e = node.error();
  return Fail(ErrorCode::kInvalid,
              std::string(name) + ":" + std::to_string(e.line) + ": " + e.message, e.hint);
}

template <size_t N>
void Set(char (&out)[N], const std::string& text) {
  std::snprintf(out, N, "%s", text.c_str());
}

Arch ParseArch(Tree* tree, const YamlNode& at, const std::string& name) {
  if (name == "volta") return Arch::kVolta;
  if (name == "turing") return Arch::kTuring;
  if (name == "ampere") return Arch::kAmpere;
  if (name == "ada") return Arch::kAda;
  if (name == "hopper") return Arch::kHopper;
  if (name == "blackwell" || name == "blackwell-ultra") return Arch::kBlackwell;
  tree->Complain(at, "unknown architecture '" + name + "'");
  return Arch::kAmpere;
}

// What the driver keeps for itself on an idle GPU: a base and a little for each page of memory.
// Between 350 MiB (T4) and 870 MiB (B200), as nvidia-smi shows it.
uint64_t Reserved(uint64_t memory_bytes) { return (300 * kMiB + memory_bytes / 320) / kMiB * kMiB; }

void ReadGpu(Tree* tree, const std::string& key, const YamlNode& node, GpuSpec* gpu) {
  const YamlNode* identity = tree->Get(node, "identity");
  const YamlNode* chip = tree->Get(node, "chip");
  const YamlNode* memory = tree->Get(node, "memory");
  const YamlNode* speed = tree->Get(node, "speed");
  if (!tree->status()) return;
  Set(gpu->key, key);
  std::vector<std::string> names = tree->Texts(*identity, "nvml_names");
  std::vector<std::string> ids = tree->Texts(*identity, "pci_ids");
  Set(gpu->name, names.empty() ? key : names[0]);
  gpu->pci_device_id =
      ids.empty() ? 0 : static_cast<uint32_t>(std::strtoul(ids[0].c_str(), nullptr, 0));
  gpu->pci_subsystem_id = 0x000010deu;
  gpu->arch = ParseArch(tree, *chip, tree->Text(*chip, "architecture"));
  std::string cc = tree->Text(*chip, "compute_capability");
  std::sscanf(cc.c_str(), "%u.%u", &gpu->cc_major, &gpu->cc_minor);
  gpu->sm = tree->NumberOr(*chip, "sm", 0);
  gpu->memory_bytes = tree->NumberOr(*memory, "mib", 0) * kMiB;
  gpu->reserved_bytes = Reserved(gpu->memory_bytes);
  gpu->bandwidth = tree->NumberOr(*memory, "bandwidth_gbs", 0) * uint64_t{1000000000};
  gpu->tdp_watts = tree->NumberOr(*speed, "tdp_w", 300);
  bool geforce = std::string(gpu->name).find("GeForce") != std::string::npos;
  gpu->ecc = geforce ? 0 : 1;
  gpu->row_remapping = !geforce && gpu->arch >= Arch::kAmpere ? 1 : 0;
}

// The starts of a compute instance inside its GPU instance. Spans begin at multiples of their size,
// that of three slices at multiples of four, like the GPU instances of those sizes.
void SetCiStarts(uint32_t gi_slices, CiProfileSpec* ci) {
  uint32_t step = ci->slices == 3 ? 4 : ci->slices;
  for (uint32_t start = 0; start + ci->slices <= gi_slices; start += step) {
    if (ci->start_count == ci->max_instances || ci->start_count == kMaxPlacements) break;
    ci->starts[ci->start_count++] = start;
  }
}

struct CiRow {
  std::string of;  // "3g"
  uint32_t id = 0, slices = 0, max = 0;
};

// SMs: all of the GPU instance for the one that takes all its slices, otherwise those of the plain
// GPU instance of that many slices.
uint32_t CiSm(const GpuSpec& gpu, const GiProfileSpec& gi, uint32_t slices) {
  if (slices == gi.slices) return gi.sm;
  for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
    const GiProfileSpec& other = gpu.gi_profiles[i];
    if (other.slices == slices && !other.gfx) return std::min(other.sm, gi.sm);
  }
  return gi.sm * slices / std::max(gi.slices, 1u);
}

void AddCiProfiles(const GpuSpec& gpu, const std::vector<CiRow>& rows, GiProfileSpec* gi) {
  std::string of = std::to_string(gi->slices) + "g";
  auto add = [&](uint32_t id, uint32_t slices, uint32_t max, const char* suffix) {
    if (gi->ci_profile_count == kMaxCiProfiles) return;
    CiProfileSpec& ci = gi->ci_profiles[gi->ci_profile_count++];
    ci.id = id;
    ci.slices = slices;
    ci.max_instances = max;
    ci.sm = CiSm(gpu, *gi, slices);
    SetCiStarts(gi->slices, &ci);
    std::string prefix = slices == gi->slices ? "" : std::to_string(slices) + "c.";
    Set(ci.name, prefix + gi->name + suffix);
  };
  for (const CiRow& row : rows) {
    if (row.of == of) add(row.id, row.slices, row.max, "");
  }
}

// The variant with the media extensions, which drivers from R525 offer in every GPU instance.
void AddCiRev1(const GpuSpec& gpu, GiProfileSpec* gi) {
  if (gi->ci_profile_count == kMaxCiProfiles) return;
  CiProfileSpec& ci = gi->ci_profiles[gi->ci_profile_count++];
  ci.id = kCiRev1;
  ci.slices = 1;
  ci.max_instances = 1;
  ci.sm = CiSm(gpu, *gi, 1);
  for (uint32_t s = 0; s < gi->slices && s < kMaxPlacements; ++s) ci.starts[ci.start_count++] = s;
  bool has_me = std::string(gi->name).find("+me") != std::string::npos;
  Set(ci.name, (gi->slices == 1 ? "" : "1c.") + std::string(gi->name) + (has_me ? "" : "+me"));
}

void ReadMigTable(Tree* tree, const YamlNode& table, const std::vector<CiRow>& rows, GpuSpec* gpu) {
  gpu->mig_capable = 1;
  gpu->memory_slots = tree->Number(table, "memory_slots");
  gpu->compute_slices = tree->Number(table, "compute_slices");
  // The mode needs a reset, and is kept in the InfoROM, on A100 and A30; not from Hopper on.
  gpu->mode_needs_reset = gpu->arch == Arch::kAmpere ? 1 : 0;
  gpu->mode_persists = gpu->mode_needs_reset;
  const YamlNode* profiles = tree->Get(table, "profiles");
  if (profiles == nullptr) return;
  for (const YamlNode& row : profiles->items) {
    if (gpu->gi_profile_count == kMaxGiProfiles) {
      tree->Complain(row, "too many profiles");
      return;
    }
    GiProfileSpec& gi = gpu->gi_profiles[gpu->gi_profile_count++];
    Set(gi.name, tree->Text(row, "name"));
    gi.id = tree->Number(row, "id");
    gi.profile = tree->Number(row, "nvml");
    gi.slices = tree->Number(row, "slices");
    gi.max_instances = tree->Number(row, "max");
    gi.memory_bytes = tree->Number(row, "mib") * kMiB;
    gi.sm = tree->Number(row, "sm");
    gi.gfx = std::string(gi.name).find("+gfx") != std::string::npos ? 1 : 0;
    gi.size = tree->Number(row, "size");
    const YamlNode* engines = tree->Get(row, "engines");
    if (engines != nullptr && engines->items.size() == 5) {
      gi.engines.copy = tree->Number(engines->items[0]);
      gi.engines.decoders = tree->Number(engines->items[1]);
      gi.engines.encoders = tree->Number(engines->items[2]);
      gi.engines.jpeg = tree->Number(engines->items[3]);
      gi.engines.ofa = tree->Number(engines->items[4]);
    } else {
      tree->Complain(row, "'engines' wants five numbers");
    }
    for (const std::string& start : tree->Texts(row, "at")) {
      if (gi.start_count == kMaxPlacements) break;
      gi.starts[gi.start_count++] = static_cast<uint32_t>(std::strtoul(start.c_str(), nullptr, 10));
    }
  }
  for (uint32_t i = 0; i < gpu->gi_profile_count; ++i) {
    AddCiProfiles(*gpu, rows, &gpu->gi_profiles[i]);
  }
}

uint32_t BranchOf(const std::string& version) {
  return static_cast<uint32_t>(std::strtoul(version.c_str(), nullptr, 10));
}

}  // namespace

std::string NormalModel(std::string_view text) {
  std::string out;
  for (char c : text) {
    if (c == '-' || c == '_' || c == ' ') continue;
    out += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

Result<GpuCatalog> GpuCatalog::Parse(std::string_view gpus_text, std::string_view mig_text,
                                     std::string_view drivers_text) {
  Result<YamlNode> gpus = Load(gpus_text, "gpus.yaml");
  if (!gpus) return tl::unexpected(gpus.error());
  Result<YamlNode> mig = Load(mig_text, "mig.yaml");
  if (!mig) return tl::unexpected(mig.error());
  Result<YamlNode> drivers = Load(drivers_text, "drivers.yaml");
  if (!drivers) return tl::unexpected(drivers.error());

  GpuCatalog catalog;
  Tree gpu_tree("gpus.yaml"), mig_tree("mig.yaml"), driver_tree("drivers.yaml");
  if (const YamlNode* all = gpu_tree.Get(*gpus, "gpus")) {
    for (const auto& [key, node] : all->members) {
      Entry entry;
      ReadGpu(&gpu_tree, key.scalar, node, &entry.spec);
      entry.names.push_back(NormalModel(key.scalar));
      for (const std::string& alias : gpu_tree.Texts(node, "aliases")) {
        entry.names.push_back(NormalModel(alias));
      }
      if (const YamlNode* own = node.Find("mig"); own != nullptr && own->IsMap()) {
        entry.since = gpu_tree.TextOr(*own, "min_driver", "");
        entry.since_branch = BranchOf(entry.since);
      }
      catalog.entries_.push_back(std::move(entry));
    }
  }
  const YamlNode* tables = mig_tree.Get(*mig, "tables");
  const YamlNode* sets = mig_tree.Get(*mig, "compute_profile_sets");
  if (tables != nullptr && sets != nullptr) {
    for (const auto& [name, table] : tables->members) {
      std::vector<CiRow> rows;
      if (const YamlNode* set = sets->Find(mig_tree.Text(table, "compute_profiles"))) {
        if (const YamlNode* profiles = mig_tree.Get(*set, "profiles")) {
          for (const YamlNode& row : profiles->items) {
            rows.push_back({mig_tree.Text(row, "of"), mig_tree.Number(row, "id"),
                            mig_tree.Number(row, "slices"), mig_tree.Number(row, "max")});
          }
        }
      } else {
        mig_tree.Complain(table, "no such set of compute profiles");
      }
      for (const std::string& gpu : mig_tree.Texts(table, "gpus")) {
        for (Entry& entry : catalog.entries_) {
          if (entry.names[0] == NormalModel(gpu)) {
            ReadMigTable(&mig_tree, table, rows, &entry.spec);
          }
        }
      }
    }
  }
  catalog.default_driver_ = driver_tree.Text(*drivers, "default");
  if (const YamlNode* list = driver_tree.Get(*drivers, "drivers")) {
    for (const YamlNode& row : list->items) {
      std::string version = driver_tree.Text(row, "version");
      catalog.drivers_.push_back(
          {BranchOf(version), version, static_cast<int>(driver_tree.Number(row, "cuda"))});
    }
  }
  if (const YamlNode* list = driver_tree.Get(*drivers, "profiles")) {
    for (const YamlNode& row : list->items) {
      catalog.rules_.push_back(
          {driver_tree.Texts(row, "gpus"), driver_tree.Text(row, "profile"),
           driver_tree.NumberOr(row, "since", 0), driver_tree.NumberOr(row, "from", 0),
           driver_tree.NumberOr(row, "until", 0), driver_tree.TextOr(row, "name", "")});
    }
  }
  if (const YamlNode* symbols = driver_tree.Get(*drivers, "symbols")) {
    for (const auto& [since, names] : symbols->members) {
      for (const YamlNode& name : names.items) {
        catalog.symbols_.push_back({name.scalar, driver_tree.Number(since)});
      }
    }
  }
  for (const Tree* tree : {&gpu_tree, &mig_tree, &driver_tree}) {
    if (!tree->status()) return tl::unexpected(tree->status().error());
  }
  return catalog;
}

std::vector<std::string> GpuCatalog::keys() const {
  std::vector<std::string> keys;
  for (const Entry& entry : entries_) keys.push_back(entry.spec.key);
  return keys;
}

Result<DriverSpec> GpuCatalog::FindDriver(std::string_view version) const {
  std::string text(version);
  bool dotted = !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) {
    return std::isdigit(c) || c == '.';
  });
  uint32_t branch = BranchOf(text);
  const Driver* like = nullptr;
  for (const Driver& driver : drivers_) {
    if (driver.branch <= branch) like = &driver;
  }
  if (!dotted || like == nullptr || text.size() >= sizeof(DriverSpec::version)) {
    std::string known;
    for (const Driver& driver : drivers_) known += (known.empty() ? "" : ", ") + driver.version;
    return Fail(ErrorCode::kInvalid, "no driver '" + text + "' can be simulated",
                "one of " + known);
  }
  DriverSpec spec;
  bool short_form = text.find('.') == std::string::npos && like->branch == branch;
  Set(spec.version, short_form ? like->version : text);
  spec.branch = branch;
  spec.cuda_version = like->cuda;
  return spec;
}

Result<GpuSpec> GpuCatalog::Find(std::string_view model, const DriverSpec& driver) const {
  std::string wanted = NormalModel(model);
  const Entry* found = nullptr;
  for (const Entry& entry : entries_) {
    if (std::find(entry.names.begin(), entry.names.end(), wanted) != entry.names.end())
      found = &entry;
  }
  if (found == nullptr) {
    // The form factor and the memory are the most of a key, so the aliases are compared as well.
    std::vector<std::string> words;
    for (const Entry& entry : entries_)
      words.insert(words.end(), entry.names.begin(), entry.names.end());
    std::string near = Suggest(wanted, words), hint;
    for (const Entry& entry : entries_) {
      bool meant = std::find(entry.names.begin(), entry.names.end(), near) != entry.names.end();
      if (!near.empty() && meant) hint = std::string("did you mean '") + entry.spec.key + "'?";
    }
    if (hint.empty()) hint = "`tranche-sim models` lists what can be simulated";
    return Fail(ErrorCode::kInvalid, "unknown GPU model '" + std::string(model) + "'", hint);
  }
  if (driver.branch < found->since_branch) {
    return Fail(ErrorCode::kInvalid,
                "driver " + std::string(driver.version) + " does not know the " + found->spec.key,
                "its first driver was " + found->since);
  }
  GpuSpec gpu = found->spec;
  GpuSpec all = gpu;
  gpu.gi_profile_count = 0;
  for (uint32_t i = 0; i < all.gi_profile_count; ++i) {
    GiProfileSpec gi = all.gi_profiles[i];
    bool hidden = false;
    for (const ProfileRule& rule : rules_) {
      bool here = rule.profile == all.gi_profiles[i].name &&
                  std::find(rule.gpus.begin(), rule.gpus.end(), gpu.key) != rule.gpus.end();
      if (!here) continue;
      if (driver.branch < rule.since) hidden = true;
      if (rule.from != 0 && driver.branch >= rule.from && driver.branch <= rule.until) {
        for (uint32_t k = 0; k < gi.ci_profile_count; ++k) {
          std::string name = gi.ci_profiles[k].name;
          size_t at = name.find(rule.profile);
          if (at != std::string::npos) name.replace(at, rule.profile.size(), rule.name);
          Set(gi.ci_profiles[k].name, name);
        }
        Set(gi.name, rule.name);
      }
    }
    if (hidden) continue;
    if (driver.branch >= kCiRev1Since) AddCiRev1(all, &gi);
    gpu.gi_profiles[gpu.gi_profile_count++] = gi;
  }
  return gpu;
}

std::vector<std::string> GpuCatalog::MissingSymbols(uint32_t branch) const {
  std::vector<std::string> missing;
  for (const Symbol& symbol : symbols_) {
    if (branch < symbol.since) missing.push_back(symbol.name);
  }
  return missing;
}

}  // namespace tranche::sim
