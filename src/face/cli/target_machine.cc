#include "face/cli/target_machine.h"

#include <charconv>

#include "face/cli/files.h"
#include "model/spec_rules.h"
#include "stage/inventory/inventory.h"

namespace tranche {

Result<Machine> TargetMachine(const std::string& gpu, const std::string& machine_file,
                              const Catalog& catalog) {
  if (!gpu.empty() && !machine_file.empty()) {
    return Fail(ErrorCode::kInvalid, "--gpu and --machine both say which GPUs are meant",
                "give one of the two");
  }
  if (!machine_file.empty()) return LoadMachine(machine_file);
  const size_t colon = gpu.rfind(':');
  int count = 1;
  if (colon != std::string::npos) {
    const char* const end = gpu.data() + gpu.size();
    const auto parsed = std::from_chars(gpu.data() + colon + 1, end, count);
    if (parsed.ec != std::errc() || parsed.ptr != end || count < 1 || count > kMaxGpusPerWorkload) {
      return Fail(ErrorCode::kInvalid, "'" + gpu.substr(colon + 1) + "' is no number of GPUs",
                  "--gpu H100-SXM5-80GB:8");
    }
  }
  const auto model = catalog.FindGpu(gpu.substr(0, colon));
  if (!model) return tl::unexpected<Error>(model.error());
  Spec spec;
  spec.fleet.push_back({(*model)->key, count, std::nullopt, std::nullopt});
  return MachineFromFleet(spec, catalog);
}

}  // namespace tranche
