#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <set>

#include "catalog/field_reader.h"
#include "catalog/loaders.h"

namespace tranche::catalog {
namespace {

struct ComputeSet {
  std::vector<MigComputeProfile> profiles;
};

// What a table says about all of its rows.
struct Table {
  int memory_slots = 0;
  int compute_slices = 0;
  std::string source;
  Confidence confidence = Confidence::kLow;
  std::string estimate;
};

struct Row {
  MigProfile profile;
  MigProfileSource source;
};

MigComputeProfile ReadComputeProfile(const YamlNode& node, Mistakes* mistakes) {
  MigComputeProfile profile;
  FieldReader row(node, mistakes);
  const std::string of = row.Text("of");
  profile.name = row.Text("name");
  profile.id = row.Int("id", 0, 63);
  profile.compute_slices = row.Int("slices", 1, 16);
  profile.max_instances = row.Int("max", 1, 16);
  if (of.size() < 2 || of.back() != 'g' || of.find_first_not_of("0123456789") != of.size() - 1 ||
      of.size() > 3) {
    row.Wrong("of", "must be like 3g");
    return profile;
  }
  profile.gpu_instance_slices = std::stoi(of);
  const bool whole = profile.compute_slices == profile.gpu_instance_slices;
  const std::string name = whole ? of : fmt::format("{}c.{}", profile.compute_slices, of);
  if (profile.name != name) row.Wrong("name", "must be " + name);
  if (profile.compute_slices * profile.max_instances > profile.gpu_instance_slices) {
    row.Wrong("max",
              fmt::format("of {} slices each do not fit into {}", profile.compute_slices, of));
  }
  return profile;
}

std::map<std::string, ComputeSet> ReadComputeSets(const YamlNode& node, Mistakes* mistakes) {
  std::map<std::string, ComputeSet> sets;
  for (const auto& [key, value] : node.members) {
    FieldReader fields(value, mistakes);
    // Beliefs about the whole set; they are for those who edit the file.
    fields.Text("source");
    fields.ReadConfidence("confidence");
    fields.TextOr("note", "");
    ComputeSet& set = sets[key.scalar];
    std::set<std::string> names;
    for (const YamlNode& row : fields.Sequence("profiles").items) {
      set.profiles.push_back(ReadComputeProfile(row, mistakes));
      if (!names.insert(set.profiles.back().name).second) mistakes->Add(row, "listed twice");
    }
  }
  return sets;
}

EngineCounts ReadEngines(FieldReader* row) {
  const std::vector<int> counts = row->Ints("engines", 0, 64);
  if (counts.size() != 5) {
    row->Wrong("engines", "must be [copy, decoder, encoder, jpeg, ofa]");
    return {};
  }
  return {counts[0], counts[1], counts[2], counts[3], counts[4]};
}

std::vector<MigPlacement> ReadPlacements(const Table& table, FieldReader* row) {
  std::vector<MigPlacement> placements;
  const int size = row->Int("size", 1, table.memory_slots);
  for (int start : row->Ints("at", 0, table.memory_slots - 1)) {
    if (start + size > table.memory_slots) {
      row->Wrong("at", fmt::format("has {}, but {} slots from there leave the GPU", start, size));
    }
    if (!placements.empty() && start <= placements.back().start) row->Wrong("at", "must ascend");
    placements.push_back({start, size});
  }
  if (placements.empty()) row->Wrong("at", "must name a start");
  return placements;
}

// Which values of a row are estimates; those make the row low, and the note say how they were made.
void ReadBelief(const Table& table, FieldReader* row, MigProfileSource* belief) {
  belief->source = row->TextOr("source", table.source.c_str());
  belief->confidence =
      row->Has("confidence") ? row->ReadConfidence("confidence") : table.confidence;
  belief->note = row->TextOr("note", "");
  belief->estimated = row->TextsOrNone("estimated");
  if (belief->estimated.empty()) return;
  for (const std::string& what : belief->estimated) {
    if (what != "memory" && what != "sm") row->Wrong("estimated", "may hold memory and sm");
  }
  if (table.estimate.empty()) row->Wrong("estimated", "needs the table to say how: `estimate`");
  if (row->Has("confidence") && belief->confidence != Confidence::kLow) {
    row->Wrong("confidence", "of an estimate is low");
  }
  belief->confidence = Confidence::kLow;
  const std::string how =
      fmt::format("estimated {} ({})", fmt::join(belief->estimated, " and "), table.estimate);
  belief->note = belief->note.empty() ? how : how + "; " + belief->note;
}

Row ReadRow(const Table& table, const YamlNode& node, Mistakes* mistakes) {
  Row result;
  MigProfile& profile = result.profile;
  FieldReader row(node, mistakes);
  profile.name = row.Text("name");
  profile.id = row.Int("id", 0, 1023);
  profile.nvml_profile = row.Int("nvml", 0, 63);
  profile.compute_slices = row.Int("slices", 1, table.compute_slices);
  profile.max_instances = row.Int("max", 1, table.compute_slices);
  profile.memory = MiB(row.Int("mib", 1, 16 << 20));
  profile.sm_count = row.Int("sm", 1, 1000);
  profile.engines = ReadEngines(&row);
  profile.placements = ReadPlacements(table, &row);
  ReadBelief(table, &row, &result.source);
  result.source.profile = profile.name;
  if (auto name = ParseMigProfileName(profile.name); !name) {
    row.Wrong("name", name.error().message);
  } else {
    profile.variant = name->variant;
    if (name->compute_slices != profile.compute_slices)
      row.Wrong("slices", "disagrees with the name");
  }
  if (static_cast<size_t>(profile.max_instances) > profile.placements.size()) {
    row.Wrong("max", fmt::format("exceeds the {} placements", profile.placements.size()));
  }
  return result;
}

void CheckRow(const CatalogGpu& gpu, const MigProfile& profile, const YamlNode& at,
              Mistakes* mistakes) {
  if (gpu.memory && profile.memory > *gpu.memory) {
    mistakes->Add(at, fmt::format("{} has more memory than {}", profile.name, gpu.key));
  }
  if (gpu.sm_count && profile.sm_count > *gpu.sm_count) {
    mistakes->Add(at, fmt::format("{} has more SMs than {}", profile.name, gpu.key));
  }
}

void ReadTable(const YamlNode& node, const std::map<std::string, ComputeSet>& sets,
               std::vector<CatalogGpu>* gpus,
               std::map<std::string, std::vector<MigProfileSource>>* sources, Mistakes* mistakes) {
  Table table;
  FieldReader fields(node, mistakes);
  const std::vector<std::string> keys = fields.Texts("gpus");
  table.memory_slots = fields.Int("memory_slots", 1, 32);
  table.compute_slices = fields.Int("compute_slices", 1, 16);
  table.source = fields.Text("source");
  table.confidence = fields.ReadConfidence("confidence");
  table.estimate = fields.TextOr("estimate", "");
  const std::string note = fields.TextOr("note", "");
  const auto set = sets.find(fields.Text("compute_profiles"));
  if (set == sets.end()) fields.Wrong("compute_profiles", "names no set of compute_profile_sets");

  const YamlNode& rows = fields.Sequence("profiles");
  std::vector<MigProfile> profiles;
  std::vector<MigProfileSource> beliefs;
  std::set<std::string> names;
  std::set<int> ids, nvml_profiles;
  for (const YamlNode& row_node : rows.items) {
    Row row = ReadRow(table, row_node, mistakes);
    if (!names.insert(row.profile.name).second) mistakes->Add(row_node, "this name is taken");
    if (!ids.insert(row.profile.id).second) mistakes->Add(row_node, "this id is taken");
    if (!nvml_profiles.insert(row.profile.nvml_profile).second)
      mistakes->Add(row_node, "this nvml is taken");
    profiles.push_back(std::move(row.profile));
    beliefs.push_back(std::move(row.source));
  }
  if (profiles.empty()) fields.Wrong("profiles", "is empty");

  for (const std::string& key : keys) {
    const auto gpu = std::find_if(gpus->begin(), gpus->end(), [&key](const CatalogGpu& candidate) {
      return candidate.key == key;
    });
    if (gpu == gpus->end() || !gpu->mig_capable) {
      fields.Wrong("gpus", fmt::format("has {}, which is no MIG GPU of gpus.yaml", key));
      continue;
    }
    if (!sources->emplace(key, beliefs).second) {
      fields.Wrong("gpus", fmt::format("has {}, which has a table already", key));
      continue;
    }
    gpu->mig_memory_slots = table.memory_slots;
    gpu->mig_compute_slices = table.compute_slices;
    gpu->mig_profiles = profiles;
    gpu->mig_note = note;
    if (set != sets.end()) gpu->mig_compute_profiles = set->second.profiles;
    for (size_t i = 0; i < profiles.size(); ++i)
      CheckRow(*gpu, profiles[i], rows.items[i], mistakes);
  }
}

}  // namespace

Result<MigSources> LoadMig(std::string_view text, std::vector<CatalogGpu>* gpus) {
  auto document = ParseData("mig.yaml", text);
  if (!document) return tl::unexpected(document.error());
  Mistakes mistakes("mig.yaml");
  std::map<std::string, std::vector<MigProfileSource>> sources;
  {
    FieldReader top(*document, &mistakes);
    const auto sets = ReadComputeSets(top.Map("compute_profile_sets"), &mistakes);
    for (const auto& [key, node] : top.Map("tables").members) {
      ReadTable(node, sets, gpus, &sources, &mistakes);
    }
    for (const CatalogGpu& gpu : *gpus) {
      if (gpu.mig_capable && !sources.contains(gpu.key)) top.Wrong("no table for " + gpu.key);
    }
  }
  if (!mistakes.empty()) return tl::unexpected(mistakes.status().error());
  MigSources ordered;
  for (const CatalogGpu& gpu : *gpus) {
    if (gpu.mig_capable) ordered.emplace_back(gpu.key, sources[gpu.key]);
  }
  return ordered;
}

}  // namespace tranche::catalog
