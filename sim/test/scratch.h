#pragma once

#include <stdlib.h>

#include <filesystem>
#include <memory>
#include <string>

#include "sim/create/gpu_catalog.h"
#include "sim/create/machine_file.h"
#include "sim/machine/machine.h"

namespace tranche::sim {

// A directory that goes away with the test.
class ScratchDir {
 public:
  ScratchDir() {
    std::string pattern = (std::filesystem::temp_directory_path() / "tranche_sim_XXXXXX").string();
    if (mkdtemp(pattern.data()) != nullptr) path_ = pattern;
  }
  ~ScratchDir() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  ScratchDir(const ScratchDir&) = delete;
  ScratchDir& operator=(const ScratchDir&) = delete;
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

// What a machine with these GPUs is made of. Its owner, who may do what root may, is who runs the
// test.
inline MachineSpec SpecOf(const std::string& model, uint32_t count = 1) {
  auto catalog = GpuCatalog::Embedded();
  MachineDraft draft;
  draft.gpus.push_back({.model = model, .count = count});
  auto spec = catalog ? Furnish(*catalog, draft, geteuid()) : tl::unexpected(catalog.error());
  return spec ? *spec : MachineSpec{};
}

// Time stands still until it is moved.
struct TestClock {
  uint64_t now_ns = 1000000000;
  Machine::Options options() {
    return {[this] { return now_ns; }, [this] { return now_ns; }};
  }
};

}  // namespace tranche::sim
