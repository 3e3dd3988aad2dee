#include "stage/import/targets.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "model/spec_rules.h"

namespace tranche::importing {
namespace {

// "12" of "12gb", taken off the front; nullopt when there is no number.
std::optional<int> TakeNumber(std::string_view* text) {
  int number = 0;
  const auto [end, error] = std::from_chars(text->data(), text->data() + text->size(), number);
  if (error != std::errc() || number <= 0 || text->front() == '-') return std::nullopt;
  text->remove_prefix(static_cast<size_t>(end - text->data()));
  return number;
}

bool Take(std::string_view* text, std::string_view word) {
  if (text->substr(0, word.size()) != word) return false;
  text->remove_prefix(word.size());
  return true;
}

bool IsAttribute(std::string_view word) {
  return word == "me" || word == "me.all" || word == "gfx";
}

int SmsOf(const CatalogGpu& gpu) {
  if (gpu.sm_count) return *gpu.sm_count;
  int most = 0;
  for (const MigProfile& profile : gpu.mig_profiles) most = std::max(most, profile.sm_count);
  return most;
}

int SmsOf(const Gpu& gpu) {
  if (gpu.sm_count) return *gpu.sm_count;
  int most = 0;
  for (const MigProfile& profile : gpu.mig_profiles) most = std::max(most, profile.sm_count);
  return most;
}

template <typename AnyGpu>
void Include(const AnyGpu& gpu, const std::string& profile, MigSlice* least) {
  const int sms = SmsOf(gpu);
  for (const MigProfile& one : gpu.mig_profiles) {
    if (one.name != profile || sms == 0) continue;
    const double compute = static_cast<double>(one.sm_count) / sms;
    least->memory = least->known ? std::min(least->memory, one.memory) : one.memory;
    least->compute = least->known ? std::min(*least->compute, compute) : compute;
    least->known = true;
  }
}

}  // namespace

std::string ProfileName::plain() const {
  std::string text;
  if (compute_slices != gpu_slices) text = fmt::format("{}c.", compute_slices);
  text += fmt::format("{}g.{}gb", gpu_slices, gigabytes);
  for (size_t i = 0; i < attributes.size(); ++i) text += (i == 0 ? "+" : ",") + attributes[i];
  for (const std::string& attribute : without) text += "-" + attribute;
  return text;
}

std::optional<ProfileName> ParseProfileName(std::string_view text) {
  ProfileName name;
  const auto first = TakeNumber(&text);
  if (!first) return std::nullopt;
  if (Take(&text, "c.")) {
    name.compute_slices = *first;
    const auto second = TakeNumber(&text);
    if (!second || !Take(&text, "g.")) return std::nullopt;
    name.gpu_slices = *second;
  } else if (Take(&text, "g.")) {
    name.compute_slices = name.gpu_slices = *first;
  } else {
    return std::nullopt;
  }
  const auto gigabytes = TakeNumber(&text);
  if (!gigabytes || !Take(&text, "gb")) return std::nullopt;
  name.gigabytes = *gigabytes;
  // More slices of compute than the instance has, or a number that no GPU comes near.
  if (name.compute_slices > name.gpu_slices || name.gpu_slices > 16 || name.gigabytes > 100000) {
    return std::nullopt;
  }
  if (!text.empty() && (text.front() == '+' || text.front() == '.')) {
    do {
      text.remove_prefix(1);
      const size_t end = text.find_first_of(",-");
      const std::string_view attribute = text.substr(0, end);
      if (!IsAttribute(attribute)) return std::nullopt;
      name.attributes.emplace_back(attribute);
      text.remove_prefix(attribute.size());
    } while (!text.empty() && text.front() == ',');
  }
  while (!text.empty() && text.front() == '-') {
    text.remove_prefix(1);
    const std::string_view attribute = text.substr(0, text.find_first_of(",-"));
    if (!IsAttribute(attribute)) return std::nullopt;
    name.without.emplace_back(attribute);
    text.remove_prefix(attribute.size());
  }
  if (!text.empty()) return std::nullopt;
  return name;
}

MigSlice MigSliceOf(const std::string& profile, const std::string& gpu, const Reading& reading) {
  MigSlice least;
  if (const Machine* machine = reading.options().machine; machine != nullptr) {
    // What its driver says is closer than the catalog.
    for (const Gpu& one : machine->gpus) {
      if (gpu.empty() || one.model == gpu) Include(one, profile, &least);
    }
  }
  if (!least.known) {
    for (const CatalogGpu& one : reading.catalog().gpus()) {
      if (gpu.empty() || one.key == gpu) Include(one, profile, &least);
    }
  }
  if (!least.known && !gpu.empty()) return MigSliceOf(profile, "", reading);
  if (!least.known) {
    // Slices have 5 % less than their names say at most.
    const auto name = ParseProfileName(profile);
    least.memory = MiB(static_cast<uint64_t>((name ? name->gigabytes : 1) * 1024 * 0.95));
  }
  return least;
}

Bytes Usable(Bytes total) { return total - Bytes{total.value / 60}; }

std::vector<TargetGpu> TargetsOf(const Reading& reading) {
  std::vector<TargetGpu> targets;
  const Machine* machine = reading.options().machine;
  if (machine == nullptr) return targets;
  for (const Gpu& gpu : machine->gpus) {
    targets.push_back(
        {gpu.index, gpu.uuid, gpu.model, gpu.pci_device_id, Usable(gpu.memory_total)});
  }
  return targets;
}

SmallestGpu SmallestOf(const Catalog& catalog) {
  SmallestGpu smallest;
  for (const CatalogGpu& gpu : catalog.gpus()) {
    if (gpu.memory && (smallest.model.empty() || *gpu.memory < smallest.memory)) {
      smallest = {gpu.key, *gpu.memory};
    }
  }
  smallest.memory = Usable(smallest.memory);
  return smallest;
}

DraftWorkload MigWorkload(const std::string& profile, const std::string& gpu, int replicas,
                          const YamlNode& at, Reading& reading) {
  DraftWorkload workload;
  workload.name = LabelOf("mig-" + profile);
  workload.isolation = "hardware";
  workload.mechanism = Mechanism::kMig;
  workload.gpu = gpu;
  workload.replicas = replicas;
  const auto name = ParseProfileName(profile);
  std::string plain = profile;
  if (name && (!name->attributes.empty() || !name->without.empty())) {
    if (IsMigProfile(name->plain())) {
      plain = workload.profile = name->plain();
    } else {
      plain = fmt::format("{}g.{}gb", name->gpu_slices, name->gigabytes);
      reading.Note(at, profile, "no driver has a profile of that name; taken as " + plain);
    }
  }
  if (name && name->compute_slices < name->gpu_slices) {
    const std::string whole = fmt::format("{}g.{}gb", name->gpu_slices, name->gigabytes);
    reading.Note(at, profile,
                 "Tranche makes one compute instance in each GPU instance; taken as " + whole);
    plain = whole;
  }
  const MigSlice slice = MigSliceOf(plain, gpu, reading);
  workload.memory = slice.memory;
  workload.compute = slice.compute;
  workload.comment = plain;
  if (!slice.known) {
    reading.Note(at, profile,
                 "no GPU of the catalog has such a slice, so its size is what its name says");
  }
  return workload;
}

}  // namespace tranche::importing
