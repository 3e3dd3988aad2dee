#include <cstdlib>
#include <utility>
#include <vector>

#include "decide/advice/facts.h"

// One small function per question of catalog/data/advice.yaml: which of its answers holds.

namespace tranche::advice {
namespace {

std::string YesNo(bool yes) { return yes ? "yes" : "no"; }

std::string FitsGpu(const Facts& facts) {
  if (!facts.need || !facts.whole) return "unknown";
  if (facts.split) return "split";
  return YesNo(*facts.need <= *facts.whole);
}

std::string SeveralGpus(const Facts& facts) { return YesNo(facts.gpus > 1); }

std::string Busy(const Facts& facts) {
  const auto& used = facts.ask->sm_utilization;
  if (used) return YesNo(*used >= facts.rules->Limit("busy_sm"));
  return facts.ask->kind == WorkloadKind::kTraining ? "training" : "unknown";
}

std::string Speculative(const Facts& facts) { return YesNo(facts.ask->speculative); }

// Where the need was worked out it decides; otherwise the size of the contexts alone.
std::string LongContext(const Facts& facts) {
  const AdviceAsk& ask = *facts.ask;
  const bool large = ask.context >= facts.rules->Limit("long_context_tokens") &&
                     ask.concurrency >= facts.rules->Limit("large_batch");
  const bool fills = !facts.need || !facts.whole || facts.need->value > facts.whole->value / 2;
  return YesNo(large && fills);
}

std::string VirtualMachines(const Facts& facts) { return YesNo(facts.ask->virtual_machines); }

std::string VgpuGate(const Facts& facts) { return YesNo(facts.ask->gpu->vgpu_capable); }

std::string VgpuHardware(const Facts& facts) {
  if (facts.ask->isolation != "hardware") return "no";
  const bool mig = facts.ask->gpu->mig_capable && !facts.ask->mig_locked;
  return mig ? "mig_backed" : "time_sliced";
}

std::string MigGate(const Facts& facts) { return YesNo(facts.ask->gpu->mig_capable); }

std::string MigLocked(const Facts& facts) { return YesNo(!facts.ask->mig_locked); }

std::string Resized(const Facts& facts) { return YesNo(facts.ask->resized); }

std::string FitsSlice(const Facts& facts) {
  if (!facts.ask->need) return "unknown";
  if (facts.slice != nullptr) return "yes";
  return facts.slice_has_memory ? "compute" : "memory";
}

std::string MpsGate(const Facts& facts) {
  constexpr int kVolta = 7;
  return YesNo(std::atoi(facts.ask->gpu->compute_capability.c_str()) >= kVolta);
}

std::string Isolation(const Facts& facts) { return facts.ask->isolation; }

std::string Trusted(const Facts& facts) { return YesNo(facts.ask->trusted); }

std::string Latency(const Facts& facts) { return YesNo(facts.ask->latency_slo.has_value()); }

std::string Kind(const Facts& facts) {
  if (facts.ask->kind == WorkloadKind::kInference && facts.ask->steady) return "steady";
  return WorkloadKindName(facts.ask->kind);
}

using Function = std::string (*)(const Facts&);
constexpr std::pair<const char*, Function> kQuestions[] = {
    {"fits_gpu", FitsGpu},
    {"several_gpus", SeveralGpus},
    {"busy", Busy},
    {"speculative", Speculative},
    {"long_context", LongContext},
    {"virtual_machines", VirtualMachines},
    {"vgpu_gate", VgpuGate},
    {"vgpu_hardware", VgpuHardware},
    {"mig_gate", MigGate},
    {"mig_locked", MigLocked},
    {"resized", Resized},
    {"fits_slice", FitsSlice},
    {"mps_gate", MpsGate},
    {"isolation", Isolation},
    {"trusted", Trusted},
    {"latency", Latency},
    {"kind", Kind},
};

}  // namespace

std::string AnswerTo(const std::string& question, const Facts& facts) {
  for (const auto& [name, function] : kQuestions) {
    if (question == name) return function(facts);
  }
  return "";
}

}  // namespace tranche::advice

namespace tranche {

std::vector<std::string> AnswerableQuestions() {
  std::vector<std::string> names;
  for (const auto& [name, function] : advice::kQuestions) names.emplace_back(name);
  return names;
}

}  // namespace tranche
