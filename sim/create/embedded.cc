#include <string_view>

#include "sim/create/gpu_catalog.h"

extern "C" {
extern const char tranche_sim_gpus_yaml[];
extern const char tranche_sim_gpus_yaml_end[];
extern const char tranche_sim_mig_yaml[];
extern const char tranche_sim_mig_yaml_end[];
extern const char tranche_sim_drivers_yaml[];
extern const char tranche_sim_drivers_yaml_end[];
}

namespace tranche::sim {
namespace {

std::string_view Span(const char* begin, const char* end) {
  return {begin, static_cast<size_t>(end - begin)};
}

}  // namespace

Result<GpuCatalog> GpuCatalog::Embedded() {
  return Parse(Span(tranche_sim_gpus_yaml, tranche_sim_gpus_yaml_end),
               Span(tranche_sim_mig_yaml, tranche_sim_mig_yaml_end),
               Span(tranche_sim_drivers_yaml, tranche_sim_drivers_yaml_end));
}

}  // namespace tranche::sim
