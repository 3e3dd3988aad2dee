#include "catalog/catalog.h"

#include <fmt/format.h>

#include <algorithm>

#include "catalog/loaders.h"
#include "catalog/names.h"

extern "C" {
extern const char catalog_gpus_yaml[], catalog_gpus_yaml_end[];
extern const char catalog_mig_yaml[], catalog_mig_yaml_end[];
extern const char catalog_mechanisms_yaml[], catalog_mechanisms_yaml_end[];
extern const char catalog_models_yaml[], catalog_models_yaml_end[];
}

namespace tranche {
namespace {

std::string_view Between(const char* begin, const char* end) {
  return {begin, static_cast<size_t>(end - begin)};
}

std::vector<catalog::NameEntry> NamesOf(const std::vector<CatalogGpu>& gpus) {
  std::vector<catalog::NameEntry> names;
  for (const CatalogGpu& gpu : gpus) {
    catalog::NameEntry entry{{gpu.key}};
    entry.words.insert(entry.words.end(), gpu.aliases.begin(), gpu.aliases.end());
    entry.words.insert(entry.words.end(), gpu.nvml_names.begin(), gpu.nvml_names.end());
    names.push_back(std::move(entry));
  }
  return names;
}

std::vector<catalog::NameEntry> NamesOf(const std::vector<CatalogModel>& models) {
  std::vector<catalog::NameEntry> names;
  for (const CatalogModel& model : models) {
    catalog::NameEntry entry{{model.name}};
    for (const std::string& alias : model.aliases) {
      entry.words.push_back(alias);
      // "meta-llama/Llama-3.1-8B-Instruct" is also known without its owner.
      if (const size_t slash = alias.find('/'); slash != std::string::npos) {
        entry.words.push_back(alias.substr(slash + 1));
      }
    }
    names.push_back(std::move(entry));
  }
  return names;
}

}  // namespace

const char* ConfidenceName(Confidence confidence) {
  switch (confidence) {
    case Confidence::kLow:
      return "low";
    case Confidence::kMedium:
      return "medium";
    case Confidence::kHigh:
      return "high";
  }
  return "low";
}

Result<std::shared_ptr<const Catalog>> Catalog::Load() {
  return Parse({.gpus = Between(catalog_gpus_yaml, catalog_gpus_yaml_end),
                .mig = Between(catalog_mig_yaml, catalog_mig_yaml_end),
                .mechanisms = Between(catalog_mechanisms_yaml, catalog_mechanisms_yaml_end),
                .models = Between(catalog_models_yaml, catalog_models_yaml_end)});
}

Result<std::shared_ptr<const Catalog>> Catalog::Parse(const CatalogText& text) {
  auto catalog = std::make_shared<Catalog>();
  auto gpus = catalog::LoadGpus(text.gpus);
  if (!gpus) return tl::unexpected(gpus.error());
  auto sources = catalog::LoadMig(text.mig, &*gpus);
  if (!sources) return tl::unexpected(sources.error());
  auto mechanisms = catalog::LoadMechanisms(text.mechanisms);
  if (!mechanisms) return tl::unexpected(mechanisms.error());
  auto models = catalog::LoadModels(text.models);
  if (!models) return tl::unexpected(models.error());
  if (auto ok = catalog::CheckUnambiguous(NamesOf(*gpus), "GPU"); !ok)
    return tl::unexpected(ok.error());
  if (auto ok = catalog::CheckUnambiguous(NamesOf(*models), "model"); !ok)
    return tl::unexpected(ok.error());
  catalog->gpus_ = std::move(*gpus);
  catalog->sources_ = std::move(*sources);
  catalog->mechanisms_ = std::move(*mechanisms);
  catalog->models_ = std::move(*models);
  return catalog;
}

std::vector<MigProfileSource> Catalog::SourcesOf(const std::string& gpu_key) const {
  for (const auto& [key, sources] : sources_) {
    if (key == gpu_key) return sources;
  }
  return {};
}

Result<const CatalogGpu*> Catalog::FindGpu(const std::string& name) const {
  auto index = catalog::LookUp(name, NamesOf(gpus_), "GPU", "tranche catalog gpus");
  if (!index) return tl::unexpected(index.error());
  return &gpus_[*index];
}

Result<const CatalogModel*> Catalog::FindModel(const std::string& name) const {
  auto index = catalog::LookUp(name, NamesOf(models_), "model", "tranche catalog models");
  if (!index) return tl::unexpected(index.error());
  return &models_[*index];
}

const CatalogGpu* Catalog::IdentifyGpu(const std::string& nvml_name,
                                       const std::string& pci_device_id) const {
  const auto matches = [](const std::vector<std::string>& known, const std::string& seen) {
    const std::string wanted = catalog::NormalizeName(seen);
    return !wanted.empty() &&
           std::any_of(known.begin(), known.end(), [&wanted](const std::string& word) {
             return catalog::NormalizeName(word) == wanted;
           });
  };
  for (const CatalogGpu& gpu : gpus_) {
    if (matches(gpu.pci_device_ids, pci_device_id)) return &gpu;
  }
  for (const CatalogGpu& gpu : gpus_) {
    if (matches(gpu.nvml_names, nvml_name)) return &gpu;
  }
  return nullptr;
}

const CatalogMechanism& Catalog::FindMechanism(Mechanism mechanism) const {
  // The loader reads them in the order of the enumeration, all six.
  return mechanisms_[static_cast<size_t>(mechanism)];
}

std::vector<MigComputeProfile> ComputeProfilesOf(const CatalogGpu& gpu, const MigProfile& profile) {
  std::vector<MigComputeProfile> result;
  for (MigComputeProfile compute : gpu.mig_compute_profiles) {
    if (compute.gpu_instance_slices != profile.compute_slices) continue;
    compute.sm_count = profile.sm_count;
    if (compute.compute_slices < profile.compute_slices) {
      // Tables list the plain profile of a size before its wider variants, so the first is the one.
      const auto smaller = std::find_if(gpu.mig_profiles.begin(), gpu.mig_profiles.end(),
                                        [&compute](const MigProfile& other) {
                                          return other.compute_slices == compute.compute_slices;
                                        });
      if (smaller == gpu.mig_profiles.end()) continue;
      compute.sm_count = smaller->sm_count;
    }
    result.push_back(std::move(compute));
  }
  return result;
}

Result<MigProfileName> ParseMigProfileName(std::string_view name) {
  const auto wrong = [name] {
    return Fail(ErrorCode::kInvalid,
                fmt::format("'{}' is not a MIG profile name like 2g.20gb or 1g.10gb+me", name));
  };
  const auto number = [&name](int* value) {
    size_t digits = 0;
    for (*value = 0;
         digits < name.size() && digits < 4 && name[digits] >= '0' && name[digits] <= '9';
         ++digits) {
      *value = *value * 10 + (name[digits] - '0');
    }
    name.remove_prefix(digits);
    return digits > 0 && *value > 0;
  };
  const auto literal = [&name](std::string_view text) {
    if (!name.starts_with(text)) return false;
    name.remove_prefix(text.size());
    return true;
  };
  MigProfileName result;
  const bool ok =
      number(&result.compute_slices) && literal("g.") && number(&result.gigabytes) && literal("gb");
  static constexpr std::pair<std::string_view, MigVariant> kSuffixes[] = {
      {"", MigVariant::kPlain},
      {"+me", MigVariant::kMedia},
      {"+me.all", MigVariant::kAllMedia},
      {"-me", MigVariant::kNoMedia},
      {"+gfx", MigVariant::kGraphics}};
  for (const auto& [suffix, variant] : kSuffixes) {
    if (!ok || name != suffix) continue;
    result.variant = variant;
    return result;
  }
  return wrong();
}

}  // namespace tranche
