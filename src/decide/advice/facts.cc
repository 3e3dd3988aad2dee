#include "decide/advice/facts.h"

#include <fmt/format.h>

#include <algorithm>
#include <tuple>

namespace tranche::advice {
namespace {

constexpr int kMostGpus = 16;
constexpr const char* kUnknown = "an unknown amount";

double SmShare(const CatalogGpu& gpu, const MigProfile& profile) {
  return gpu.sm_count ? static_cast<double>(profile.sm_count) / *gpu.sm_count
                      : static_cast<double>(profile.compute_slices) / gpu.mig_compute_slices;
}

// Smaller first: by memory, then by compute.
std::tuple<int, int> SizeOf(const MigProfile& profile) {
  return {profile.placements.front().size, profile.compute_slices};
}

// The plain profiles below the whole GPU. Of those with as many compute slices only the one with
// the least memory: the wide ones (1g with twice the memory) trade compute per gigabyte away, which
// is for a planner that counts GPUs to decide.
std::vector<const MigProfile*> SlicesOf(const CatalogGpu& gpu) {
  std::vector<const MigProfile*> slices;
  for (const MigProfile& profile : gpu.mig_profiles) {
    if (profile.variant != MigVariant::kPlain || profile.compute_slices == gpu.mig_compute_slices)
      continue;
    const auto same = std::find_if(slices.begin(), slices.end(), [&](const MigProfile* other) {
      return other->compute_slices == profile.compute_slices;
    });
    if (same == slices.end())
      slices.push_back(&profile);
    else if (profile.memory < (*same)->memory)
      *same = &profile;
  }
  std::sort(slices.begin(), slices.end(),
            [](const MigProfile* a, const MigProfile* b) { return SizeOf(*a) < SizeOf(*b); });
  return slices;
}

void ChooseSlice(const AdviceAsk& ask, const AdviceRules& rules, Facts* facts) {
  constexpr double kTolerance = 1e-9;
  // What is stated is taken at its word, what is worked out is not.
  const double usable = ask.divisible ? 1 - rules.Limit("slice_headroom") : 1;
  for (const MigProfile* slice : SlicesOf(*ask.gpu)) {
    facts->largest_slice = slice;
    const auto need = NeedIn(ask, slice->memory);
    if (!need ||
        static_cast<double>(need->value) > usable * static_cast<double>(slice->memory.value)) {
      continue;
    }
    facts->slice_has_memory = true;
    if (facts->slice == nullptr &&
        SmShare(*ask.gpu, *slice) + kTolerance >= ask.sm_utilization.value_or(0))
      facts->slice = slice;
  }
}

// Over how many GPUs a model that is too large for one must be divided.
void Split(const AdviceAsk& ask, Facts* facts) {
  if (!ask.divisible || ask.gpus != 1) return;
  for (int gpus = 2; gpus <= kMostGpus; gpus *= 2) {
    const Bytes each = ask.need(*facts->whole, gpus);
    if (each > *facts->whole) continue;
    facts->need = each;
    facts->gpus = gpus;
    facts->split = true;
    return;
  }
}

std::string Amount(const std::optional<Bytes>& bytes) {
  return bytes ? FormatBytes(*bytes) : kUnknown;
}

}  // namespace

std::optional<Bytes> NeedIn(const AdviceAsk& ask, Bytes slice) {
  return ask.need ? std::optional(ask.need(slice, ask.gpus)) : std::nullopt;
}

Facts FactsOf(const AdviceAsk& ask, const AdviceRules& rules) {
  const CatalogGpu& gpu = *ask.gpu;
  Facts facts;
  facts.ask = &ask;
  facts.rules = &rules;
  facts.gpus = ask.gpus;
  if (gpu.memory) {
    facts.whole =
        Bytes{static_cast<uint64_t>(static_cast<double>(gpu.memory->value) * kUsableMemory)};
  }
  if (ask.need && facts.whole) {
    facts.alone = ask.need(*facts.whole, 1);
    facts.need = ask.need(*facts.whole, ask.gpus);
    if (*facts.need > *facts.whole) Split(ask, &facts);
  }
  ChooseSlice(ask, rules, &facts);

  auto& words = facts.words;
  words["gpu"] = gpu.key;
  words["architecture"] = gpu.architecture;
  words["capability"] = gpu.compute_capability;
  words["gpu_memory"] = Amount(facts.whole);
  words["memory"] = Amount(facts.need);
  words["memory_alone"] = Amount(facts.alone);
  words["gpus"] = std::to_string(facts.gpus);
  words["sm"] = ask.sm_utilization ? FormatPercent(*ask.sm_utilization) : kUnknown;
  words["busy_limit"] = FormatPercent(rules.Limit("busy_sm"));
  words["training_limit"] = FormatPercent(rules.Limit("training_sm"));
  words["batch_limit"] = fmt::format("{}", rules.Limit("large_batch"));
  words["headroom"] = FormatPercent(ask.divisible ? rules.Limit("slice_headroom") : 0);
  words["context"] = std::to_string(ask.context);
  words["concurrency"] = std::to_string(ask.concurrency);
  words["slo"] = ask.latency_slo ? FormatDuration(*ask.latency_slo) : "";
  words["kind"] = WorkloadKindName(ask.kind);
  words["most_instances"] = std::to_string(gpu.mig_max_instances);
  if (facts.slice != nullptr) {
    words["profile"] = facts.slice->name;
    words["slice_memory"] = FormatBytes(facts.slice->memory);
    words["slice_sm"] = FormatPercent(SmShare(gpu, *facts.slice));
    words["most"] = std::to_string(facts.slice->max_instances);
  }
  if (facts.largest_slice != nullptr) {
    words["largest"] = facts.largest_slice->name;
    words["largest_memory"] = FormatBytes(facts.largest_slice->memory);
  }
  return facts;
}

std::string Fill(const std::string& text, const std::map<std::string, std::string>& words) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    const size_t open = std::min(text.find('{', at), text.size());
    out += text.substr(at, open - at);
    if (open == text.size()) break;
    const size_t close = std::min(text.find('}', open), text.size());
    const auto word = words.find(text.substr(open + 1, close - open - 1));
    if (word != words.end()) out += word->second;
    at = close + 1;
  }
  return out;
}

}  // namespace tranche::advice
