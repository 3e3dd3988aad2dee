#include "face/cli/catalog_view.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/json.h"
#include "decide/geometry/layouts.h"
#include "decide/geometry/mig_geometry.h"
#include "face/cli/render/slot_bar.h"
#include "face/cli/views.h"

namespace tranche {
namespace {

template <typename T>
void PutIf(Json& json, const char* key, const std::optional<T>& value) {
  if (value) json[key] = *value;
}

template <typename T>
Cell NumberCell(const std::optional<T>& value) {
  return value ? Cell(fmt::format("{}", *value)) : Cell();
}

Cell BytesCell(const std::optional<Bytes>& bytes) {
  return bytes ? Cell(FormatBytes(*bytes), std::to_string(bytes->value)) : Cell();
}

// Of a rate: "3.35" from 3.35e12.
Cell TeraCell(const std::optional<double>& value) {
  return value ? Cell(fmt::format("{:.4g}", *value / 1e12), fmt::format("{}", *value)) : Cell();
}

std::string Joined(const std::vector<std::string>& words) {
  std::string out;
  for (const std::string& word : words) out += (out.empty() ? "" : " ") + word;
  return out;
}

Json GuaranteesJson(const Guarantees& guarantees) {
  return {{"memory", GuaranteeName(guarantees.memory)},
          {"compute", GuaranteeName(guarantees.compute)},
          {"fault", GuaranteeName(guarantees.fault)},
          {"access", GuaranteeName(guarantees.access)}};
}

Json GpuJson(const CatalogGpu& gpu) {
  Json json = {{"gpu", gpu.key},
               {"aliases", gpu.aliases},
               {"nvml_names", gpu.nvml_names},
               {"pci_device_ids", gpu.pci_device_ids},
               {"architecture", gpu.architecture},
               {"compute_capability", gpu.compute_capability}};
  PutIf(json, "sm_count", gpu.sm_count);
  if (gpu.memory) json["memory_bytes"] = gpu.memory->value;
  PutIf(json, "bandwidth_bytes_per_second", gpu.bandwidth);
  PutIf(json, "fp16_flops_per_second", gpu.fp16_flops);
  PutIf(json, "int8_operations_per_second", gpu.int8_ops);
  if (gpu.l2_cache) json["l2_cache_bytes"] = gpu.l2_cache->value;
  PutIf(json, "tdp_watts", gpu.tdp_watts);
  json["mig"] = gpu.mig_capable;
  if (gpu.mig_capable) {
    json["mig_memory_slots"] = gpu.mig_memory_slots;
    json["mig_compute_slices"] = gpu.mig_compute_slices;
    json["mig_max_instances"] = gpu.mig_max_instances;
    if (!gpu.mig_min_driver.empty()) json["mig_min_driver"] = gpu.mig_min_driver;
  }
  json["vgpu"] = gpu.vgpu_capable;
  json["confidence"] = {{"memory", ConfidenceName(gpu.confidence)},
                        {"identity", ConfidenceName(gpu.identity_confidence)},
                        {"speed", ConfidenceName(gpu.speed_confidence)}};
  if (!gpu.note.empty()) json["note"] = gpu.note;
  return json;
}

std::string Starts(const MigProfile& profile) {
  std::string out;
  for (const MigPlacement& placement : profile.placements) {
    out += fmt::format("{}{}", out.empty() ? "" : ",", placement.start);
  }
  return out + (profile.placements.empty() ? "" : fmt::format(":{}", profile.placements[0].size));
}

Json ProfileJson(const CatalogGpu& gpu, const MigProfile& profile, const MigProfileSource* source) {
  Json placements = Json::array();
  for (const MigPlacement& placement : profile.placements) {
    placements.push_back({{"start", placement.start}, {"size", placement.size}});
  }
  Json json = {{"gpu", gpu.key},
               {"profile", profile.name},
               {"id", profile.id},
               {"variant", MigVariantName(profile.variant)},
               {"compute_slices", profile.compute_slices},
               {"max_instances", profile.max_instances},
               {"memory_bytes", profile.memory.value},
               {"sm_count", profile.sm_count},
               {"engines",
                {{"copy", profile.engines.copy},
                 {"decoder", profile.engines.decoder},
                 {"encoder", profile.engines.encoder},
                 {"jpeg", profile.engines.jpeg},
                 {"ofa", profile.engines.ofa}}},
               {"placements", std::move(placements)}};
  if (source != nullptr) {
    json["source"] = source->source;
    json["confidence"] = ConfidenceName(source->confidence);
    if (!source->estimated.empty()) json["estimated"] = source->estimated;
    if (!source->note.empty()) json["note"] = source->note;
  }
  return json;
}

}  // namespace

Answer ViewCatalogGpus(const Catalog& catalog) {
  Answer answer;
  Table table;
  table.columns = {{"gpu", "GPU"},
                   {"architecture", "ARCHITECTURE"},
                   {"compute_capability", "CC", Align::kRight},
                   {"memory_bytes", "MEMORY", Align::kRight},
                   {"sm_count", "SMS", Align::kRight},
                   {"bandwidth_bytes_per_second", "TB/S", Align::kRight},
                   {"fp16_flops_per_second", "FP16 TFLOPS", Align::kRight},
                   {"mig_max_instances", "MIG", Align::kRight},
                   {"vgpu", "VGPU"},
                   {"confidence", "CONFIDENCE", Align::kLeft, true},
                   {"aliases", "ALIASES", Align::kLeft, true},
                   {"note", "NOTE", Align::kLeft, true, true}};
  Json gpus = Json::array();
  for (const CatalogGpu& gpu : catalog.gpus()) {
    gpus.push_back(GpuJson(gpu));
    table.rows.push_back({gpu.key, gpu.architecture, gpu.compute_capability, BytesCell(gpu.memory),
                          NumberCell(gpu.sm_count), TeraCell(gpu.bandwidth),
                          TeraCell(gpu.fp16_flops),
                          gpu.mig_capable ? Cell(fmt::format("up to {}", gpu.mig_max_instances),
                                                 std::to_string(gpu.mig_max_instances))
                                          : Cell("no", "0"),
                          gpu.vgpu_capable ? "yes" : "no", ConfidenceName(gpu.confidence),
                          Joined(gpu.aliases), gpu.note});
  }
  answer.json = {{"format_version", "1.0"}, {"gpus", std::move(gpus)}};
  answer.blocks.emplace_back(std::move(table));
  return answer;
}

Answer ViewCatalogMig(const Catalog& catalog, const CatalogGpu* only) {
  Answer answer;
  Table table;
  table.columns = {{"gpu", "GPU"},
                   {"profile", "PROFILE"},
                   {"id", "ID", Align::kRight},
                   {"max_instances", "MOST", Align::kRight},
                   {"compute_slices", "SLICES", Align::kRight},
                   {"memory_bytes", "MEMORY", Align::kRight},
                   {"sm_count", "SMS", Align::kRight},
                   {"placements", "STARTS:SIZE"},
                   {"confidence", "CONFIDENCE", Align::kLeft, true},
                   {"source", "SOURCE", Align::kLeft, true, true},
                   {"note", "NOTE", Align::kLeft, true, true}};
  Json profiles = Json::array();
  for (const CatalogGpu& gpu : catalog.gpus()) {
    if (!gpu.mig_capable || (only != nullptr && gpu.key != only->key)) continue;
    const std::vector<MigProfileSource> sources = catalog.SourcesOf(gpu.key);
    for (size_t i = 0; i < gpu.mig_profiles.size(); ++i) {
      const MigProfile& profile = gpu.mig_profiles[i];
      const MigProfileSource* source = i < sources.size() ? &sources[i] : nullptr;
      profiles.push_back(ProfileJson(gpu, profile, source));
      table.rows.push_back(
          {gpu.key, profile.name, std::to_string(profile.id), std::to_string(profile.max_instances),
           std::to_string(profile.compute_slices), BytesCell(profile.memory),
           profile.sm_count > 0 ? Cell(std::to_string(profile.sm_count)) : Cell(), Starts(profile),
           source != nullptr ? Cell(ConfidenceName(source->confidence)) : Cell(),
           source != nullptr ? source->source : "", source != nullptr ? source->note : ""});
    }
  }
  answer.json = {{"format_version", "1.0"}, {"mig_profiles", std::move(profiles)}};
  answer.blocks.emplace_back(std::move(table));
  answer.blocks.emplace_back(
      "\nOn a machine, profiles are read from its driver, which may name and size them "
      "differently.\n");
  return answer;
}

Result<Answer> ViewCatalogLayouts(const CatalogGpu& gpu) {
  const auto geometry = MigGeometry::Make(gpu.mig_profiles);
  if (!geometry) return tl::unexpected<Error>(geometry.error());
  Answer answer;
  Table table;
  table.columns = {{"layout", "#", Align::kRight}, {"slots", "SLOTS"}, {"instances", "INSTANCES"}};
  Json layouts = Json::array();
  for (const InstanceLayout& layout : MaximalLayouts(*geometry)) {
    Json instances = Json::array();
    std::vector<std::pair<MigPlacement, std::string>> bar;
    std::string names;
    for (const PlacedProfile& placed : layout) {
      const std::string& name = geometry->profile(placed.profile).name;
      bar.emplace_back(placed.placement, name);
      names += fmt::format("{}{}@{}", names.empty() ? "" : " ", name, placed.placement.start);
      instances.push_back({{"profile", name},
                           {"placement_start", placed.placement.start},
                           {"placement_size", placed.placement.size}});
    }
    table.rows.push_back(
        {std::to_string(table.rows.size() + 1), SlotBar(geometry->memory_slots(), bar), names});
    layouts.push_back(std::move(instances));
  }
  const size_t count = layouts.size();
  answer.json = {{"format_version", "1.0"}, {"gpu", gpu.key}, {"layouts", std::move(layouts)}};
  answer.blocks.emplace_back(std::move(table));
  answer.blocks.emplace_back(fmt::format(
      "\n{} layouts of plain profiles on {} to which nothing can be added.\n", count, gpu.key));
  return answer;
}

Answer ViewCatalogMechanisms(const Catalog& catalog) {
  Answer answer;
  Table table;
  table.columns = {{"mechanism", "MECHANISM"},
                   {"memory", "MEMORY"},
                   {"compute", "COMPUTE"},
                   {"fault", "FAULT"},
                   {"access", "ACCESS"},
                   {"gate", "NEEDS", Align::kLeft, false, true},
                   {"confidence", "CONFIDENCE", Align::kLeft, true},
                   {"source", "SOURCE", Align::kLeft, true, true}};
  Json mechanisms = Json::array();
  std::string traps;
  for (const CatalogMechanism& mechanism : catalog.mechanisms()) {
    const std::string name = MechanismName(mechanism.mechanism);
    Json stronger = Json::array();
    for (const StrongerGuarantee& lift : mechanism.stronger) {
      stronger.push_back({{"guarantees", GuaranteesJson(lift.guarantees)}, {"when", lift.when}});
    }
    Json json = {{"mechanism", name},
                 {"summary", mechanism.summary},
                 {"guarantees", GuaranteesJson(mechanism.guarantees)},
                 {"guarantees_everywhere", GuaranteesJson(mechanism.floor)},
                 {"stronger", std::move(stronger)},
                 {"gate", mechanism.gate}};
    if (mechanism.max_tenants > 0) json["max_tenants"] = mechanism.max_tenants;
    json["traps"] = mechanism.traps;
    json["source"] = mechanism.source;
    json["confidence"] = ConfidenceName(mechanism.confidence);
    mechanisms.push_back(std::move(json));
    table.rows.push_back({name, GuaranteeName(mechanism.guarantees.memory),
                          GuaranteeName(mechanism.guarantees.compute),
                          GuaranteeName(mechanism.guarantees.fault),
                          GuaranteeName(mechanism.guarantees.access), mechanism.gate,
                          ConfidenceName(mechanism.confidence), mechanism.source});
    traps += "\n" + name + ": " + mechanism.summary + "\n";
    for (const std::string& trap : mechanism.traps) traps += "  - " + trap + "\n";
  }
  answer.json = {{"format_version", "1.0"}, {"mechanisms", std::move(mechanisms)}};
  answer.blocks.emplace_back(
      "The best each can give; 'tranche inventory' says what this machine gives.\n");
  answer.blocks.emplace_back(std::move(table));
  answer.blocks.emplace_back(Printable(traps, true));
  return answer;
}

Answer ViewCatalogModels(const Catalog& catalog) {
  Answer answer;
  Table table;
  table.columns = {{"model", "MODEL"},
                   {"parameters", "PARAMETERS", Align::kRight},
                   {"active_parameters", "ACTIVE", Align::kRight},
                   {"layers", "LAYERS", Align::kRight},
                   {"kv_heads", "KV HEADS", Align::kRight},
                   {"max_position", "CONTEXT", Align::kRight},
                   {"dtype", "DTYPE"},
                   {"aliases", "ALIASES", Align::kLeft, true, true},
                   {"note", "NOTE", Align::kLeft, true, true}};
  const auto billions = [](double count) {
    return count > 0 ? Cell(fmt::format("{:.4g} B", count / 1e9), fmt::format("{:.0f}", count))
                     : Cell();
  };
  const auto known = [](int count) { return count > 0 ? Cell(std::to_string(count)) : Cell(); };
  Json models = Json::array();
  for (const CatalogModel& model : catalog.models()) {
    Json json = {{"model", model.name},
                 {"aliases", model.aliases},
                 {"parameters", std::llround(model.parameters)}};
    // 0 in the catalog: the model has no such part, or nobody knows.
    const auto put = [&](const char* key, double value) {
      if (value > 0) json[key] = std::llround(value);
    };
    const auto put_count = [&](const char* key, int value) {
      if (value > 0) json[key] = value;
    };
    put("active_parameters", model.active_parameters);
    put("embedding_parameters", model.embedding_parameters);
    put("expert_parameters", model.expert_parameters);
    put_count("layers", model.layers);
    put_count("hidden", model.hidden);
    put_count("heads", model.heads);
    put_count("kv_heads", model.kv_heads);
    put_count("head_dim", model.head_dim);
    put_count("vocab", model.vocab);
    put_count("max_position", model.max_position);
    put_count("full_attention_layers", model.full_attention_layers);
    put_count("sliding_window", model.sliding_window);
    put_count("mla_kv_dim", model.mla_kv_dim);
    json["dtype"] = model.dtype;
    if (!model.note.empty()) json["note"] = model.note;
    models.push_back(std::move(json));
    table.rows.push_back({model.name, billions(model.parameters), billions(model.active_parameters),
                          known(model.layers), known(model.kv_heads), known(model.max_position),
                          model.dtype, Joined(model.aliases), model.note});
  }
  answer.json = {{"format_version", "1.0"}, {"models", std::move(models)}};
  answer.blocks.emplace_back(std::move(table));
  return answer;
}

}  // namespace tranche
