#pragma once

#include <gmock/gmock.h>

#include <memory>
#include <string>
#include <vector>

#include "stage/import/import.h"

namespace tranche {

inline const Catalog& TestCatalog() {
  static const auto kCatalog = Catalog::Load().value();
  return *kCatalog;
}

inline tl::expected<Imported, std::vector<ImportMistake>> ImportText(
    const std::string& text, const ImportOptions& options = {}) {
  return Import(text, "file", options, TestCatalog());
}

// All mistakes, one per line: "3: message".
inline std::string MistakesOf(const std::string& text, const ImportOptions& options = {}) {
  const auto imported = ImportText(text, options);
  std::string all;
  if (imported) return "";
  for (const ImportMistake& mistake : imported.error()) {
    all += std::to_string(mistake.line) + ": " + mistake.message + "\n";
  }
  return all;
}

inline std::string NotesOf(const Imported& imported) {
  std::string all;
  for (const ImportNote& note : imported.notes) {
    all += std::to_string(note.line) + ": " + note.what + ": " + note.why + "\n";
  }
  return all;
}

// GPUs of one model, as a driver would show them.
inline Machine MachineOf(const std::string& model, int count) {
  Machine machine;
  const CatalogGpu* known = TestCatalog().FindGpu(model).value();
  for (int i = 0; i < count; ++i) {
    Gpu gpu;
    gpu.uuid = "GPU-" + std::to_string(i);
    gpu.index = i;
    gpu.model = known->key;
    gpu.pci_device_id = known->pci_device_ids.empty() ? "" : known->pci_device_ids.front();
    gpu.memory_total = known->memory.value_or(Bytes{0});
    if (known->sm_count) gpu.sm_count = *known->sm_count;
    gpu.mig_profiles = known->mig_profiles;
    machine.gpus.push_back(std::move(gpu));
  }
  return machine;
}

}  // namespace tranche
