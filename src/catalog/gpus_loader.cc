#include <fmt/format.h>

#include <set>

#include "catalog/field_reader.h"
#include "catalog/loaders.h"

namespace tranche::catalog {
namespace {

constexpr int kMostMib = 16 << 20;  // 16 TiB

bool IsPciId(const std::string& text) {
  return text.size() == 10 && text.starts_with("0x") &&
         text.find_first_not_of("0123456789ABCDEF", 2) == std::string::npos;
}

bool IsComputeCapability(const std::string& text) {
  const size_t dot = text.find('.');
  return dot != 0 && dot != std::string::npos && dot + 1 < text.size() &&
         text.find_first_not_of("0123456789.") == std::string::npos;
}

CatalogGpu ReadGpu(const std::string& key, const YamlNode& node, Mistakes* mistakes) {
  CatalogGpu gpu;
  gpu.key = key;
  FieldReader row(node, mistakes);
  gpu.aliases = row.Texts("aliases");
  {
    FieldReader identity(row.Map("identity"), mistakes);
    gpu.nvml_names = identity.Texts("nvml_names");
    gpu.pci_device_ids = identity.Texts("pci_ids");
    gpu.identity_confidence = identity.ReadConfidence("confidence");
    if (gpu.nvml_names.empty()) identity.Wrong("a GPU without a name cannot be recognised");
    for (const std::string& id : gpu.pci_device_ids) {
      if (!IsPciId(id))
        identity.Wrong("pci_ids", fmt::format("has '{}', which is not like 0x233010DE", id));
    }
  }
  {
    FieldReader chip(row.Map("chip"), mistakes);
    gpu.architecture = chip.Text("architecture");
    gpu.compute_capability = chip.Text("compute_capability");
    gpu.sm_count = chip.IntOrNull("sm", 1, 1000);
    if (!IsComputeCapability(gpu.compute_capability))
      chip.Wrong("compute_capability", "must be like \"9.0\"");
  }
  {
    FieldReader memory(row.Map("memory"), mistakes);
    if (const auto mib = memory.IntOrNull("mib", 1, kMostMib)) gpu.memory = MiB(*mib);
    if (const auto speed = memory.NumberOrNull("bandwidth_gbs", 1, 1e6))
      gpu.bandwidth = *speed * 1e9;
    gpu.confidence = memory.ReadConfidence("confidence");
  }
  {
    FieldReader speed(row.Map("speed"), mistakes);
    if (const auto tera = speed.NumberOrNull("fp16_dense_tflops", 1, 1e6))
      gpu.fp16_flops = *tera * 1e12;
    if (const auto tera = speed.NumberOrNull("int8_dense_tops", 1, 1e6))
      gpu.int8_ops = *tera * 1e12;
    if (const auto mib = speed.IntOrNull("l2_mb", 1, kMostMib)) gpu.l2_cache = MiB(*mib);
    gpu.tdp_watts = speed.IntOrNull("tdp_w", 1, 100000);
    gpu.speed_confidence = speed.ReadConfidence("confidence");
  }
  if (const YamlNode* node_of_mig = row.Optional("mig")) {
    FieldReader mig(*node_of_mig, mistakes);
    gpu.mig_capable = true;
    gpu.mig_max_instances = mig.Int("max_instances", 1, 64);
    const YamlNode* driver = mig.Optional("min_driver");
    if (driver == nullptr || !driver->IsNull()) gpu.mig_min_driver = mig.Text("min_driver");
  }
  gpu.vgpu_capable = row.Bool("vgpu");
  gpu.note = row.TextOr("note", "");
  return gpu;
}

}  // namespace

Result<std::vector<CatalogGpu>> LoadGpus(std::string_view text) {
  auto document = ParseData("gpus.yaml", text);
  if (!document) return tl::unexpected(document.error());
  Mistakes mistakes("gpus.yaml");
  std::vector<CatalogGpu> gpus;
  {
    FieldReader top(*document, &mistakes);
    std::set<std::string> pci_ids;
    for (const auto& [key, node] : top.Map("gpus").members) {
      gpus.push_back(ReadGpu(key.scalar, node, &mistakes));
      for (const std::string& id : gpus.back().pci_device_ids) {
        if (!pci_ids.insert(id).second) mistakes.Add(node, fmt::format("PCI id {} is taken", id));
      }
    }
    if (gpus.empty()) top.Wrong("gpus", "lists no GPU");
  }
  if (!mistakes.empty()) return tl::unexpected(mistakes.status().error());
  return gpus;
}

}  // namespace tranche::catalog
